"""How an application that cannot start says why: in a line, where Starlette would give a traceback of a hundred."""

from __future__ import annotations

import sys

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import StoreError


class StartTold:
    """ASGI middleware: an error of the store that keeps the application from starting is told in its own words."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on."""

        async def send_told(message: Message) -> None:
            error = sys.exc_info()[1]
            if message["type"] == "lifespan.startup.failed" and isinstance(error, StoreError):
                message["message"] = str(error)
            await send(message)

        await self._app(scope, receive, send_told if scope["type"] == "lifespan" else send)
