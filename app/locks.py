"""File locks (flock). All of convstore's file locks are taken here.

A lock belongs to the open descriptor. It ends when the descriptor is closed or when its process ends for any reason, so
a crash leaves no lock behind. agent-server's `filelock` uses the same call, so both programs exclude each other.
filelock itself is not used, because it recreates a missing directory, which would bring back a deleted conversation.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from .errors import LocksUnsupported, LockTimeout

ALONE = fcntl.LOCK_EX
SHARED = fcntl.LOCK_SH

_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_HELD = frozenset({errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK})
_NONE = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})
_FIRST_PAUSE_S = 0.0005
_LONGEST_PAUSE_S = 0.02


class NoLocks(OSError):
    """The file system has no file locks."""


def no_locks(what: str) -> LocksUnsupported:
    """Return the error for a write to a file system that has no locks."""
    return LocksUnsupported(
        f"{what} was not written: the file system has no file locks, and without them two writers could damage a "
        "conversation. convstore only reads there; keep the store on a disk with locks to write to it"
    )


def try_lock(descriptor: int, kind: int = ALONE) -> bool:
    """Lock an open file and return True, or return False at once if another descriptor holds the lock.

    Raises:
        NoLocks: the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        if error.errno in _NONE:
            raise NoLocks(error.errno, error.strerror) from error
        raise
    return True


def try_lock_file(path: str | Path, kind: int = ALONE, *, dir_fd: int | None = None) -> int | None:
    """Do the same as `lock_file`, but try only once."""
    return lock_file(path, kind, timeout_s=0, dir_fd=dir_fd)


def pause_longer(waited_s: float) -> float:
    """Return the pause before the next attempt.

    It is short at first, because most locks are held for under a millisecond.
    """
    return min(max(waited_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)


def lock_file(
    path: str | Path,
    kind: int = ALONE,
    *,
    timeout_s: float,
    dir_fd: int | None = None,
    pause_s: Callable[[float], float] = pause_longer,
) -> int | None:
    """Open a lock file (created with mode 0600) and lock it. Return the descriptor, or None after a timeout.

    It tries for `timeout_s` seconds. `pause_s` takes the seconds waited so far and returns the pause before the next
    attempt.

    Raises:
        OSError: the file cannot be opened or locked; FileNotFoundError if its directory is missing.
    """
    began: float | None = None
    while True:
        descriptor = os.open(path, _OPEN, 0o600, dir_fd=dir_fd)
        try:
            # A file without its name was deleted between open and flock; others now lock a new file of this name.
            if try_lock(descriptor, kind) and is_named(descriptor, path, dir_fd=dir_fd):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        began = time.monotonic() if began is None else began
        waited_s = time.monotonic() - began
        if waited_s >= timeout_s:
            return None
        time.sleep(pause_s(waited_s))


def is_named(descriptor: int, path: str | Path, *, dir_fd: int | None = None) -> bool:
    """Whether an open file or directory still has this name.

    The number of its links does not tell, because NFS keeps a deleted file that is open under another name.
    """
    try:
        named, opened = os.stat(path, dir_fd=dir_fd, follow_symlinks=False), os.fstat(descriptor)
    except OSError:
        return False
    return named.st_ino == opened.st_ino and named.st_dev == opened.st_dev


def hold_lock(name: str, timeout_s: float, *, dir_fd: int) -> AbstractContextManager[None]:
    """Hold a lock file in an open directory during the block.

    Raises:
        LockTimeout: another program held the lock for `timeout_s` seconds.
        OSError: the file cannot be opened; FileNotFoundError if the directory was deleted.
    """
    return _HeldLock(name, timeout_s, dir_fd)


class _HeldLock(AbstractContextManager[None]):
    """A class, because an append takes two of these, and a generator takes longer than the system calls."""

    __slots__ = ("_descriptor", "_dir_fd", "_name", "_timeout_s")

    def __init__(self, name: str, timeout_s: float, dir_fd: int) -> None:
        self._name, self._timeout_s, self._dir_fd = name, timeout_s, dir_fd
        self._descriptor = -1

    def __enter__(self) -> None:
        descriptor = lock_file(self._name, timeout_s=self._timeout_s, dir_fd=self._dir_fd)
        if descriptor is None:
            raise LockTimeout(f"{self._name} was held by another program for {self._timeout_s:g} s; try again")
        self._descriptor = descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
