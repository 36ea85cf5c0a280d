"""What a serving process does behind its answers: catch up, wait for others, look again, and survive failures."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from app import ConversationStore, Settings
from app.errors import StoreUnavailable
from app.files import trash
from app.model.ids import ConversationId, dashed
from app.store.follow import background
from app.store.follow.background import run_background, sync_until_done
from app.store.follow.leader import sync_lock
from tests.builders import make_conversation, make_id, names_in
from tests.conftest import StoreOpener, serving


async def until_counted(store: ConversationStore, expected: int) -> None:
    async with asyncio.timeout(60):
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
        await asyncio.wait_for(task, 60)
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
        async with asyncio.timeout(60):
            while "cannot be read" not in caplog.text:
                await asyncio.sleep(0.01)
        with pytest.raises(StoreUnavailable):
            await store.count_conversations()
        progress, _ = await store.get_status()
        assert "cannot be read" in str(progress.last_error)
        (tmp_path / "away").rename(root)
        await asyncio.wait_for(task, 60)
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


_DAY_US = 24 * 3600 * 1_000_000


def delete(root: Path, number: int, days_ago: float) -> str:
    now_us = time.time_ns() // 1000
    return trash.move_to_trash(root, make_conversation(root, number).name, now_us - int(days_ago * _DAY_US)).name


@pytest.mark.parametrize(("days", "kept"), [(30, 1), (7, 0), (0, 3)])
async def test_a_server_removes_for_good_what_was_deleted_long_ago(
    root: Path, days: float, kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "audit")
    deleted = [delete(root, number, days_ago) for number, days_ago in ((1, 8), (2, 31), (3, 400))]
    make_conversation(root, 4)
    (root / ".trash" / f".copy-{make_id(4)}.1.00000000").mkdir()  # of a repair that was killed
    async with serving(Settings(store=root, trash_days=days)) as client, asyncio.timeout(60):
        while len(names_in(root / ".trash")) > kept or (kept < 3 and "trash_days" not in caplog.text):
            await asyncio.sleep(0.01)
        assert (await client.get("/api/trash")).json()["total"] == kept
        assert (await client.get("/api/conversations/count")).json() == 1
    assert sorted(deleted)[:kept] == names_in(root / ".trash")
    trail = [vars(record)["fields"] for record in caplog.records if record.name == "audit"]
    named = [dashed(ConversationId(make_id(number))) for number in (3, 2, 1)[: 3 - kept]]
    assert [(line["method"], line["route"], line["conversations"]) for line in trail] == (
        [("SERVER", "trash_days", named)] if named else []
    )


async def test_what_a_killed_create_left_goes_after_a_day(root: Path) -> None:
    old, young = (f".new-{make_id(number)}-{make_id(3)}" for number in (1, 2))
    for name, age_s in ((".new-photos", 90_000), (old, 90_000), (young, 60)):
        (root / name / "events").mkdir(parents=True)
        os.utime(root / name, (time.time() - age_s, time.time() - age_s))
    async with serving(Settings(store=root)), asyncio.timeout(60):
        while (root / old).exists():
            await asyncio.sleep(0.01)
    assert (root / young / "events").exists()
    assert (root / ".new-photos" / "events").exists()


async def test_a_trash_that_is_a_link_is_told_and_harms_nothing(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / ".trash").symlink_to(root)
    make_conversation(root)
    async with serving(Settings(store=root)) as client, asyncio.timeout(60):
        while "old entries of the trash cannot be removed" not in caplog.text:
            await asyncio.sleep(0.01)
        assert (await client.delete(f"/api/conversations/{make_id(1)}")).status_code == 500
        assert (await client.get("/api/conversations/count")).json() == 1
        assert (await client.get(f"/api/conversations/{make_id(1)}")).status_code == 200


async def test_what_cannot_be_removed_is_told_and_harms_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    delete(root, 1, 31)

    def refuse(path: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr("shutil.rmtree", refuse)
    async with serving(Settings(store=root)) as client, asyncio.timeout(60):
        while "old entries of the trash cannot be removed" not in caplog.text:
            await asyncio.sleep(0.01)
        assert (await client.get("/ready")).status_code == 200
    assert len(names_in(root / ".trash")) == 1


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.02)


async def test_a_server_follows_until_it_ends(
    root: Path,
    open_store: StoreOpener,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(background, "TICK_S", 0.02)
    monkeypatch.setattr(background, "_RETRY_S", 0.02)
    caplog.set_level(logging.INFO)
    make_conversation(root, 1)
    async with open_store(root, synced=False, index_url=f"sqlite:///{tmp_path / 'elsewhere.db'}") as store:

        async def counted(number: int) -> bool:
            with suppress(StoreUnavailable):  # until the next look finds the directory again
                return await store.count_conversations() == number
            return False

        async def told(error: str | None) -> bool:
            found = (await store.get_status())[0].last_error
            return found == error if error is None else error in str(found)

        following = asyncio.create_task(run_background(store))
        await until(lambda: counted(1))
        make_conversation(root, 2)
        await until(lambda: counted(2))
        root.rename(tmp_path / "away")
        await until(lambda: told("cannot be read"))
        (tmp_path / "away").rename(root)
        make_conversation(root, 3)
        await until(lambda: counted(3))
        await until(lambda: told(None))
        following.cancel()
    assert caplog.text.count("changes to the conversations cannot be followed") == 1


async def test_it_goes_on_after_a_lack_of_threads(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_conversation(root, 1)
    async with open_store(root, synced=False) as store:
        failing = [RuntimeError("can't start new thread")]
        sync = store.sync

        async def sync_later(**given: Any) -> object:
            if failing:
                raise failing.pop()
            return await sync(**given)

        monkeypatch.setattr(store, "sync", sync_later)
        task = asyncio.create_task(run_background(store))
        await until_counted(store, 1)
        task.cancel()
        await asyncio.wait([task])
    told = [record for record in caplog.records if "too little memory (can't start new thread)" in record.message]
    assert [(one.levelname, one.exc_info) for one in told] == [("ERROR", None)]
