"""Running the reading of many files ahead of those who take the results: in a thread, or in processes of their own.

Parsing holds Python's interpreter lock. A large first build therefore goes to spawned processes, which leaves a server
free to answer and uses the other cores; what a sync finds later is small, and a thread is enough.
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
    """Give what runs reading work: that many processes, started when they are needed, or one thread for 0."""
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
