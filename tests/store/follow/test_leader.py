"""Of several processes that serve one index, one leads; when it ends, another takes over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import ConversationStore, Settings
from app.store.follow.background import run_background
from tests.builders import make_conversation, second_process


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.02)


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
