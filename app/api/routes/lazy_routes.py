"""An application that makes its routes when they are first needed.

FastAPI takes a sixth of a start to import, and 3 ms to build a route, and there are a hundred. A server answers its
first lists, conversations and messages (`app.api.routes.direct_routes`) without it, and makes the routes in a thread
soon after that. A request that needs them earlier waits for them.
"""

from __future__ import annotations

import asyncio
from threading import Lock
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from ...settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI


class LazyApplication(Starlette):
    """An application that answers by the routes of a FastAPI application, which is made once it is needed."""

    def __init__(self, settings: Settings, **given: Any) -> None:  # noqa: ANN401 - as Starlette has them
        super().__init__(**given)
        self._settings = settings
        self._making = Lock()
        self._made: tuple[FastAPI, ASGIApp] | None = None
        self.router.default = self._answer

    @property
    def has_routes(self) -> bool:
        """Whether the routes were made."""
        return self._made is not None

    @property
    def routes(self) -> list[BaseRoute]:
        """All routes. They are made if they were not."""
        return self.build_routes()[0].router.routes

    def openapi(self) -> dict[str, Any]:
        """Return the document of all routes. They are made if they were not."""
        return self.build_routes()[0].openapi()

    def build_routes(self) -> tuple[FastAPI, ASGIApp]:
        """Return the FastAPI application and what answers by its routes. Any thread may call this."""
        with self._making:
            if self._made is None:
                from . import all_routes  # noqa: PLC0415 - a third of a start

                made = all_routes.make_application(self._settings, self.state)
                self._made = made, all_routes.answering(made)
            return self._made

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what no middleware answered."""
        _, answering = await self._wait_for_routes()
        del scope["router"]  # the FastAPI application has another one
        await answering(scope, receive, send)

    async def list_routes(self) -> list[BaseRoute]:
        """Return all routes. If they were not made, they are made in a thread, and other requests are answered."""
        return (await self._wait_for_routes())[0].router.routes

    async def _wait_for_routes(self) -> tuple[FastAPI, ASGIApp]:
        return await asyncio.to_thread(self.build_routes) if self._made is None else self._made
