"""Running the reading of many files ahead of those who take the results: in a thread, or in processes of their own.

Parsing holds Python's interpreter lock. A large first build therefore goes to spawned processes, which leaves a server
free to answer and uses the other cores; what a sync finds later is small, and a thread is enough.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from app.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


class _Process(SpawnProcess):
    """A spawned process that does not import the program of its parent, which costs more than most reading."""

    def start(self) -> None:
        program = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")  # multiprocessing has the child import what stands here
        try:
            super().start()
        finally:
            sys.modules["__main__"] = program


class _Spawn(SpawnContext):
    Process = _Process


@contextmanager
def readers(processes: int) -> Iterator[Executor]:
    """Give what runs reading work: that many processes, started when they are needed, or one thread for 0."""
    executor: Executor
    if processes:
        executor = ProcessPoolExecutor(processes, _Spawn(), initializer=_die_with_parent)
    else:
        executor = ThreadPoolExecutor(1, "reader")
    try:
        yield executor
    finally:
        executor.shutdown(wait=not processes, cancel_futures=True)


def _die_with_parent() -> None:
    """End this process when its parent ends, however that ends."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_exit, args=(parent.sentinel,), daemon=True).start()


def _wait_and_exit(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


async def run_ahead(
    executor: Executor, ahead: int, work: Callable[..., T], batches: AsyncIterator[tuple[object, ...]]
) -> AsyncIterator[T]:
    """Run `work` on each batch, at most `ahead` batches before the one whose result was taken, and give the results.

    Raises:
        StoreUnavailable: a reading process was killed.
    """
    loop = asyncio.get_running_loop()
    running: deque[asyncio.Future[T]] = deque()
    try:
        async for batch in batches:
            running.append(loop.run_in_executor(executor, work, *batch))
            if len(running) > ahead:
                yield await running.popleft()
        while running:
            yield await running.popleft()
    except BrokenProcessPool as error:
        raise StoreUnavailable(
            "a process that was reading conversations was killed, perhaps for want of memory; "
            "set CONVSTORE_SYNC_PROCESSES=0 to read in one thread"
        ) from error
    finally:
        for left in running:
            left.cancel()
