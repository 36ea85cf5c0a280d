"""The page in a browser. Its modules are imported at the first request for one of its paths.

Templates, Markdown and colours of code take a tenth of the time of a start, and many servers have no browser.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

from starlette.datastructures import URLPath
from starlette.routing import BaseRoute, Match, NoMatchFound, Router
from starlette.types import Receive, Scope, Send

from ..auth import PAGE_PATHS, SHELL_PREFIXES

_PREFIXES = (*SHELL_PREFIXES, "/ui/")


class LazyPages(BaseRoute):
    """All routes of `app.web.pages`."""

    methods = frozenset({"GET"})

    def __init__(self) -> None:
        self._router: Router | None = None

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether a path is one of the page. Whether there is anything at it is found when the page is loaded."""
        of_page = scope["type"] == "http" and (scope["path"] in PAGE_PATHS or scope["path"].startswith(_PREFIXES))
        return (Match.FULL if of_page else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if self._router is None:
            module = await asyncio.to_thread(import_module, "...web.pages", __package__)
            self._router = Router(routes=module.ROUTES)
        await self._router(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:  # noqa: ANN401 - as in Starlette
        """Refuse: the addresses of the page are written in its templates."""
        raise NoMatchFound(name, path_params)


ROUTES: list[BaseRoute] = [LazyPages()]
