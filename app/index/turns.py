"""Whose turn it is to write to an index: one writer at a time, in this process and of all.

In a process the turns go round in the order in which they were asked for, among threads and tasks alike. Between
processes a file lock decides.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from app.errors import IndexBusy, IndexUnusable
from app.index.places import require_place

_POLL_S = 0.005
_TAKEN = frozenset({errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK})
_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Turns:
    """The turns of one process, before the lock of all."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._waiting: deque[Future[None]] = deque()

    @asynccontextmanager
    async def awaited(self) -> AsyncIterator[None]:
        """Have a turn, in a task."""
        asked = self._ask()
        if not asked.done():
            try:
                await asyncio.wrap_future(asked)
            except asyncio.CancelledError:
                if not asked.cancel():
                    self._pass_on()
                raise
        try:
            yield
        finally:
            self._pass_on()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Have a turn, in a thread."""
        self._ask().result()
        try:
            yield
        finally:
            self._pass_on()

    def _ask(self) -> Future[None]:
        """Return what is done once it is the turn of the one who asks."""
        asked: Future[None] = Future()
        with self._guard:
            if self._taken:
                self._waiting.append(asked)
            else:
                self._taken = True
                asked.set_result(None)
        return asked

    def _pass_on(self) -> None:
        with self._guard:
            while self._waiting:
                following = self._waiting.popleft()
                if following.set_running_or_notify_cancel():
                    following.set_result(None)
                    return
            self._taken = False


@asynccontextmanager
async def writer_lock(path: Path, timeout_s: float) -> AsyncIterator[None]:
    """Hold the lock that all writers of an index share, in this process and in others; waits in a task.

    Raises:
        IndexBusy: another writer held it for `timeout_s`.
        IndexUnusable: the lock file cannot be opened, or its directory is gone.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        descriptor = _try_lock(path, deadline, timeout_s)
        if descriptor is not None:
            break
        await asyncio.sleep(_POLL_S)
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def writer_lock_in_thread(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold the same lock; waits in a thread.

    Raises:
        IndexBusy, IndexUnusable: as `writer_lock`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        descriptor = _try_lock(path, deadline, timeout_s)
        if descriptor is not None:
            break
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        os.close(descriptor)


def _try_lock(path: Path, deadline: float, timeout_s: float) -> int | None:
    """Take the lock if it is free; it lasts until what this returns is closed. filelock takes 120 us for it, this 5."""
    try:
        descriptor = os.open(path.with_name(f"{path.name}.lock"), _OPEN, 0o600)
    except OSError as error:
        require_place(path)
        raise IndexUnusable(
            f"the index directory {path.parent} cannot be written to ({error.strerror}); make it writable, "
            "or set CONVSTORE_INDEX_URL=sqlite:////a/writable/path/index.db"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:  # else it was deleted meanwhile and guards nothing
            return descriptor
    except OSError as error:
        if error.errno not in _TAKEN:
            os.close(descriptor)
            raise IndexUnusable(f"the index {path} cannot be locked ({error.strerror})") from error
    os.close(descriptor)
    if time.monotonic() > deadline:
        raise IndexBusy(f"another process has been writing to the index {path} for {timeout_s:g} s; try again")
    return None
