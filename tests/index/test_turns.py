"""The turns to write: one at a time, in the order in which they were asked for, among threads and tasks."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.index.turns import Turns


async def test_turns_go_round_in_the_order_of_asking_among_threads_and_tasks() -> None:
    turns, order = Turns(), list[int]()
    have, let_go = threading.Event(), threading.Event()

    def in_thread(number: int) -> None:
        with turns.taken():
            order.append(number)

    def hold() -> None:
        with turns.taken():
            have.set()
            let_go.wait()

    async def in_task(number: int) -> None:
        async with turns.awaited():
            order.append(number)

    with ThreadPoolExecutor(4) as threads:
        threads.submit(hold)
        await asyncio.to_thread(have.wait)
        tasks = list[asyncio.Task[None]]()
        for number in range(6):
            if number % 2:
                threads.submit(in_thread, number)
            else:
                tasks.append(asyncio.create_task(in_task(number)))
            await _until_waiting(turns, number + 1)
        let_go.set()
        await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4, 5]


async def test_a_turn_that_its_asker_no_longer_waits_for_goes_to_the_next() -> None:
    turns = Turns()

    async def ask() -> None:
        async with turns.awaited():
            pass

    async with turns.awaited():
        waiting, given = asyncio.create_task(ask()), asyncio.create_task(ask())
        await _until_waiting(turns, 2)
        waiting.cancel()
        await asyncio.wait([waiting])
    given.cancel()  # its turn has come, but it does not know yet
    with pytest.raises(asyncio.CancelledError):
        await given
    async with asyncio.timeout(5), turns.awaited():
        pass


async def _until_waiting(turns: Turns, number: int) -> None:
    async with asyncio.timeout(5):
        while len(turns._waiting) < number:
            await asyncio.sleep(0.001)
