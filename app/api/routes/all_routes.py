"""All routes of the REST API. To import them is a quarter of a start, so `LazyApplication` does it after the start."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from ...settings import Settings
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
    messages,
    metrics,
    server,
    session,
    session_sockets,
    sockets,
    stats,
    trash,
    upkeep,
)
from .direct_message import DirectMessages

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


def make_routes(app: FastAPI, settings: Settings) -> list[BaseRoute]:
    """Return the routes of an application, and add to its state the caches that they need.

    The routes are those of the routers themselves, because include_router would build each a second time.
    """
    upkeep.install(app, settings)
    routes = [route for router in _ROUTERS for route in router.routes]
    direct = [
        DirectMessages(route)
        for route in routes
        if isinstance(route, APIRoute) and route.endpoint is events.send_message
    ]
    return [*direct, *routes]
