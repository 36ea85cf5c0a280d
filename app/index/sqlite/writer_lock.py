"""Mutual exclusion of writers: one writer at a time in a process, and one process at a time.

Within a process, threads and tasks take turns in the order in which they asked. Between processes, file locks decide. A
waiting process first takes `<index>.turn`, and only its holder tries to take `<index>.lock`. So a process that releases
the lock and immediately wants it again, such as a backfill, cannot overtake a waiting process. With one lock only, some
of 16 writers waited over 5 s on a slow disk while others wrote a hundred times. Locking both files takes 10 us;
filelock takes 120 us for one.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ...descriptors import opened_in_thread
from ...errors import IndexBusy, IndexUnusable
from ...locks import lock_file, try_lock_file
from .index_file import require_directory

_PATIENCE_S = 0.01
_IMPATIENCE_S = 0.001
"""The pauses between attempts: at first, and after a second of waiting or while holding the turn."""

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


class Asked(NamedTuple):
    """A position in the queue. `turn` is done when the turn has come; cancelling it before that leaves the queue."""

    turn: Future[None]
    at: float
    """The time of the request on the monotonic clock."""


class WriterQueue:
    """The waiting writers of one process, in the order of their requests."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._waiting: deque[Future[None]] = deque()

    def ask(self) -> Asked:
        """Ask for a turn."""
        asked = Asked(Future(), time.monotonic())
        with self._guard:
            if self._taken:
                self._waiting.append(asked.turn)
                return asked
            self._taken = True
        asked.turn.set_result(None)
        return asked

    @contextmanager
    def turn(self, asked: Asked) -> Iterator[None]:
        """Wait in this thread for the turn, and hold it during the block.

        Raises:
            concurrent.futures.CancelledError: the turn was cancelled.
        """
        asked.turn.result()
        try:
            yield
        finally:
            self._pass_on()

    @asynccontextmanager
    async def turn_of_task(self) -> AsyncIterator[None]:
        """Ask for a turn, wait for it in this task, and hold it during the block."""
        asked = self.ask()
        try:
            await asyncio.wrap_future(asked.turn)
        except asyncio.CancelledError:
            if not asked.turn.cancel():  # the turn had come, but the task was cancelled before it noticed
                self._pass_on()
            raise
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        with self._guard:
            while self._waiting:
                following = self._waiting.popleft()
                if following.set_running_or_notify_cancel():
                    following.set_result(None)
                    return
            self._taken = False


@contextmanager
def writer_lock(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold the lock of all processes that write to an index. Waits in the calling thread.

    Raises:
        IndexBusy: another process held the lock for `timeout_s` seconds.
        IndexUnusable: the lock file cannot be opened, or its directory is missing.
    """
    descriptor = _lock_to_write(path, timeout_s)
    try:
        yield
    finally:
        os.close(descriptor)


@asynccontextmanager
async def writer_lock_of_task(path: Path, timeout_s: float) -> AsyncIterator[None]:
    """Hold the same lock across awaits. Only the replacement of the whole index needs this.

    Raises:
        IndexBusy, IndexUnusable: as for `writer_lock`.
    """
    async with opened_in_thread(partial(_lock_to_write, path, timeout_s)):
        yield


def _lock_to_write(path: Path, timeout_s: float) -> int:
    def grow_impatient(waited_s: float) -> float:
        return max(_PATIENCE_S * (1 - waited_s), _IMPATIENCE_S)

    try:
        turn = lock_file(f"{path}.turn", timeout_s=timeout_s, pause_s=grow_impatient)
        if turn is None:
            raise _busy(path, timeout_s)
        try:
            descriptor = lock_file(f"{path}.lock", timeout_s=timeout_s, pause_s=lambda _: _IMPATIENCE_S)
        finally:
            os.close(turn)
    except OSError as error:
        raise _unlockable(path, error) from error
    if descriptor is None:
        raise _busy(path, timeout_s)
    return descriptor


def try_lock_beside(path: Path, name: str) -> int | None:
    """Lock the file `name` in the index's directory and return its descriptor, or None if another process holds it.

    Raises:
        IndexUnusable: the file cannot be made, opened or locked, or its directory is missing.
    """
    try:
        return try_lock_file(path.with_name(name))
    except OSError as error:
        raise _unlockable(path, error) from error


def _busy(path: Path, timeout_s: float) -> IndexBusy:
    return IndexBusy(f"another process has been writing to the index {path} for {timeout_s:g} s; try again")


def _unlockable(path: Path, error: OSError) -> IndexUnusable:
    require_directory(path)
    if error.errno in _NO_LOCKS:
        return IndexUnusable(
            f"the index {path} cannot be locked ({error.strerror}); put it on a disk with file locks: "
            "CONVSTORE_INDEX_URL=sqlite:////var/lib/convstore/index.db"
        )
    return IndexUnusable(
        f"the index directory {path.parent} cannot be written to ({error.strerror}); make it writable, "
        "or set CONVSTORE_INDEX_URL=sqlite:////a/writable/path/index.db"
    )
