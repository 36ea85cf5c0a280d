"""A server follows the files until it ends, and of several processes one does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import ConversationStore, Settings
from app.store.follow import background
from app.store.follow.background import run_background
from tests.builders import make_conversation, second_process
from tests.conftest import StoreOpener


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
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
            return await store.count_conversations() == number

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
    assert caplog.text.count("changes of the conversations cannot be followed") == 1


FOLLOW = """
import asyncio, sys
from app import ConversationStore, Settings
from app.store.follow.background import run_background

async def main():
    async with ConversationStore.open(Settings(store=sys.argv[1])) as store:
        following = asyncio.create_task(run_background(store))
        while not (await store.get_status())[0].last_sweep_at:
            await asyncio.sleep(0.01)
        print("sweeping", flush=True)
        await following

asyncio.run(main())
"""


async def test_of_two_processes_one_sweeps_and_the_other_takes_over(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.follow.leader._POLL_S", 0.02)
    make_conversation(root, 1)
    with second_process(FOLLOW, root) as other:
        assert other.hear() == "sweeping"
        async with ConversationStore.open(Settings(store=root)) as store:
            following = asyncio.create_task(run_background(store))
            make_conversation(root, 2)

            async def both() -> bool:
                return await store.count_conversations() == 2

            async def all_three() -> bool:
                return await store.count_conversations() == 3

            await until(both)
            other.kill()
            make_conversation(root, 3)
            await until(all_three)
            following.cancel()
