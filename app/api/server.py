"""The server itself: health, what it is, and how far its index is."""

from __future__ import annotations

import sys
import time
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from app import __version__
from app.api.parameters import ErrorBody, Store, WritableStore
from app.model.times import format_us

router = APIRouter(tags=["server"])

_SILENT_US = 15_000_000


class Health(BaseModel):
    """The answer of a health check."""

    status: Literal["ok", "ready"]


class ServerInfo(BaseModel):
    """What answers here. `uptime` is in seconds."""

    title: str
    version: str
    uptime: float
    python_version: str
    docs: str


class IndexStatus(BaseModel):
    """How far the index is. `dirty` conversations have event rows that may lag behind their files."""

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
    """What a comparison of index and files found: all conversations, and of them those that changed since the last."""

    conversations: int
    added: int
    changed: int
    removed: int
    unreadable: int
    duplicates: list[str]
    seconds: float


@router.get("/alive")
@router.get("/health")
async def get_health() -> Health:
    """Say that the process runs."""
    return Health(status="ok")


@router.get("/ready", responses={503: {"model": ErrorBody}})
async def get_readiness(store: Store) -> Health:
    """Say that the directory is there and the index answers; a first build may still fill it, see /api/index/status."""
    await store.require_ready()
    return Health(status="ready")


@router.get("/server_info")
async def get_server_info(request: Request) -> ServerInfo:
    """Say what answers here, and since when."""
    return ServerInfo(
        title="convstore",
        version=__version__,
        uptime=time.monotonic() - request.app.state.started,
        python_version=sys.version,
        docs="/docs",
    )


@router.get("/api/index/status")
async def get_index_status(store: Store) -> IndexStatus:
    """Say what the index holds, and what a sync is doing."""
    progress, totals = await store.get_status()
    running = progress.phase != "idle" and time.time_ns() // 1000 - progress.heartbeat_at < _SILENT_US
    return IndexStatus.model_validate(
        {
            "phase": progress.phase if running else "idle",
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


@router.post("/api/index/sync", responses={503: {"model": ErrorBody}})
async def sync_index(store: WritableStore) -> IndexSync:
    """Compare all files with the index now, and answer when it is in step; unchanged conversations are not opened."""
    return IndexSync.model_validate(await store.sync(), from_attributes=True)
