"""The leader: of all processes that serve an index, one looks after it. Another takes over when that one ends.

Without a leader each process would compare the whole directory by itself. The lock is the operating system's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from app.errors import IndexUnusable, SyncRunning
from app.index.sqlite.database import HeldLock, Index

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
    """Wait until no other process is the leader, then be the leader while the context lasts."""
    lock: HeldLock | None = None
    while True:
        with suppress(IndexUnusable):
            lock = index.try_lock("duty")
        if lock is not None:
            break
        await asyncio.sleep(_POLL_S)
    try:
        yield
    finally:
        lock.release()


@asynccontextmanager
async def sync_lock(index: Index) -> AsyncIterator[None]:
    """Be the only process that syncs or rebuilds this index.

    Raises:
        SyncRunning: another process does it now.
        IndexUnusable: the directory of the index is gone, or cannot be written to.
    """
    lock = index.try_lock("sync")
    if lock is None:
        raise SyncRunning(
            f"another process is bringing the index {index.path} up to date; see `convstore index status`"
        )
    try:
        yield
    finally:
        lock.release()
