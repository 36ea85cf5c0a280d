"""The lock of all writers of an index: nobody who waits is passed by for long."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from app.index.locking import writer_lock

HOLD_S = 0.02
WAITING = 8


async def test_one_that_comes_again_at_once_does_not_pass_by_the_others(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    waits_s: list[float] = []

    async def greedy() -> None:
        while True:
            async with writer_lock(path, 60):
                await asyncio.sleep(HOLD_S)

    async def patient() -> None:
        for _ in range(3):
            asked = time.monotonic()
            async with writer_lock(path, 20):
                waits_s.append(time.monotonic() - asked)
                await asyncio.sleep(HOLD_S)
            await asyncio.sleep(0)

    holding = asyncio.create_task(greedy())
    await asyncio.sleep(HOLD_S / 2)
    await asyncio.gather(*(patient() for _ in range(WAITING)))
    holding.cancel()
    assert len(waits_s) == 3 * WAITING
    assert max(waits_s) < 100 * HOLD_S


async def test_one_that_gives_up_stands_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    async with writer_lock(path, 1):
        waiting = asyncio.create_task(writer_lock(path, 60).__aenter__())
        await asyncio.sleep(HOLD_S)
        waiting.cancel()
        await asyncio.wait([waiting])
    async with writer_lock(path, 0):
        pass
