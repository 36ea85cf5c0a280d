"""The leader: one of the processes that serve an index keeps it up to date. When the leader ends, another takes over.

Without a leader, each process would compare the whole directory. The operating system releases the leader's lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from ...errors import IndexUnusable, SyncRunning
from ...index.engine import HeldLock, Index, LockName

_POLL_S = 1.0


def has_leader_elsewhere(index: Index) -> bool:
    """Whether another process is the leader of this index now."""
    if index.holds_lock("duty"):
        return False
    lock = index.try_lock("duty")
    if lock is not None:
        lock.release()
    return lock is None


@asynccontextmanager
async def lead(index: Index) -> AsyncIterator[None]:
    """Wait until no other process is the leader, and then be the leader during the block."""
    lock: HeldLock | None = None
    while True:
        with suppress(IndexUnusable):
            lock = await _try_lock(index, "duty")
        if lock is not None:
            break
        await asyncio.sleep(_POLL_S)
    try:
        yield
    finally:
        lock.release()


async def _try_lock(index: Index, name: LockName) -> HeldLock | None:
    """Try to take a lock, in a thread. A task that is cancelled meanwhile does not keep the lock."""
    trying = asyncio.ensure_future(asyncio.to_thread(index.try_lock, name))
    try:
        return await asyncio.shield(trying)
    except asyncio.CancelledError:
        await asyncio.wait([trying])
        if not trying.exception() and (lock := trying.result()) is not None:
            lock.release()
        raise


@asynccontextmanager
async def sync_lock(index: Index) -> AsyncIterator[None]:
    """Hold the lock that allows only one process to sync or rebuild this index.

    Raises:
        SyncRunning: another process holds the lock.
        IndexUnusable: the directory of the index is missing or not writable.
    """
    lock = await _try_lock(index, "sync")
    if lock is None:
        raise SyncRunning(
            f"another process is syncing the index {index.name}; see `convstore index status`, and try again"
        )
    try:
        yield
    finally:
        lock.release()
