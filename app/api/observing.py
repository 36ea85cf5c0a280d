"""Around every request: its id, what its answer always says, how often and how long, and its line in the log."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterable
from http import HTTPStatus
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import logs
from app.api.metrics import Metrics

log = logging.getLogger(__name__)

HEADER = "X-Request-ID"

SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""What every answer tells browsers; a page has a Content-Security-Policy of its own."""

_SAFE = [(name.lower().encode(), value.encode()) for name, value in SAFE_HEADERS.items()]
_SAFE_PAGE = _SAFE[:-1]
_POLICY = _SAFE[-1][0]
_HEADER = HEADER.lower().encode()
_match_id = re.compile(rb"[A-Za-z0-9._-]{1,64}").fullmatch
_SLOW_S = 2.0
_PATH_MAX = 200
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER = "other"


class Observed:
    """ASGI middleware: names each request, answers with that name, and counts and logs it.

    A request may bring an id of 1 to 64 letters, digits, dots, underscores and dashes in X-Request-ID; another is made.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, unrouted: Iterable[str]) -> None:
        """Observe `app`; `unrouted` are the paths that are answered without a route of FastAPI's."""
        self._app = app
        self._metrics = metrics
        self._unrouted = frozenset(unrouted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        name = _given_id(scope) or secrets.token_hex(8).encode()
        logs.request_id.set(name.decode())
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        status = 0
        seconds = 0.0

        async def send_named(message: Message) -> None:
            nonlocal status, seconds
            if message["type"] == "http.response.start":
                status, seconds = message["status"], perf_counter() - began
                given = message["headers"]
                safe = _SAFE_PAGE if any(header == _POLICY for header, _ in given) else _SAFE
                message["headers"] = [*given, *safe, (_HEADER, name)]
            await send(message)

        began = perf_counter()
        try:
            await self._app(scope, receive, send_named)
        except Exception:
            status = status or 500
            raise
        finally:
            self._tell(scope, status, seconds or perf_counter() - began)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else _OTHER
        count, duration = self._metrics.request(method, self._route(scope), status)
        count.inc()
        duration.observe(seconds)
        failed = status >= 500 and status != HTTPStatus.NOT_IMPLEMENTED
        level = logging.WARNING if failed or seconds > _SLOW_S else logging.DEBUG
        if log.isEnabledFor(level):
            log.log(level, "%s %s %d in %.1f ms", method, scope["path"][:_PATH_MAX], status, seconds * 1000)

    def _route(self, scope: Scope) -> str:
        """Return the pattern of the path, so that no id becomes a label."""
        if scope["path"] in self._unrouted:
            return str(scope["path"])
        return str(getattr(scope.get("route"), "path", _OTHER))


def _given_id(scope: Scope) -> bytes | None:
    """Return the id that a request brings, or None when it brings none that may stand in a log."""
    for header, value in scope["headers"]:
        if header == _HEADER:
            return value if _match_id(value) else None
    return None
