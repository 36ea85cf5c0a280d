"""Middleware around every request: ids, metrics and the log; HEAD and OPTIONS; limits of bodies; errors at start-up.

Authentication and host checks are in `auth`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import sys
from collections.abc import Container
from http import HTTPStatus
from time import perf_counter
from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import logs, trail
from ..errors import OutOfMemory, StoreError, is_out_of_memory
from ..store.read.reader import StoreReader
from .access.audit import Audit
from .error_responses import error_response, store_error_response
from .headers import BASE_PATH, INDEXED, REQUEST_ID, SECURITY_HEADERS, find_base_path, join_header
from .metrics import Metrics

log = logging.getLogger(__name__)

BODY_MAX_BYTES = 64 << 20
"""Enough for a batch of a thousand events of 64 kB, or for a few events with images."""

_SECURITY = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
_SECURITY_OF_PAGES = _SECURITY[:-1]
_CONTENT_POLICY = _SECURITY[-1][0]
_REQUEST_ID = REQUEST_ID.lower().encode()
_INDEXED = INDEXED.lower().encode()
_EVENT_STREAM = b"text/event-stream"
_match_id = re.compile(rb"[A-Za-z0-9._-]{1,64}").fullmatch
_match_traceparent = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?").fullmatch
_SLOW_S = 2.0
_PATH_MAX = 200
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER = "other"
_CLIENT_LEFT = 499
"""The status in metrics and log if the client left before the answer, as in nginx."""

_TRY_AGAIN_LATER = 1013
"""The code that closes a WebSocket for lack of memory."""

_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_WITHOUT_BODY = frozenset({"GET", "HEAD"})


class ObservabilityMiddleware:
    """Adds an id to each request and its answer, adds the security headers, and counts and logs both.

    A request may bring its own id (1 to 64 letters, digits, dots, underscores and dashes) in X-Request-ID. Metrics use
    the pattern of a path as a label.

    If there is too little memory or no thread for a request, an error is answered, and logged in one line.

    Removes the query string from the scope that the server keeps, because servers log it, and a WebSocket's query
    string may contain the API key.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, audit: Audit) -> None:
        self._app = app
        self._metrics = metrics
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        servers, scope = scope, dict(scope)
        servers["query_string"] = b""
        given = join_header(scope, _REQUEST_ID)
        request_id = given if _match_id(given) else secrets.token_hex(8).encode()
        logs.request_id.set(request_id.decode())
        logs.trace_id.set(_find_trace_id(scope))
        trail.begin()
        if scope["type"] == "websocket":
            await self._count_socket(scope, receive, send)
            return
        status = 0
        seconds = 0.0
        gauge = self._metrics.in_flight
        gauge.inc()

        async def send_with_headers(message: Message) -> None:
            nonlocal status, seconds, gauge
            if message["type"] == "http.response.start":
                status, seconds = message["status"], perf_counter() - began
                headers = dict(message["headers"])
                if headers.get(b"content-type", b"").startswith(_EVENT_STREAM):
                    gauge.dec()
                    gauge = self._metrics.streams
                    gauge.inc()
                security = _SECURITY_OF_PAGES if _CONTENT_POLICY in headers else _SECURITY
                message["headers"] = [*message["headers"], *security, (_REQUEST_ID, request_id), *_progress(scope)]
            await send(message)

        began = perf_counter()
        try:
            await self._app(scope, receive, send_with_headers)
            if status in _REFUSED and "route" not in scope:
                await _match_route(scope)
        except ClientDisconnect:  # the client left during its request, so nobody receives an answer
            status = status or _CLIENT_LEFT
        except Exception as error:
            if not is_out_of_memory(error):
                status = status or 500
                raise
            await _answer_no_memory(OutOfMemory(error), status, scope, receive, send_with_headers)
        finally:
            gauge.dec()
            self._record(scope, status, seconds or perf_counter() - began)

    async def _count_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a WebSocket on, which counts as open from its acceptance to its end."""
        accepted = False

        async def send_counted(message: Message) -> None:
            nonlocal accepted
            if message["type"] == "websocket.accept":
                accepted = True
                self._metrics.sockets.inc()
            await send(message)

        try:
            await self._app(scope, receive, send_counted)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            log.error("the socket %s: %s", scope["path"][:_PATH_MAX], OutOfMemory(error))  # noqa: TRY400
            await send({"type": "websocket.close", "code": _TRY_AGAIN_LATER})
        finally:
            if accepted:
                self._metrics.sockets.dec()

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else _OTHER
        route = str(getattr(scope.get("route"), "path", _OTHER))
        self._audit.record_request(scope, method, route, status)
        count, duration = self._metrics.request(method, route, status)
        count.inc()
        duration.observe(seconds)
        failed = status >= 500 and status != HTTPStatus.NOT_IMPLEMENTED
        level = logging.WARNING if failed or seconds > _SLOW_S else logging.DEBUG
        if log.isEnabledFor(level):
            ms = round(seconds * 1000, 1)
            fields = {"method": method, "route": route, "status": status, "duration_ms": ms}
            path = scope["path"][:_PATH_MAX]
            log.log(level, "%s %s %d in %.1f ms", method, path, status, ms, extra={"fields": fields})


async def _match_route(scope: Scope) -> None:
    """Find the route of a request that was refused before it: the audit line names it, and the ids in its path."""
    for route in await scope["app"].list_routes():
        match, found = route.matches(scope)
        if match is Match.FULL:
            scope.update(found)
            return


def _find_trace_id(scope: Scope) -> str:
    """Return the trace id of the W3C header `traceparent`, or ""."""
    match = _match_traceparent(join_header(scope, b"traceparent"))
    return match[1].decode() if match and match[1].strip(b"0") else ""


def _progress(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Return the header with the progress of the first build of the index, or nothing if it is complete."""
    store: StoreReader | None = getattr(scope["app"].state, "store", None)
    building = None if store is None else store.index.building
    return [] if building is None else [(_INDEXED, str(building).encode())]


