"""Who may write to a conversation: `owner_lease.json`.

It follows agent-server's protocol, so that convstore and agent-server never write to one conversation at the same time.

Where convstore improves on agent-server, and why:
- A convstore on this machine is alive as long as it holds its lock (`app.files.liveness`). Other convstores on the
  machine go by that lock, not by the time at which the lease expires.
- The generation never falls. A release marks the lease as expired and does not delete the file. `.owner_lease.last`
  holds the last generation, in case the lease file is deleted, empty or torn.
- The workers of a server are one owner. While a worker has the conversation open, it holds a shared lock on
  `.owner_lease.last`. So the worker that closes it last knows that it must release the lease. Each new owner makes
  this file anew.
- No `owner_pid` is written. With one, agent-server would take over from a live owner in another container with the
  same host name. The cost: after a crash of convstore, agent-server waits until the lease expires, 45 s at most.

Source of the protocol: openhands-agent-server 1.58, conversation_lease.py.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import orjson

from ..errors import ConversationNotFound, ConversationOwned, OwnershipLost, UnreadableFile, WriteFailed
from ..locks import SHARED, hold_lock, is_named, try_lock
from ..model.event import parse_json_object
from . import durable, layout, liveness
from .layout import LAST_LEASE, LEASE, LEASE_LOCK

TTL_S = 45.0
RENEW_EVERY_S = 15.0

_LOCK_TIMEOUT_S = 10.0
_NO_TIME = 0.0


class Lease(NamedTuple):
    """A lease. `expires_at` is in seconds since 1970. `boot` is "" for a lease of agent-server or of a client.

    `head_from` is the number of the first event that HEAD may not know after a power cut, because HEAD is not fsynced
    with each event; see `app.files.log.head`. None if HEAD is durable.
    """

    owner: str
    generation: int
    expires_at: float
    host: str = ""
    boot: str = ""
    head_from: int | None = None

    @property
    def released(self) -> bool:
        """Whether the owner released the lease."""
        return self.expires_at <= _NO_TIME

    def as_released(self) -> Lease:
        """Return the lease, marked as released. HEAD must be durable."""
        return self._replace(expires_at=_NO_TIME, head_from=None)

    def is_same_ownership(self, other: Lease) -> bool:
        """Whether both leases have the same owner and generation.

        `boot` distinguishes a server's lease from a client's.
        """
        return (self.owner, self.generation, self.boot) == (other.owner, other.generation, other.boot)


def read_lease(conversation_fd: int) -> Lease | None:
    """Return the lease in an open conversation directory, or None if it is missing or unreadable."""
    try:
        return _read(conversation_fd, LEASE)
    except WriteFailed:
        return None


def _read(fd: int, name: str) -> Lease | None:
    """Return the lease in a file, or None if the file is missing or torn.

    Raises:
        WriteFailed: the operating system refuses to read the file, so the owner is unknown.
    """
    try:
        raw = layout.read_with_status(name, fd)[0]
        return _parse_again(raw) if len(raw) <= _USUAL_BYTES else _parse(raw)
    except FileNotFoundError:
        return None
    except UnreadableFile as error:
        if error.failed:
            raise WriteFailed(f"{name} {error}, so the conversation's owner is unknown; nothing was written") from error
        return None


def _parse(raw: bytes) -> Lease | None:
    match value := parse_json_object(raw):
        case {"owner_instance_id": str(owner), "generation": int(generation), "expires_at": int() | float() as expires}:
            host, given = value.get("owner_host"), value.get("convstore")
            ours = given if isinstance(given, dict) else {}
            boot, head_from = ours.get("boot"), ours.get("head_from")
            return Lease(
                owner,
                generation,
                float(expires),
                host if isinstance(host, str) else "",
                boot if isinstance(boot, str) else "",
                head_from if type(head_from) is int else None,
            )
    return None


_parse_again = lru_cache(maxsize=256)(_parse)
"""Remembers leases, because each write reads the same one again."""

_USUAL_BYTES = 1000


def is_held(root: Path, lease: Lease | None) -> bool:
    """Whether a lease excludes others now: its convstore is alive on this machine, or the lease has not expired."""
    if lease is None or lease.released:
        return False
    if lease.boot == liveness.boot_of(root):
        return liveness.is_alive(root, lease.owner)
    if lease.boot and (known := liveness.find_alive(root, lease.owner)) is not None:
        return known
    return lease.expires_at > time.time()


def find_lease(root: Path, directory: str) -> Lease | None:
    """Return a conversation's lease, or None if it is missing or unreadable. Takes no lock."""
    try:
        with layout.open_directory(root / directory) as fd:
            return read_lease(fd)
    except OSError:
        return None


