"""Access control: checks of the API key, the Host header and the Origin header."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import ReadOnlyKey
from .access.audit import READING_POSTS, SAFE_METHODS
from .access.keys import Keys, read_given_key, require_full_key
from .error_responses import error_response
from .headers import API_KEY, join_header

HEALTH_PATHS = frozenset({"/alive", "/health", "/ready"})
"""Paths that accept any Host header. Probes address a server by its IP address, or send no Host header at all."""

DOCUMENT_PATH = "/openapi.json"
DOCS_PATH = "/docs"
DOCS_FILES = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
DOCS_PATHS = frozenset({DOCUMENT_PATH, DOCS_PATH, *(f"{DOCS_PATH}/{name}" for name in DOCS_FILES)})
"""The paths of the API's document and its page (`app.api.openapi`), which contain no data."""

OPEN_PATHS = HEALTH_PATHS | {"/server_info"} | DOCS_PATHS
"""Paths that need no key: the health checks, and the description of the API. They expose no data of the store."""

PAGE_PATHS = ("/", "/overview", "/trash", "/compare", "/edits")
SHELL_PATHS = frozenset({*PAGE_PATHS, "/api/session"})
SHELL_PREFIXES = ("/c/", "/static/")
"""Paths of the page without its data, and of signing in, which need no key either."""

_REQUESTS = ("http", "websocket")


class HostMiddleware:
    """Answers 400 if the Host header does not name this server, which prevents DNS rebinding.

    Answers 403 if a page of another origin starts a write or a WebSocket. `hosts` are names or addresses without a
    port; "*" allows any. The address to which the connection came is always allowed: no DNS name can stand for it.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower().encode() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] not in _REQUESTS or b"*" in self._hosts:
            await self._app(scope, receive, send)
        elif not (_is_probe(scope) or self._admits(join_header(scope, b"host"), scope)):
            detail = "the Host header names another server; if it names this one, add it to CONVSTORE_ALLOWED_HOSTS"
            await _refuse(400, "host_not_allowed", detail, scope, receive, send)
        elif _is_write_or_socket(scope) and not self._admits_origin(join_header(scope, b"origin"), scope):
            detail = "a page of another origin may not do this; to allow it, add its host to CONVSTORE_ALLOWED_HOSTS"
            await _refuse(403, "origin_not_allowed", detail, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _admits(self, given: bytes, scope: Scope) -> bool:
        host, _, port = given.lower().rpartition(b":")
        if not port.isdigit() or (b":" in host and not host.endswith(b"]")):
            host = given.lower()
        name = host.strip(b"[]")
        return name in self._hosts or _is_own_address(name.decode("latin-1"), scope)

    def _admits_origin(self, origin: bytes, scope: Scope) -> bool:
        """Whether the Origin header names an allowed host or is missing.

        Without one, the request does not come from a page.
        """
        scheme, separator, host = origin.partition(b"://")
        return not origin or (bool(separator) and scheme in (b"http", b"https") and self._admits(host, scope))


def _is_probe(scope: Scope) -> bool:
    """Whether a request is a health check, or HAProxy's default one: OPTIONS without a Host header.

    Every browser sends a Host header, and an answer to OPTIONS has no data.
    """
    if scope["type"] == "http" and scope["method"] == "OPTIONS" and not join_header(scope, b"host"):
        return True
    return scope["path"] in HEALTH_PATHS and not _is_write_or_socket(scope)


def _is_own_address(host: str, scope: Scope) -> bool:
    """Whether a host is the IP address to which this connection came."""
    own = scope.get("server")
    try:
        return own is not None and _parse_address(host) == _parse_address(own[0])
    except ValueError:  # a name, or the path of a Unix socket
        return False


def _parse_address(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def _is_write_or_socket(scope: Scope) -> bool:
    return scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS


async def _refuse(status: int, code: str, detail: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with an error. A WebSocket that is not accepted yet can only be closed; its client gets 403."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": detail[:120]})
    else:
        await error_response(status, code, detail)(scope, receive, send)


class ApiKeyMiddleware:
    """Answers 401 unless the request has a valid key or its path is open, and 403 to a write with a read-only key.

    WebSockets check the key themselves. The key of a request is in its scope, as `key`.
    """

    def __init__(self, app: ASGIApp, keys: Keys, open_paths: frozenset[str] = OPEN_PATHS) -> None:
        self._app = app
        self._keys = keys
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http" or self._is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        given = read_given_key(scope)
        key = self._keys.find(given)
        if key is None:
            detail = f"send the API key in the header {API_KEY}"
            if given:
                detail = f"the API key in the header {API_KEY} is not valid for this server"
            await error_response(401, "unauthorized", detail)(scope, receive, send)
            return
        scope["key"] = key
        if _is_write_or_socket(scope) and scope["path"] not in READING_POSTS:
            try:
                require_full_key(scope)
            except ReadOnlyKey as error:
                await error_response(403, error.code, str(error))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_open(self, path: str) -> bool:
        return path in self._open_paths or path in SHELL_PATHS or path.startswith(SHELL_PREFIXES)
