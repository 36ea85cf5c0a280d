"""An application that makes its routes when they are first needed.

FastAPI takes 3 ms to build a route, and there are a hundred. A server answers its first list (`app.api.cached_routes`)
without them, and makes them in a thread soon after that. A request that needs them earlier waits for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Lock
from typing import Any

from fastapi import FastAPI
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send


class LazyApplication(FastAPI):
    """A FastAPI application whose first routes come from `make_routes`, which is called once."""

    def __init__(self, *, make_routes: Callable[[LazyApplication], list[BaseRoute]], **given: Any) -> None:  # noqa: ANN401 - as FastAPI has them
        self._make_routes = make_routes
        self._making = Lock()
        self._has_routes = False
        super().__init__(**given)

    @property
    def has_routes(self) -> bool:
        """Whether the routes were made."""
        return self._has_routes

    @property
    def routes(self) -> list[BaseRoute]:
        """All routes. They are made if they were not."""
        self.build_routes()
        return self.router.routes

    def build_routes(self) -> None:
        """Make the routes, unless that was done. Any thread may call this."""
        with self._making:
            if not self._has_routes:
                self.router.routes[:0] = self._make_routes(self)
                self._has_routes = True


class LazyRoutesMiddleware:
    """Has the routes made before the first request that needs them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on."""
        if scope["type"] != "lifespan" and not scope["app"].has_routes:
            await asyncio.to_thread(scope["app"].build_routes)
        await self._app(scope, receive, send)