def find_holder(root: Path, directory: str) -> Lease | None:
    """Return the lease that excludes others from a conversation, or None if there is none. Takes no lock."""
    lease = find_lease(root, directory)
    return lease if is_held(root, lease) else None


class ClaimedLease(NamedTuple):
    """A claimed lease and the previous lease, if any. If the previous one was not released, its owner crashed.

    While the descriptor `share` is open, no other worker of the server releases the lease.
    """

    lease: Lease
    before: Lease | None
    share: int | None = None


def ignore_generation(_generation: int) -> None:
    """Do nothing."""


def claim(
    root: Path,
    directory: str,
    instance: str,
    *,
    ttl_s: float = TTL_S,
    force: bool = False,
    boot: str | None = None,
    over: str | None = None,
    shared: bool = False,
    known_generation: int = 0,
    announce: Callable[[int], None] = ignore_generation,
) -> ClaimedLease:
    """Become the owner of a conversation, or extend an existing ownership.

    The lock of `instance` must be held (`liveness.stay_alive`). With an empty `boot`, the owner is a client, and the
    lease ends when it expires. A new owner gets a higher generation than all before. The lease of owner `over` is taken
    over without `force`. With `shared`, no other worker of this server releases the lease while `share` is open.

    The generation is at least `known_generation`, and higher for a new owner, because a directory that was restored
    from a backup may contain older leases. `announce` is called with it before the lease is written; if it raises,
    nothing is written.

    Raises:
        ConversationOwned: another owner is alive. With `force`, it loses the lease, and its next write is refused.
        ConversationNotFound: the directory is missing or not a conversation; nothing was written.
        LockTimeout: another program held the lease's lock for 10 s.
        DiskFull, WriteFailed: the lease could not be written, or the previous one could not be read.
    """
    with open_to_write(root, directory) as fd, liveness.writing(root), ExitStack() as locks:
        if not layout.holds_conversation(fd):
            raise ConversationNotFound(f"{root / directory} is not a conversation; it was not changed")
        locks.enter_context(hold_lock(LEASE_LOCK, _LOCK_TIMEOUT_S, dir_fd=fd))
        now_lease = _read(fd, LEASE)
        last = _read(fd, LAST_LEASE)
        if now_lease is None and os.path.lexists(root / directory / LEASE):
            now_lease = last  # while its owner is alive, an empty or torn lease file still excludes others
        same = now_lease is not None and now_lease.owner == instance and not now_lease.released
        goes_on = same and now_lease is not None and now_lease.generation >= known_generation
        given = now_lease is not None and now_lease.owner == over
        if not same and not given and not force and is_held(root, now_lease):
            raise ConversationOwned(describe_owner(directory, now_lease))
        highest = max(known_generation, *(one.generation for one in (now_lease, last) if one is not None), 0)
        generation = now_lease.generation if goes_on and now_lease is not None else highest + 1
        mine = Lease(
            instance,
            generation,
            time.time() + ttl_s,
            liveness.host_name(root),
            liveness.boot_of(root) if boot is None else boot,
            None if now_lease is None else now_lease.head_from,  # until HEAD is read, it may be behind the log
        )
        announce(generation)
        if last is None or not last.is_same_ownership(mine):
            # written before the lease: a crash in between may skip a generation, but never use one twice
            durable.replace(fd, LAST_LEASE, _dump(mine), sync_name=False)
        share = _share(fd) if shared else None
        try:
            durable.replace(fd, LEASE, _dump(mine))
        except BaseException:
            if share is not None:
                os.close(share)
            raise
        return ClaimedLease(mine, now_lease, share)


def _share(fd: int) -> int:
    descriptor = open_last_lease(fd)
    try_lock(descriptor, SHARED)
    return descriptor


def open_last_lease(fd: int) -> int:
    """Open the file that a server's workers lock while they share a lease. The caller holds the lease's lock."""
    return os.open(LAST_LEASE, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=fd)


