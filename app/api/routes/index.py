"""The index: its status, and a sync with the files."""

from __future__ import annotations

import time
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from ...model.times import format_us
from ..error_responses import ErrorBody
from ..params import Store, WritableStore

router = APIRouter(prefix="/api/index", tags=["server"])

_SILENT_US = 15_000_000
"""If a sync has had no heartbeat for this long, its process has died."""


class IndexStatus(BaseModel):
    """The state of the index. `dirty` is the number of conversations whose event rows may be out of date."""

    phase: Literal["idle", "metadata", "events", "text"]
    done: int
    total: int
    conversations: int
    unreadable: int
    dirty: int
    epoch: str
    revision: int
    last_sweep_at: str | None
    last_error: str | None


class IndexSync(BaseModel):
    """The result of a sync: the number of all conversations, and of those that changed since the last sync."""

    conversations: int
    added: int
    changed: int
    removed: int
    unreadable: int
    duplicates: list[str]
    seconds: float


@router.get("/status")
async def get_index_status(store: Store) -> IndexStatus:
    """Return the contents of the index, and the progress of a sync."""
    progress, totals = await store.get_status()
    await store.index.refresh_rebuilding()  # so that lists after this answer say the same
    running = progress.phase != "idle" and time.time_ns() // 1000 - progress.heartbeat_at < _SILENT_US
    return IndexStatus.model_validate(
        {
            "phase": progress.phase if running else "idle" if progress.is_whole else "metadata",
            "done": progress.done if running else 0,
            "total": progress.total if running else 0,
            "conversations": totals.conversations,
            "unreadable": totals.unreadable,
            "dirty": totals.behind,
            "epoch": progress.epoch,
            "revision": progress.revision,
            "last_sweep_at": format_us(progress.last_sweep_at) if progress.last_sweep_at else None,
            "last_error": progress.last_error,
        }
    )


@router.post("/sync", responses={503: {"model": ErrorBody}})
async def sync_index(store: WritableStore) -> IndexSync:
    """Sync the index with the files now, and answer when it is up to date. Unchanged conversations are not opened."""
    store.index.require_present()
    return IndexSync.model_validate(await store.sync(), from_attributes=True)
