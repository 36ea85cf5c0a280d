"""Reading many files in advance, in a thread or in spawned processes.

Parsing holds Python's interpreter lock. So a large first build runs in spawned processes, which uses the other cores
and keeps a server responsive. Later syncs read little, so a thread is enough.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from app.errors import StoreUnavailable
from app.processes import Spawn, die_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


@contextmanager
def readers(processes: int) -> Iterator[Executor]:
    """Yield the executor for reading: up to this many processes, started on demand, or one thread for 0."""
    executor: Executor
    if processes:
        executor = ProcessPoolExecutor(processes, Spawn(), initializer=die_with_parent)
    else:
        executor = ThreadPoolExecutor(1, "reader")
    try:
        yield executor
    finally:
        executor.shutdown(wait=not processes, cancel_futures=True)


async def run_ahead(
    executor: Executor, ahead: int, work: Callable[..., T], batches: AsyncIterator[tuple[object, ...]]
) -> AsyncIterator[T]:
    """Run `work` on each batch and yield the results in order. At most `ahead` batches are in progress at once.

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
            "a process that was reading conversations was killed, perhaps because memory ran out; "
            "set CONVSTORE_SYNC_PROCESSES=0 to read in one thread"
        ) from error
    finally:
        for future in running:
            future.cancel()