def describe_owner(directory: str, lease: Lease | None) -> str:
    """Return the error text that names the owner of a conversation."""
    owner = f"{lease.owner}{f' on {lease.host}' if lease.host else ''}" if lease else "another program"
    return (
        f"conversation {directory} is owned by {owner}, which is writing to it; "
        "ask the owner to make the change, or wait until it releases the lease"
    )


def renew(root: Path, directory: str, lease: Lease, *, ttl_s: float = TTL_S) -> Lease:
    """Extend a lease and return it.

    Raises:
        OwnershipLost: another owner has the lease, or the client released it.
        ConversationNotFound: the directory is missing.
    """
    with open_to_write(root, directory) as fd, hold_lease(root, directory, fd, lease) as found:
        longer = lease._replace(expires_at=time.time() + ttl_s, head_from=found.head_from)
        write_lease(fd, longer)
        return longer


def hold_lease(root: Path, directory: str, fd: int, lease: Lease) -> AbstractContextManager[Lease]:
    """Check that `lease` is still valid, and hold its lock for one write into the open directory `fd`.

    Yields the lease as it is on disk.

    Lock order: a caller that also needs the log's lock must take that lock first, as agent-server 1.58 does.

    Raises:
        OwnershipLost: the lease has another owner, it was released, or the directory was moved away.
        LockTimeout: another program held the lock for 10 s.
        WriteFailed: the lease cannot be read.
    """
    return _HeldLease(root, directory, fd, lease)


class _HeldLease(AbstractContextManager[Lease]):
    """A class, because an append takes one, and a generator takes longer than the system calls."""

    __slots__ = ("_directory", "_fd", "_lease", "_lock", "_root", "_writing")

    def __init__(self, root: Path, directory: str, fd: int, lease: Lease) -> None:
        self._root, self._directory, self._fd, self._lease = root, directory, fd, lease
        self._lock = hold_lock(LEASE_LOCK, _LOCK_TIMEOUT_S, dir_fd=fd)
        self._writing = liveness.writing(root)

    def __enter__(self) -> Lease:
        self._lock.__enter__()
        try:
            self._writing.__enter__()
            try:
                return _require_same(self._root, self._directory, self._fd, self._lease)
            except BaseException:
                self._writing.__exit__(None, None, None)
                raise
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise

    def __exit__(self, *_: object) -> None:
        try:
            self._writing.__exit__(None, None, None)
        finally:
            self._lock.__exit__(None, None, None)


def _require_same(root: Path, directory: str, fd: int, lease: Lease) -> Lease:
    """Return the lease on disk if it is still `lease`. The caller holds its lock."""
    now_lease = _read(fd, LEASE)
    if now_lease is None and os.path.lexists(root / directory / LEASE):
        now_lease = _read(fd, LAST_LEASE)
    if now_lease is None or now_lease.released or not now_lease.is_same_ownership(lease):
        raise OwnershipLost(
            f"conversation {directory} is no longer owned by {lease.owner} (generation {lease.generation}), "
            f"but by {now_lease.owner if now_lease and not now_lease.released else 'nobody'}; "
            "nothing was written. Open it again"
        )
    if not is_named(fd, f"{root}/{directory}"):
        raise OwnershipLost(f"conversation {directory} was moved away or deleted; nothing was written")
    return now_lease


@contextmanager
def hold_unclaimed(directory: str, root: Path, fd: int, instance: str, *, force: bool) -> Iterator[None]:
    """Hold the lease's lock without writing a lease, after checking that no other owner is alive.

    This needs no space on the disk. With `force`, a living owner loses its lease.

    Raises:
        ConversationOwned: another owner is alive, and `force` is false.
        LockTimeout: another program held the lock for 10 s.
    """
    with hold_lock(LEASE_LOCK, _LOCK_TIMEOUT_S, dir_fd=fd), liveness.writing(root):
        now_lease = _read(fd, LEASE) or _read(fd, LAST_LEASE)
        if is_held(root, now_lease):
            if not force and now_lease is not None and now_lease.owner != instance:
                raise ConversationOwned(describe_owner(directory, now_lease))
            durable.remove_if_there(fd, LEASE)
        yield