class QuickCORSMiddleware(CORSMiddleware):
    """Answers browsers as `CORSMiddleware` does, and others without looking for headers that they do not need."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or join_header(scope, b"origin"):
            await super().__call__(scope, receive, send)
            return

        async def send_varying(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"vary", b"Origin")]
            await send(message)

        await self.app(scope, receive, send_varying)


class HeadMiddleware:
    """Answers HEAD like GET, without the body. A stream or a wait for changes ends at once."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        begun = asyncio.Event()

        async def receive_until_begun() -> Message:
            await begun.wait()
            return {"type": "http.disconnect"}

        async def send_start(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body"})
                begun.set()

        scope["method"] = "GET"
        try:
            await self._app(scope, receive_until_begun, send_start)
        finally:
            scope["method"] = "HEAD"  # for the metrics


class OptionsMiddleware:
    """Answers OPTIONS with the methods of the path. A preflight of a browser is answered before, by CORSMiddleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] != "http" or scope["method"] != "OPTIONS":
            await self._app(scope, receive, send)
            return
        methods = {
            method
            for route in await scope["app"].list_routes()
            if route.matches(scope)[0] is not Match.NONE
            for method in getattr(route, "methods", None) or ()
        }
        if not methods:
            await self._app(scope, receive, send)
            return
        allowed = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        await Response(status_code=204, headers={"Allow": ", ".join(sorted(allowed))})(scope, receive, send)


class BasePathMiddleware:
    """Removes the prefix from paths, so that all other code sees paths without it, and adds it to redirects.

    The prefix is that of the settings, or the one that a trusted proxy names. A proxy may pass it on in the path, or
    remove it itself.
    """

    def __init__(self, app: ASGIApp, base_path: str) -> None:
        self._app = app
        self._base_path = base_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        base = find_base_path(scope) or self._base_path
        if not base or scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope = {**scope, BASE_PATH: base}
        path = scope["path"]
        if path == base or path.startswith(f"{base}/"):
            rest = path[len(base) :] or "/"
            scope |= {"path": rest, "raw_path": rest.encode()}

        async def send_with_prefix(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] // 100 == 3:
                message["headers"] = [
                    (name, _add_prefix(value, base) if name == b"location" else value)
                    for name, value in message["headers"]
                ]
            await send(message)

        await self._app(scope, receive, send_with_prefix)


def _add_prefix(location: bytes, base: str) -> bytes:
    url = urlsplit(location)
    return url._replace(path=base.encode() + url.path).geturl()


class BodyLimitMiddleware:
    """Answers 413 to a body larger than `max_bytes`, even if the client does not announce the size.

    A body is read into memory before a route gets it. The routes of the `exempt` paths read the body as a stream and
    have their own limit.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, exempt: Container[str]) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 413 as soon as the body exceeds the limit."""
        if scope["type"] != "http" or scope["method"] in _WITHOUT_BODY or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
            return
        size_bytes = 0
        answered = False
        refused = _announced_bytes(scope) > self._max_bytes

        async def receive_limited() -> Message:
            nonlocal size_bytes, refused
            message = await receive()
            size_bytes += len(message.get("body", b""))
            refused = size_bytes > self._max_bytes and not answered
            return {"type": "http.disconnect"} if refused else message

        async def send_unless_refused(message: Message) -> None:
            nonlocal answered
            if not refused:
                answered = True
                await send(message)

        if not refused:
            try:
                await self._app(scope, receive_limited, send_unless_refused)
            except ClientDisconnect:
                if not refused:
                    raise
        if not refused:
            return
        detail = f"the body is larger than {self._max_bytes:,} bytes; send several smaller requests"
        await error_response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", detail)(scope, receive, send)


async def _answer_no_memory(told: OutOfMemory, status: int, scope: Scope, receive: Receive, send: Send) -> None:
    """Log it, and unless the answer has begun with a `status`, answer 503 to a read and 500 to a change.

    A change may have been made, and clients repeat after a 503.
    """
    log.error("%s %s: %s", scope["method"], scope["path"][:_PATH_MAX], told)
    if status:
        return
    answer = error_response(HTTPStatus.INTERNAL_SERVER_ERROR, told.code, str(told))
    if scope["method"] in _WITHOUT_BODY:
        answer = store_error_response(told, scope["method"], "")
    await answer(scope, receive, send)


def _announced_bytes(scope: Scope) -> int:
    """Return the Content-Length of a request, or 0."""
    given = join_header(scope, b"content-length")
    return int(given) if given.isdigit() else 0


class StartupErrorMiddleware:
    """Logs an expected error during start-up as one line. Starlette would log a traceback of about a hundred lines."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on."""

        async def send_reason(message: Message) -> None:
            error = sys.exc_info()[1]
            if message["type"] == "lifespan.startup.failed" and error is not None:
                known = OutOfMemory(error) if is_out_of_memory(error) else error
                if isinstance(known, StoreError):
                    message["message"] = str(known)
            await send(message)

        await self._app(scope, receive, send_reason if scope["type"] == "lifespan" else send)
