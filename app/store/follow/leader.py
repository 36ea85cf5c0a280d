"""The leader: of all processes that serve an index, one looks after it. Another takes over when that one ends.

Without a leader each process would compare the whole directory by itself. The lock is the operating system's.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from app.errors import IndexUnusable, SyncRunning
from app.index.sqlite.database import Index
from app.index.sqlite.writer_lock import try_lock_beside

_LOCK = "duty.lock"
_POLL_S = 1.0


def has_leader_elsewhere(index: Index) -> bool:
    """Whether another process is the leader of this index now."""
    if index.on_duty:
        return False
    lock = try_lock_beside(index.path, _LOCK)
    if lock is not None:
        os.close(lock)
    return lock is None


@asynccontextmanager
async def lead(index: Index) -> AsyncIterator[None]:
    """Wait until no other process is the leader, then be the leader while the context lasts."""
    lock: int | None = None
    while True:
        with suppress(IndexUnusable):
            lock = try_lock_beside(index.path, _LOCK)
        if lock is not None:
            break
        await asyncio.sleep(_POLL_S)
    index.on_duty = True
    try:
        yield
    finally:
        index.on_duty = False
        os.close(lock)


@asynccontextmanager
async def sync_lock(index: Index) -> AsyncIterator[None]:
    """Be the only process that syncs or rebuilds this index.

    Raises:
        SyncRunning: another process does it now.
        IndexUnusable: the directory of the index is gone, or cannot be written to.
    """
    lock = try_lock_beside(index.path, "sync.lock")
    if lock is None:
        raise SyncRunning(
            f"another process is bringing the index {index.path} up to date; see `convstore index status`"
        )
    try:
        yield
    finally:
        os.close(lock)
