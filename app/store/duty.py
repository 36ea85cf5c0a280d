"""The duty: of all processes that serve one index, one looks after it, and another takes over when that one ends.

Without it each of them would compare the whole directory for itself. The lock is the operating system's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from app.errors import IndexUnusable
from app.index.engine import Index
from app.index.places import require_place

_POLL_S = 1.0


def is_followed(index_path: Path) -> bool:
    """Whether a process is on duty for the index of this path now."""
    try:
        with FileLock(_lock_path(index_path), timeout=0):
            return False
    except Timeout:
        return True


def _lock_path(index_path: Path) -> Path:
    return index_path.with_name("duty.lock")


@asynccontextmanager
async def on_duty(index: Index) -> AsyncIterator[None]:
    """Wait until no other process is on duty, and be on duty meanwhile."""
    lock = FileLock(_lock_path(index.path), thread_local=False)
    while True:
        with suppress(Timeout, IndexUnusable):
            require_place(index.path)
            lock.acquire(timeout=0)
            break
        await asyncio.sleep(_POLL_S)
    try:
        yield
    finally:
        lock.release()
