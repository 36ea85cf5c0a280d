"""Reading ahead, in a thread and in processes of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.errors import StoreUnavailable
from app.store.follow.worker_pool import readers, run_ahead
from tests.builders import index_tables
from tests.conftest import StoreOpener


async def numbers(count: int) -> AsyncIterator[tuple[int]]:
    for number in range(count):
        yield (number,)


def square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def die(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("processes", [0, 2])
async def test_results_come_in_order(processes: int) -> None:
    with readers(processes) as executor:
        results = [result async for result in run_ahead(executor, processes + 1, square, numbers(20))]
    assert [result for result, _ in results] == [number * number for number in range(20)]
    assert (os.getpid() in {process for _, process in results}) == (processes == 0)


async def test_a_killed_process_is_an_error_that_says_what_to_do() -> None:
    with readers(1) as executor, pytest.raises(StoreUnavailable, match="CONVSTORE_SYNC_PROCESSES=0"):
        _ = [result async for result in run_ahead(executor, 1, die, numbers(5))]


@pytest.mark.parametrize("processes", [1, 3])
async def test_processes_read_what_a_thread_reads(
    corpus: Path, tmp_path: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setattr("app.store.follow.full_sync._WORTH_PROCESSES", 1)
    monkeypatch.setattr("app.store.follow.full_sync._BATCH", 7)
    tables = []
    for number in (0, processes):
        path = tmp_path / f"{number}.db"
        async with open_store(corpus, index_url=f"sqlite:///{path}", sync_processes=number):
            pass
        tables.append(index_tables(path))
    assert tables[0] == tables[1]
