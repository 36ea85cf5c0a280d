"""The lock of all writers of an index: who waits is not passed by for long, and turns come in the order of asking."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import pytest

from app.errors import IndexBusy
from app.index.sqlite.writer_lock import writer_lock, writer_lock_of_task
from app.index.writer_queue import WriterQueue

HOLD_S = 0.02
WAITING = 8


def test_one_that_comes_again_at_once_does_not_pass_by_the_others(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    over = threading.Event()

    def greedy() -> None:
        while not over.is_set():
            with writer_lock(path, 60):
                time.sleep(HOLD_S)

    def patient() -> list[float]:
        waits_s = []
        for _ in range(3):
            asked = time.monotonic()
            with writer_lock(path, 20):
                waits_s.append(time.monotonic() - asked)
                time.sleep(HOLD_S)
        return waits_s

    with ThreadPoolExecutor(1 + WAITING) as threads:
        threads.submit(greedy)
        time.sleep(HOLD_S / 2)
        waiting = [threads.submit(patient) for _ in range(WAITING)]
        waits_s = [wait_s for one in waiting for wait_s in one.result()]
        over.set()
    assert len(waits_s) == 3 * WAITING
    assert max(waits_s) < 100 * HOLD_S


async def test_one_that_gives_up_stands_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with writer_lock(path, 1):
        waiting = asyncio.create_task(writer_lock_of_task(path, 60).__aenter__())
        await asyncio.sleep(HOLD_S)
        waiting.cancel()
        await asyncio.sleep(HOLD_S)
    await asyncio.wait([waiting])
    with writer_lock(path, 0):
        pass


def test_who_waits_for_too_long_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with writer_lock(path, 1), pytest.raises(IndexBusy, match=r"another process has been writing .* for 0\.05 s"):
        writer_lock(path, 0.05).__enter__()
    with writer_lock(path, 0):
        pass


async def test_turns_come_in_the_order_of_asking_among_threads_and_tasks() -> None:
    queue, order = WriterQueue(), list[int]()

    def in_thread(number: int) -> None:
        with queue.turn(queue.ask()):
            order.append(number)

    async def in_task(number: int) -> None:
        async with queue.turn_of_task():
            order.append(number)

    with ThreadPoolExecutor(4) as threads:
        async with queue.turn_of_task():
            tasks = list[asyncio.Task[None]]()
            for number in range(6):
                if number % 2:
                    threads.submit(in_thread, number)
                else:
                    tasks.append(asyncio.create_task(in_task(number)))
                await _until_waiting(queue, number + 1)
        await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4, 5]


async def test_a_turn_that_its_asker_no_longer_waits_for_goes_to_the_next() -> None:
    queue = WriterQueue()

    async def ask() -> None:
        async with queue.turn_of_task():
            pass

    async with queue.turn_of_task():
        waiting, given = asyncio.create_task(ask()), asyncio.create_task(ask())
        await _until_waiting(queue, 2)
        waiting.cancel()
        await asyncio.wait([waiting])
    given.cancel()  # its turn has come, but it does not know yet
    with pytest.raises(asyncio.CancelledError):
        await given
    async with asyncio.timeout(5), queue.turn_of_task():
        pass


def test_a_thread_whose_place_was_given_up_has_no_turn() -> None:
    queue = WriterQueue()
    with queue.turn(queue.ask()):
        asked = queue.ask()
        assert asked.turn.cancel()
    with pytest.raises(CancelledError), queue.turn(asked):
        raise AssertionError("it had a turn")
    with queue.turn(queue.ask()):
        pass


async def _until_waiting(queue: WriterQueue, number: int) -> None:
    async with asyncio.timeout(5):
        while len(queue._waiting) < number:
            await asyncio.sleep(0.001)
