"""What a serving process does behind its answers: catch up, wait for others, look again, and survive failures."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from app import ConversationStore
from app.store.follow import background
from app.store.follow.background import sync_until_done
from app.store.follow.leader import sync_lock
from tests.builders import make_conversation, make_id
from tests.conftest import StoreOpener


async def until_counted(store: ConversationStore, expected: int) -> None:
    async with asyncio.timeout(20):
        while await store.count_conversations() != expected:
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_OTHER_SYNC_S", "_RETRY_S"):
        monkeypatch.setattr(background, name, 0.02)


async def test_it_waits_for_another_sync_and_then_does_its_own(
    root: Path, open_store: StoreOpener, caplog: pytest.LogCaptureFixture
) -> None:
    make_conversation(root, 1)
    caplog.set_level(logging.INFO)
    async with open_store(root, synced=False) as store:
        async with sync_lock(store.index):
            task = asyncio.create_task(sync_until_done(store))
            await asyncio.sleep(0.1)
            assert await store.count_conversations() == 0
        await asyncio.wait_for(task, 20)
        assert await store.count_conversations() == 1
    assert [record.message for record in caplog.records if "another process" in record.message] != []


async def test_a_directory_that_is_away_is_waited_for(
    root: Path, tmp_path: Path, open_store: StoreOpener, caplog: pytest.LogCaptureFixture
) -> None:
    make_conversation(root, 1)
    async with open_store(root, index_url=f"sqlite:///{tmp_path / 'index.db'}") as store:
        root.rename(tmp_path / "away")
        make_conversation(tmp_path / "away", 2)
        task = asyncio.create_task(sync_until_done(store))
        async with asyncio.timeout(20):
            while "cannot be read" not in caplog.text:
                await asyncio.sleep(0.01)
        assert await store.count_conversations() == 1
        progress, _ = await store.get_status()
        assert "cannot be read" in str(progress.last_error)
        (tmp_path / "away").rename(root)
        await asyncio.wait_for(task, 20)
        assert await store.count_conversations() == 2
        assert (await store.get_status())[0].last_error is None


async def test_a_long_build_says_how_far_it_is(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_conversation(root, 1)
    monkeypatch.setattr(background, "_SAY_EVERY_S", 0)
    caplog.set_level(logging.INFO)
    async with open_store(root, synced=False) as store:
        await sync_until_done(store)
    for phase in ("metadata", "events"):
        assert f"reading {phase}: 1 of 1 conversations" in caplog.text


async def test_a_second_directory_is_told(
    root: Path, open_store: StoreOpener, caplog: pytest.LogCaptureFixture
) -> None:
    make_conversation(root, 1)
    make_conversation(root, 1, directory="00000000-0000-4000-8000-000000000001")
    async with open_store(root, synced=False) as store:
        await sync_until_done(store)
        assert await store.count_conversations() == 1
    assert "00000000-0000-4000-8000-000000000001 is a second directory for an id" in caplog.text
    assert make_id(1) not in caplog.text
