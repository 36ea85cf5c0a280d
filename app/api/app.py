"""The application: `create_app(Settings(store=DIR))`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from starlette.middleware import Middleware

from .. import logs
from ..errors import OutOfMemory, is_out_of_memory
from ..processes import die_with_parent, return_large_blocks
from ..settings import LOOPBACK_HOSTS, Settings
from ..store.admin.export_files import ExportFiles
from ..store.follow.background import run_background
from ..store.store import ConversationStore
from . import error_responses
from .access.audit import Audit
from .access.forwarded import ForwardedMiddleware
from .access.key_files import KeyFiles, load_keys, load_read_keys
from .access.keys import Keys
from .auth import OPEN_PATHS, ApiKeyMiddleware, HostMiddleware
from .headers import INDEXED, TEXT_INDEXED
from .metrics import Metrics
from .middleware import (
    BODY_MAX_BYTES,
    BasePathMiddleware,
    BodyLimitMiddleware,
    HeadMiddleware,
    ObservabilityMiddleware,
    OptionsMiddleware,
    QuickCORSMiddleware,
    StartupErrorMiddleware,
)
from .process import RELOADING, REPLACES, STOPPING, end_process_within, is_in_terminal, on_signals, reload_log_level
from .routes import mcp
from .routes.direct_routes import DirectRoutesMiddleware
from .routes.lazy_routes import LazyApplication

log = logging.getLogger(__name__)

_ROUTES_AFTER_S = 0.5
_LOCAL_ORIGIN = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"


def create_app(settings: Settings, keys: Sequence[str] | None = None, *, ends_process: bool = False) -> LazyApplication:
    """Return the application. `keys` are those of `load_keys`, which is called if they are None.

    With `ends_process`, the process exits at most `settings.shutdown_timeout_s` after the application begins to stop.

    Raises:
        InvalidSettings: authentication is off although other machines can reach the server, or the key file cannot
            be used.
    """
    if keys is None:
        keys, _ = load_keys(settings)
    valid_keys = Keys(keys, settings.state_dir, load_read_keys(settings) if keys else [])
    app_metrics = Metrics()
    if REPLACES in os.environ:
        app_metrics.worker_restarts.inc()
    audit = Audit(app_metrics.note)
    open_paths = OPEN_PATHS | ({"/metrics"} if settings.open_metrics else frozenset())
    app = LazyApplication(
        settings,
        lifespan=_lifespan,
        middleware=[
            *([Middleware(ForwardedMiddleware, trusted=trusted)] if (trusted := settings.trusted_proxies) else []),
            *([Middleware(BasePathMiddleware, base_path=base)] if (base := settings.base_path) or trusted else []),
            Middleware(ObservabilityMiddleware, metrics=app_metrics, audit=audit),
            Middleware(HostMiddleware, hosts=_allowed_hosts(settings)),
            Middleware(
                QuickCORSMiddleware,
                allow_origin_regex=_LOCAL_ORIGIN,
                allow_methods=["*"],
                allow_headers=["*"],
                allow_credentials=True,
                expose_headers=["ETag", INDEXED, TEXT_INDEXED],
            ),
            *([Middleware(ApiKeyMiddleware, keys=valid_keys, open_paths=open_paths)] if valid_keys.required else []),
            Middleware(HeadMiddleware),
            Middleware(BodyLimitMiddleware, max_bytes=BODY_MAX_BYTES, exempt=("/api/conversations/import",)),
            Middleware(DirectRoutesMiddleware),
            Middleware(OptionsMiddleware),
            Middleware(StartupErrorMiddleware),
        ],
    )
    app.state.settings = settings
    app.state.ends_process = ends_process
    app.state.keys = valid_keys
    app.state.key_files = KeyFiles(settings, valid_keys)
    app.state.metrics = app_metrics
    app.state.audit = audit
    app.state.started = time.monotonic()
    error_responses.install(app)
    return app


def create_worker() -> LazyApplication:
    """Return the application of a worker of `convstore serve --workers N`, with settings from the environment.

    The worker stops when its parent ends. Otherwise it would keep the socket.
    """
    settings = Settings()
    logs.configure(settings.log_level, settings.log_format, settings.audit_file)
    die_with_parent(signal.SIGTERM)
    return_large_blocks()
    return create_app(settings, ends_process=True)


@asynccontextmanager
async def _lifespan(app: LazyApplication) -> AsyncIterator[None]:
    """Open the store, and follow changes to its files and to the key files in background tasks."""
    settings: Settings = app.state.settings
    async with ConversationStore.open(settings, note=app.state.metrics.note, follows=True) as store:
        app.state.store = store
        app.state.exports = ExportFiles(store)
        if app.state.ends_process:
            on_signals(STOPPING, store.followers.close)
            if not is_in_terminal():
                on_signals(RELOADING, app.state.key_files.read)
                on_signals(RELOADING, partial(reload_log_level, settings))
        background = [
            asyncio.create_task(run_background(store), name="following the conversations"),
            asyncio.create_task(app.state.key_files.follow(), name="following the key files"),
            asyncio.create_task(_build_routes_soon(app), name="making the routes"),
        ]
        for task in background:
            task.add_done_callback(_report_failure)
        try:
            async with mcp.Endpoint(store) as app.state.mcp:
                yield
        finally:
            if app.state.ends_process:
                end_process_within(settings.shutdown_timeout_s)
            await app.state.exports.close()
            for task in background:
                task.cancel()
            await asyncio.wait(background)


async def _build_routes_soon(app: LazyApplication) -> None:
    """Make the routes a little after the start, beside the first answers. If memory lacks, a request makes them."""
    await asyncio.sleep(_ROUTES_AFTER_S)
    try:
        await asyncio.to_thread(app.build_routes)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        log.error("the routes cannot be made yet: %s", OutOfMemory(error))  # noqa: TRY400


def _report_failure(task: asyncio.Task[None]) -> None:
    """Log the failure of a background task at once, because nothing awaits the task before the application stops."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("%s ended with an error; restart the server", task.get_name(), exc_info=error)


def _allowed_hosts(settings: Settings) -> list[str]:
    """Return the Host names to accept: this machine's names, the listening address, and the names in the settings."""
    own = [] if settings.loopback else [settings.host, socket.gethostname()]
    return [*LOOPBACK_HOSTS, *own, *settings.allowed_hosts]
