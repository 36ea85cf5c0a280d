"""The server: health, readiness and version."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from ... import __version__
from ..error_responses import ErrorBody
from ..params import Store

router = APIRouter(tags=["server"])

_WAIT_MAX_S = 60
_POLL_S = 0.1


class Health(BaseModel):
    """The answer of a health check."""

    status: Literal["ok", "ready"]


COMPATIBLE_WITH = "1.58.2"
"""The version of agent-server whose clients work with this server. Clients refuse a server that is too old."""


class ServerInfo(BaseModel):
    """Information about this server, with agent-server's fields. `uptime` and `idle_time` are in seconds."""

    uptime: float
    idle_time: float
    title: Literal["convstore"] = "convstore"
    version: Annotated[str, Field(description="the version of agent-server whose clients work with this server")] = (
        COMPATIBLE_WITH
    )
    convstore_version: str = __version__
    sdk_version: str = COMPATIBLE_WITH
    tools_version: str = COMPATIBLE_WITH
    workspace_version: str = COMPATIBLE_WITH
    build_git_sha: str = "unknown"
    build_git_ref: str = "unknown"
    python_version: str = sys.version
    usable_tools: list[str] = []
    runtime_idle_timeout_seconds: float | None = None
    conversation_runtime: Literal["local"] = "local"
    available_conversation_runtimes: list[str] = []
    capabilities: list[str] = []
    app_backend_ingress_url: str | None = None
    max_foreground_terminal_timeout_seconds: float | None = None
    docs: str = "/docs"
    redoc: str = "/docs"


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
    """Return the versions of this server and its uptime. The list of tools is empty, because no agent runs here."""
    seconds = time.monotonic() - request.app.state.started
    return ServerInfo(uptime=seconds, idle_time=seconds)
