"""Detecting live convstores: each worker of a server holds a shared lock on `.convstore/owners/<instance>.lock`.

The operating system drops the lock when the last worker ends, for any reason. A pid would not do, because pids are
reused and differ between containers. A clock would not do either: a process that is stopped is still alive.

If several hosts share a store, their index knows which of them live (`share`). The lock then counts only for owners of
this machine's boot.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from functools import cache
from math import inf
from pathlib import Path
from typing import NamedTuple, Protocol

from ..errors import HostSilent, StoreError, StoreUnavailable
from ..locks import SHARED, NoLocks, lock_file, no_locks, try_lock

_DIRECTORY = ".convstore/owners"
_LOOK = "look"
_TRIES = 20
_PREFIX_MAX = 40
_RETRY_S = 0.002


def make_instance_id(prefix: str | None = None) -> str:
    """Return a new name for an owner: one run of a convstore with all its workers."""
    return f"{(prefix or 'convstore')[:_PREFIX_MAX]}-{secrets.token_hex(8)}"


def next_instance(instance: str) -> str:
    """Return the name of an owner after others counted it as dead."""
    name, dot, number = instance.rpartition(".again-")
    return f"{name}{dot}{int(number) + 1}" if dot and number.isdecimal() else f"{instance}.again-1"


@cache
def boot_id() -> str:
    """Return the id of this machine's boot. Locks are comparable only within one boot."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"host:{os.uname().nodename}"


class KnownOwner(Protocol):
    """An owner that the index knows."""

    @property
    def boot(self) -> str:
        """The boot of the owner's machine."""

    @property
    def alive(self) -> bool:
        """Whether the owner told the index lately that it lives."""


class Hosts(Protocol):
    """The index that the hosts of a store share."""

    def find(self, instance: str) -> KnownOwner | None:
        """Return an owner, or None if it is unknown."""

    def require_alive(self) -> None:
        """Raise HostSilent if another host may count this one as dead."""


class _Shared(NamedTuple):
    hosts: Hosts
    name: str | None


_SHARED: dict[Path, _Shared] = {}
"""The stores that this process shares with other hosts."""
_WRITTEN: ContextVar[Hosts | None] = ContextVar("written", default=None)
"""The hosts of the store to which this thread is writing."""


@contextmanager
def share(root: Path, hosts: Hosts, name: str | None) -> Iterator[None]:
    """Let `hosts` say, during the block, which owners of the store `root` live.

    Hosts of one machine that have different names do not see each other's locks, as hosts of different machines.
    """
    before = _SHARED.get(root)
    _SHARED[root] = _Shared(hosts, name)
    try:
        yield
    finally:
        if before is None:
            del _SHARED[root]
        else:
            _SHARED[root] = before


def is_shared(root: Path) -> bool:
    """Whether several hosts may write to the store."""
    return root in _SHARED


def boot_of(root: Path) -> str:
    """Return the boot within which processes see each other's locks in this store."""
    shared = _SHARED.get(root)
    return boot_id() if shared is None or shared.name is None else f"{boot_id()}/{shared.name}"


def host_name(root: Path) -> str:
    """Return the name of this host for people."""
    shared = _SHARED.get(root)
    return socket.gethostname() if shared is None or shared.name is None else shared.name


def writing(root: Path) -> AbstractContextManager[None]:
    """Make `require_alive` check, in this thread and during the block, that this host may write to the store `root`.

    Raises:
        HostSilent: it may not.
    """
    shared = _SHARED.get(root)
    return _ALONE if shared is None else _writing(shared.hosts)


_ALONE = nullcontext()


@contextmanager
def _writing(hosts: Hosts) -> Iterator[None]:
    before = _WRITTEN.set(hosts)
    try:
        hosts.require_alive()
        yield
    finally:
        _WRITTEN.reset(before)


def require_alive() -> None:
    """Check that this host may still write. Called directly before what changes a file that has its final name.

    Raises:
        HostSilent: it may not.
    """
    hosts = _WRITTEN.get()
    if hosts is not None:
        hosts.require_alive()


def may_write() -> bool:
    """Whether `require_alive` passes."""
    try:
        require_alive()
    except HostSilent:
        return False
    return True


def find_alive(root: Path, instance: str) -> bool | None:
    """Whether an owner lives, as far as the hosts of a shared store know; None if they do not know it.

    Raises:
        IndexUnusable: the index does not answer.
    """
    shared = _SHARED.get(root)
    found = None if shared is None else shared.hosts.find(instance)
    if found is None:
        return None
    return found.alive and (found.boot != boot_of(root) or _has_lock(root, instance))


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
        _forget_dead(root, directory)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def is_alive(root: Path, instance: str) -> bool:
    """Whether a convstore with this name is alive on this machine, or on another host of a shared store."""
    known = find_alive(root, instance)
    return _has_lock(root, instance) if known is None else known


def _has_lock(root: Path, instance: str) -> bool:
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


def _forget_dead(root: Path, directory: Path) -> None:
    """Delete the lock files of dead owners."""
    with suppress(OSError, StoreError), _looking(directory):
        for path in directory.glob("*.lock"):
            if not find_alive(root, path.stem):  # another host's lock may be invisible here
                _forget_if_dead(path)


def _forget_if_dead(path: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if try_lock(descriptor):
                path.unlink()
        finally:
            os.close(descriptor)
