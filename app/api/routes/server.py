"""The server: health, readiness and version."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from app import __version__
from app.api.errors import ErrorBody
from app.api.params import Store

router = APIRouter(tags=["server"])

_WAIT_MAX_S = 60
_POLL_S = 0.1


class Health(BaseModel):
    """The answer of a health check."""

    status: Literal["ok", "ready"]


class ServerInfo(BaseModel):
    """The name and version of this server. `uptime` is in seconds."""

    title: str
    version: str
    uptime: float
    python_version: str
    docs: str


@router.head("/alive", include_in_schema=False)
@router.head("/health", include_in_schema=False)
@router.get("/alive")
@router.get("/health")
async def get_health() -> Health:
    """Answer that the process is running."""
    return Health(status="ok")


@router.head("/ready", include_in_schema=False)
@router.get("/ready", responses={503: {"model": ErrorBody}})
async def get_readiness(
    store: Store,
    wait: Annotated[
        float | None, Query(ge=0, le=_WAIT_MAX_S, description="seconds to wait until all conversations are listed")
    ] = None,
) -> Health:
    """Check that the directory exists and the index answers.

    A first build of the index may still be adding conversations. With `wait`, the answer is then 503 `index_building`
    with the progress, unless the build has listed all conversations within this number of seconds.
    """
    until = time.monotonic() + (wait or 0)
    await store.require_ready()
    while wait is not None and store.index.building and time.monotonic() < until:
        await asyncio.sleep(_POLL_S)
        await store.require_ready()
    if wait is not None:
        store.index.require_built()
    return Health(status="ready")


@router.head("/server_info", include_in_schema=False)
@router.get("/server_info")
async def get_server_info(request: Request) -> ServerInfo:
    """Return the server's name, version and uptime."""
    return ServerInfo(
        title="convstore",
        version=__version__,
        uptime=time.monotonic() - request.app.state.started,
        python_version=sys.version,
        docs="/docs",
    )
