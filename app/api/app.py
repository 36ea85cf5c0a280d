"""The application: `create_app(Settings(store=DIR))`."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from app import __version__
from app.api import (
    archives,
    changes,
    conversations,
    description,
    docs,
    errors,
    events,
    messages,
    metrics,
    owning,
    server,
    sockets,
    stream,
    trash,
    writes,
)
from app.api.auth import OPEN_PATHS, HostAllowed, KeyRequired, Keys, load_keys
from app.api.hot import HotPaths
from app.api.limiting import BODY_MAX_BYTES, BodyLimited
from app.api.metrics import Metrics
from app.api.observing import Observed
from app.api.parameters import INDEXED_HEADER
from app.api.starting import StartTold
from app.api.stopping import end_process_within, on_stop
from app.settings import LOOPBACK_HOSTS, Settings
from app.store.follow.background import run_background
from app.store.store import ConversationStore

log = logging.getLogger(__name__)

_LOCAL_ORIGIN = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"


def create_app(settings: Settings, keys: Sequence[str] | None = None, *, ends_process: bool = False) -> FastAPI:
    """Return the application. `keys` are those of `load_keys`, which is called when they are not given.

    With `ends_process`, the process ends at the latest `settings.shutdown_timeout_s` after the application was told to.

    Raises:
        InvalidSettings: keys are off although others can reach the server, or the key file cannot be used.
    """
    if keys is None:
        keys, _ = load_keys(settings)
    known = Keys(keys)
    counted = Metrics()
    open_paths = OPEN_PATHS | ({"/metrics"} if settings.open_metrics else frozenset())
    app = FastAPI(
        title="convstore",
        version=__version__,
        description="The conversations of an AI-agent server, listed from an index and opened from their files.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        middleware=[
            Middleware(Observed, metrics=counted, unrouted=conversations.HOT_PATHS),
            Middleware(HostAllowed, hosts=_allowed_hosts(settings)),
            Middleware(
                CORSMiddleware,
                allow_origin_regex=_LOCAL_ORIGIN,
                allow_methods=["*"],
                allow_headers=["*"],
                allow_credentials=True,
                expose_headers=["ETag", INDEXED_HEADER],
            ),
            *([Middleware(KeyRequired, keys=known, open_paths=open_paths)] if known.required else []),
            Middleware(BodyLimited, most_bytes=BODY_MAX_BYTES, free=("/api/conversations/import",)),
            Middleware(HotPaths, paths=conversations.HOT_PATHS),
            Middleware(StartTold),
        ],
    )
    app.state.settings = settings
    app.state.ends_process = ends_process
    app.state.keys = known
    app.state.metrics = counted
    app.state.started = time.monotonic()
    errors.install(app)
    routers = (
        trash.router,
        conversations.router,
        owning.router,
        writes.router,
        archives.router,
        changes.router,
        stream.router,
        events.router,
        messages.router,
        sockets.router,
        server.router,
        metrics.router,
    )
    for router in routers:
        app.include_router(router)
    docs.install(app)
    description.install(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the store, and keep its index in step with the files behind the answers."""
    settings: Settings = app.state.settings
    async with ConversationStore.open(settings, note=app.state.metrics.note) as store:
        app.state.store = store
        if app.state.ends_process:
            on_stop(store.followers.close)
        behind = asyncio.create_task(run_background(store))
        behind.add_done_callback(_report_failure)
        try:
            yield
        finally:
            if app.state.ends_process:
                end_process_within(settings.shutdown_timeout_s)
            behind.cancel()
            await asyncio.wait([behind])


def _report_failure(task: asyncio.Task[None]) -> None:
    """Say at once that a background task failed; nobody awaits it before the end."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("the conversations are no longer followed", exc_info=error)


def _allowed_hosts(settings: Settings) -> list[str]:
    """Return the Host headers to accept: this machine's names, the address listened on, and the setting's."""
    own = [] if settings.loopback else [settings.host, socket.gethostname()]
    return [*LOOPBACK_HOSTS, *own, *settings.allowed_hosts]
