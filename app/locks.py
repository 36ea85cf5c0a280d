"""File locks (flock): the one place where this program locks a file.

A lock belongs to the open descriptor. It ends when the descriptor is closed, or when its process ends, however that
happens, so a crash leaves no lock behind. agent-server's `filelock` uses the same call, so the two exclude each other.
filelock itself creates a missing directory again, which would bring a deleted conversation back; this does not.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import LockTimeout

ALONE = fcntl.LOCK_EX
SHARED = fcntl.LOCK_SH

_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_HELD = frozenset({errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK})
_FIRST_PAUSE_S = 0.0005
_LONGEST_PAUSE_S = 0.02


def try_lock(descriptor: int, kind: int = ALONE) -> bool:
    """Lock an open file and return True, or return False at once when another descriptor holds it.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise
    return True


def try_lock_file(path: str | Path, kind: int = ALONE, *, dir_fd: int | None = None) -> int | None:
    """Do what `lock_file` does, trying once."""
    return lock_file(path, kind, timeout_s=0, dir_fd=dir_fd)


def pause_longer(waited_s: float) -> float:
    """Return the pause before the next try: short at first, since most locks are held for less than a millisecond."""
    return min(max(waited_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)


def lock_file(
    path: str | Path,
    kind: int = ALONE,
    *,
    timeout_s: float,
    dir_fd: int | None = None,
    pause_s: Callable[[float], float] = pause_longer,
) -> int | None:
    """Open a lock file, creating it with mode 0600, and lock it. Return the descriptor, or None when it stays held.

    It tries again for `timeout_s` seconds. `pause_s` gets the seconds waited so far and returns how long to sleep
    before the next try.

    Raises:
        OSError: it cannot be opened or locked; FileNotFoundError when its directory is gone.
    """
    began = time.monotonic()
    while True:
        descriptor = os.open(path, _OPEN, 0o600, dir_fd=dir_fd)
        try:
            # A file without a name was deleted between open and flock: others now lock a new file of this name.
            if try_lock(descriptor, kind) and os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        waited_s = time.monotonic() - began
        if waited_s >= timeout_s:
            return None
        time.sleep(pause_s(waited_s))


@contextmanager
def hold_lock(name: str, timeout_s: float, *, dir_fd: int) -> Iterator[None]:
    """Hold a lock file in an open directory while the block runs.

    Raises:
        LockTimeout: another program held it for `timeout_s` seconds.
        OSError: it cannot be opened; FileNotFoundError when the directory was deleted.
    """
    descriptor = lock_file(name, timeout_s=timeout_s, dir_fd=dir_fd)
    if descriptor is None:
        raise LockTimeout(f"{name} was held by another program for {timeout_s:g} s; try again")
    try:
        yield
    finally:
        os.close(descriptor)
