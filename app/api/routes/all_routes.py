"""All routes of the REST API, in a FastAPI application.

To import FastAPI and the routes is a third of a start, so `LazyApplication` does it after the start.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import cast

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.responses import JSONResponse
from starlette.datastructures import State
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from ... import __version__
from ...settings import Settings
from .. import error_responses, openapi
from ..auth import OPEN_PATHS
from ..error_responses import error_response
from . import (
    agents,
    archives,
    bulk,
    changes,
    conversations,
    edits,
    events,
    exports,
    index,
    leases,
    mcp,
    messages,
    metrics,
    page_routes,
    server,
    session,
    session_sockets,
    sockets,
    stats,
    trash,
    upkeep,
)

_ROUTERS = (
    bulk.router,  # before the trash, because its `{conversation_id}/restore` also matches `bulk/restore`
    trash.router,
    conversations.router,
    leases.router,
    conversations.write_router,
    archives.router,
    archives.agent_server_router,
    exports.router,
    changes.router,
    events.router,
    events.write_router,
    agents.router,
    messages.router,
    edits.router,
    stats.router,
    sockets.router,
    session_sockets.router,
    session.router,
    server.router,
    index.router,
    upkeep.router,
    metrics.router,
)
"""The routers, in the order of /docs."""


def make_application(settings: Settings, state: State) -> FastAPI:
    """Return the application with all routes and their documents, and add to `state` the caches that they need."""
    upkeep.install(state, settings)
    app = FastAPI(
        title="convstore",
        version=__version__,
        description="The conversations of an AI-agent server, listed from an index and opened from their files.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        routes=_list_routes(),
    )
    error_responses.install(app)
    app.add_exception_handler(RequestValidationError, _invalid)
    openapi.install(app, OPEN_PATHS)
    return app


def answering(app: FastAPI) -> ASGIApp:
    """Return what answers by the routes of `app` and handles their errors. Unexpected ones pass through."""
    handlers = {error: handler for error, handler in app.exception_handlers.items() if error is not Exception}
    return ExceptionMiddleware(AsyncExitStackMiddleware(app.router), handlers)


def _list_routes() -> list[BaseRoute]:
    """Return the routes of the routers themselves, because include_router would build each a second time."""
    return [*(route for router in _ROUTERS for route in router.routes), *mcp.ROUTES, *page_routes.ROUTES]


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    """Say where the request is invalid.

    Does not quote it, because it may contain secrets or values that JSON cannot hold.
    """
    detail = jsonable_encoder(cast(RequestValidationError, error).errors(), exclude={"ctx", "input"})
    return error_response(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_parameter", detail)
