"""`/mcp`: tools for agents, by the Model Context Protocol over streamable HTTP. Each request stands alone.

The SDK is imported at the first request, because that takes most of a second and only some servers need it.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from importlib import import_module
from typing import Any, Self

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ...mcp import extra
from ...mcp import scope as scopes
from ...store.read.reader import StoreReader
from ..error_responses import error_response
from ..headers import find_base_path

PATH = "/mcp"


class Endpoint:
    """Answers MCP requests of one store. As a context manager, it lives as long as the application.

    The SDK's session manager must be opened and closed by one task, which the first request starts.
    """

    def __init__(self, store: StoreReader) -> None:
        self._store = store
        self._opened: asyncio.Future[ASGIApp] | None = None
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Return the endpoint. Nothing is loaded yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the session manager, if a request started it."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if not extra.is_installed():
            await error_response(HTTPStatus.NOT_IMPLEMENTED, "needs_extra", extra.MISSING)(scope, receive, send)
            return
        if self._opened is None:
            self._opened = asyncio.get_running_loop().create_future()
            self._running = asyncio.create_task(self._run(self._opened))
            self._running.add_done_callback(self._fail)
        application = await asyncio.shield(self._opened)
        await application(scope, receive, send)

    def _fail(self, running: asyncio.Task[None]) -> None:
        """Pass an error at the start on to the waiting requests. The next request tries again."""
        if self._opened is not None and not self._opened.done() and not running.cancelled():
            self._opened.set_exception(running.exception() or RuntimeError("the MCP server ended"))
            self._opened = None

    async def _run(self, opened: asyncio.Future[ASGIApp]) -> None:
        """Keep the session manager open until this task is cancelled."""
        server = await asyncio.to_thread(import_module, "...mcp.server", __package__)
        made = server.make_server(self._find_store, scopes.Scope(), self._find_base)
        async with server.open_http(made) as application:
            opened.set_result(application)
            await asyncio.Event().wait()

    async def _find_store(self) -> StoreReader:
        return self._store

    def _find_base(self, request: Any) -> str:  # noqa: ANN401 - the SDK passes a request of any transport
        """Return the address by which the client reached this server."""
        return f"{request.url.scheme}://{request.headers['host']}{find_base_path(request.scope)}"


class _Answer:
    """The ASGI application behind the route. A class, because Starlette would pass a request to a function."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint: Endpoint = scope["app"].state.mcp
        await endpoint.answer(scope, receive, send)


ROUTES: list[BaseRoute] = [Route(PATH, _Answer(), methods=["POST"], include_in_schema=False)]
"""Only POST: there are no sessions to end, and no messages that the server sends by itself."""
