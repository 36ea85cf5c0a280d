"""File locks that agent-server's `filelock` respects (flock), by name in an open directory.

filelock itself makes a missing directory again, which brings a deleted conversation back as a ghost; these do not.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import LockTimeout

TIMEOUT_S = 30.0
"""How long agent-server waits for a log's lock; see openhands-sdk 1.58, conversation/event_store.py."""

_FIRST_WAIT_S = 0.0005
_LONGEST_WAIT_S = 0.02
_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_TAKEN = frozenset({errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK})


@contextmanager
def locked(dir_fd: int, name: str, timeout_s: float = TIMEOUT_S) -> Iterator[None]:
    """Hold a lock file alone.

    Raises:
        LockTimeout: somebody else held it for `timeout_s`.
        OSError: the file cannot be opened; FileNotFoundError when the directory is deleted.
    """
    descriptor = _acquire(dir_fd, name, timeout_s)
    try:
        yield
    finally:
        os.close(descriptor)


def _acquire(dir_fd: int, name: str, timeout_s: float) -> int:
    deadline = time.monotonic() + timeout_s
    wait_s = _FIRST_WAIT_S
    while True:
        descriptor = os.open(name, _OPEN, 0o600, dir_fd=dir_fd)
        try:
            if try_lock(descriptor, fcntl.LOCK_EX) and os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # taken, or deleted while we waited, and then it guards nothing
        if time.monotonic() > deadline:
            raise LockTimeout(f"{name} was held by another program for {timeout_s:g} s; try again")
        time.sleep(wait_s)
        wait_s = min(wait_s * 2, _LONGEST_WAIT_S)


def try_lock(descriptor: int, kind: int) -> bool:
    """Take a lock on an open file if it is free. It lasts until the file is closed or its process ends."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True
