"""The server: health, readiness, and its version."""

from __future__ import annotations

import sys
import time
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from app import __version__
from app.api.errors import ErrorBody
from app.api.params import Store

router = APIRouter(tags=["server"])


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
