"""Detecting live convstores: each worker of a server holds a shared lock on `.convstore/owners/<instance>.lock`.

The operating system drops the lock when the last worker ends, for any reason. A pid would not do, because pids are
reused and differ between containers. A clock would not do either: a process that is stopped is still alive.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from math import inf
from pathlib import Path

from ..errors import StoreUnavailable
from ..locks import SHARED, NoLocks, lock_file, no_locks, try_lock

_DIRECTORY = ".convstore/owners"
_LOOK = "look"
_TRIES = 20
_PREFIX_MAX = 40
_RETRY_S = 0.002


def make_instance_id(prefix: str | None = None) -> str:
    """Return a new name for an owner: one run of a convstore with all its workers."""
    return f"{(prefix or 'convstore')[:_PREFIX_MAX]}-{secrets.token_hex(8)}"


@cache
def boot_id() -> str:
    """Return the id of this machine's boot. Locks are comparable only within one boot."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"host:{os.uname().nodename}"


@contextmanager
def stay_alive(root: Path, instance: str) -> Iterator[None]:
    """Hold the lock that shows other processes that `instance` is alive.

    Child processes must be spawned, not forked, because a forked child would keep the inherited lock.

    Raises:
        StoreUnavailable: the lock file cannot be made.
        LocksUnsupported: the file system has no locks.
    """
    directory = root / _DIRECTORY
    try:
        for path in (directory.parent, directory):  # no further parents: a store that is gone is not made again
            path.mkdir(mode=0o700, exist_ok=True)
        descriptor = lock_file(directory / f"{instance}.lock", SHARED, timeout_s=inf)
    except NoLocks as error:
        raise no_locks(str(directory)) from error
    except OSError as error:
        raise StoreUnavailable(
            f"{directory} cannot be written to ({error.strerror}), so no other process could see that it writes; "
            "make it writable, or use the store only for reading"
        ) from error
    try:
        _forget_dead(directory)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def is_alive(root: Path, instance: str) -> bool:
    """Whether a convstore with this name is alive on this machine."""
    if "/" in instance or "\0" in instance:
        return False
    return _is_locked(root / _DIRECTORY / f"{instance}.lock")


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # if in doubt, the owner counts as alive, because a claim must not take over from a live owner
    try:
        with _looking(path.parent) as alone:
            return not any(_was_free(descriptor, number) for number in range(1 if alone else _TRIES))
    finally:
        os.close(descriptor)


def _was_free(descriptor: int, number: int) -> bool:
    if number:
        time.sleep(_RETRY_S)  # another process that tests the lock holds it briefly
    return try_lock(descriptor)


@contextmanager
def _looking(directory: Path) -> Iterator[bool]:
    """Exclude other processes that test locks, so that one test is enough. Yields False if that is not possible."""
    try:
        descriptor = os.open(directory / _LOOK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield False
        return
    try:
        yield any(_was_free(descriptor, number) for number in range(_TRIES))
    finally:
        os.close(descriptor)


def _forget_dead(directory: Path) -> None:
    """Delete the lock files of dead owners."""
    with suppress(OSError), _looking(directory):
        for path in directory.glob("*.lock"):
            _forget_if_dead(path)


def _forget_if_dead(path: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if try_lock(descriptor):
                path.unlink()
        finally:
            os.close(descriptor)
