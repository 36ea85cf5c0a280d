"""Mutual exclusion of the processes that write to an index, by file locks.

A waiting process first takes `<index>.turn`, and only its holder tries to take `<index>.lock`. So a process that
releases the lock and immediately wants it again, such as a backfill, cannot overtake a waiting process. With one lock
only, some of 16 writers waited over 5 s on a slow disk while others wrote a hundred times. Locking both files takes
10 us; filelock takes 120 us for one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

from ...descriptors import opened_in_thread
from ...errors import IndexBusy, IndexUnusable
from ...locks import lock_file, try_lock_file
from ...settings import INDEX_NAME
from .index_file import require_directory

_PATIENCE_S = 0.01
_IMPATIENCE_S = 0.001
"""The pauses between attempts: at first, and after a second of waiting or while holding the turn."""

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


def writer_lock(path: Path, timeout_s: float) -> AbstractContextManager[None]:
    """Hold the lock of all processes that write to an index. Waits in the calling thread.

    Raises:
        IndexBusy: another process held the lock for `timeout_s` seconds.
        IndexUnusable: the lock file cannot be opened, or its directory is missing.
    """
    return _WriterLock(path, timeout_s)


class _WriterLock(AbstractContextManager[None]):
    """A class, because an append takes one, and a generator takes longer than the system calls."""

    __slots__ = ("_descriptor", "_path", "_timeout_s")

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._path, self._timeout_s, self._descriptor = path, timeout_s, -1

    def __enter__(self) -> None:
        self._descriptor = _lock_to_write(self._path, self._timeout_s)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


@asynccontextmanager
async def writer_lock_of_task(path: Path, timeout_s: float) -> AsyncIterator[None]:
    """Hold the same lock across awaits. Only the replacement of the whole index needs this.

    Raises:
        IndexBusy, IndexUnusable: as for `writer_lock`.
    """
    async with opened_in_thread(partial(_lock_to_write, path, timeout_s)):
        yield


def _lock_to_write(path: Path, timeout_s: float) -> int:
    try:
        turn = lock_file(f"{path}.turn", timeout_s=timeout_s, pause_s=_grow_impatient)
        if turn is None:
            raise _busy(path, timeout_s)
        try:
            descriptor = lock_file(f"{path}.lock", timeout_s=timeout_s, pause_s=_be_impatient)
        finally:
            os.close(turn)
    except OSError as error:
        raise _unlockable(path, error) from error
    if descriptor is None:
        raise _busy(path, timeout_s)
    return descriptor


def _grow_impatient(waited_s: float) -> float:
    return max(_PATIENCE_S * (1 - waited_s), _IMPATIENCE_S)


def _be_impatient(_waited_s: float) -> float:
    return _IMPATIENCE_S


def try_lock_beside(path: Path, name: str) -> int | None:
    """Lock a file in the index's directory and return its descriptor, or None if another process holds it.

    The file has this name beside an `index.db`. Beside an index of another name, the file's name begins with that
    name, because several indexes may share a directory.

    Raises:
        IndexUnusable: the file cannot be made, opened or locked, or its directory is missing.
    """
    try:
        return try_lock_file(path.with_name(name if path.name == INDEX_NAME else f"{path.name}.{name}"))
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