def check_lease(root: Path, directory: str, lease: Lease) -> Lease:
    """Return a client's lease as it is on disk, if it is still valid.

    Raises:
        OwnershipLost: another owner or nobody has the lease.
        ConversationNotFound: the directory is missing.
    """
    with open_to_write(root, directory) as fd, hold_lease(root, directory, fd, lease):
        return read_lease(fd) or lease


def open_to_write(root: Path, directory: str) -> AbstractContextManager[int, None]:
    """Open a conversation's directory for writing, and convert OSErrors in the block.

    Raises:
        ConversationNotFound: there is no such directory, or it was just deleted.
        DiskFull, WriteFailed: the operating system refused a write in the block.
    """
    return _OpenToWrite(root, directory)


class _OpenToWrite(AbstractContextManager[int, None]):
    """A class, because an append takes one, and a generator takes longer than the system calls."""

    __slots__ = ("_directory", "_explained", "_opened")

    def __init__(self, root: Path, directory: str) -> None:
        self._directory = directory
        self._explained = durable.explain_errors(f"conversation {directory}")
        self._opened = layout.open_directory(f"{root}/{directory}")

    def __enter__(self) -> int:
        try:
            return self._opened.__enter__()
        except OSError as error:
            self._explain(error)
            raise

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._opened.__exit__(None, None, None)
        self._explain(error)

    def _explain(self, error: BaseException | None) -> None:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise ConversationNotFound(f"there is no conversation {self._directory} ({error.strerror})") from error
        if error is not None:
            self._explained.__exit__(type(error), error, None)


def write_lease(fd: int, lease: Lease, *, sync_name: bool = False) -> None:
    """Write a lease into an open directory. The caller is in `hold_lease`."""
    durable.replace(fd, LEASE, _dump(lease), sync_name=sync_name)


def _write_released(fd: int, lease: Lease) -> None:
    """Mark a lease as released. Afterwards nothing says that HEAD may be behind the log, so it is made durable first.

    Raises:
        OSError: HEAD could not be made durable; the lease is unchanged.
    """
    if lease.head_from is not None:
        durable.sync_file(fd, layout.STATE)
    write_lease(fd, lease.as_released())


def _dump(lease: Lease) -> bytes:
    ours = {"boot": lease.boot} | ({} if lease.head_from is None else {"head_from": lease.head_from})
    return orjson.dumps(
        {
            "owner_instance_id": lease.owner,
            "generation": lease.generation,
            "expires_at": lease.expires_at,
            "owner_host": lease.host,
            "convstore": ours,
        }
    )


def release(root: Path, directory: str, held: Lease) -> bool:
    """Release a lease and return whether the conversation now has no owner. The file stays, to keep the generation.

    A server's lease is not released while another of its workers has the conversation open.
    """
    try:
        with open_to_write(root, directory) as fd, hold_lease(root, directory, fd, held) as found:
            if held.boot and _is_shared(fd):
                return False
            _write_released(fd, held._replace(head_from=found.head_from))
    except (OwnershipLost, ConversationNotFound):
        return False
    return True


def undo_claim(root: Path, directory: str, claimed: ClaimedLease) -> bool:
    """Release a lease under which nothing was read, and return whether the conversation now has no owner.

    If the previous owner crashed, the previous lease is restored, so that the next owner also detects the crash.
    """
    with (
        suppress(OwnershipLost, ConversationNotFound),
        open_to_write(root, directory) as fd,
        hold_lease(root, directory, fd, claimed.lease),
    ):
        if not _is_shared(fd):
            undo_claim_locked(root, fd, claimed)
            return True
    return False


def undo_claim_locked(root: Path, fd: int, claimed: ClaimedLease) -> None:
    """Do the same as `undo_claim`, but in an open directory and without regard to other workers. Needs `hold_lease`."""
    before = claimed.before
    if before is None:
        durable.remove_if_there(fd, LEASE)
    elif before.released or is_held(root, before):
        _write_released(fd, claimed.lease)
    else:
        write_lease(fd, before._replace(generation=claimed.lease.generation))


def _is_shared(fd: int) -> bool:
    """Whether a worker has the conversation open under the current lease. The caller is in `hold_lease`."""
    try:
        descriptor = open_last_lease(fd)
    except OSError:
        return False
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)
