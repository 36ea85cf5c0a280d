"""The headers that this server reads and sends."""

from __future__ import annotations

from starlette.types import Scope

BASE_PATH = "base_path"
"""The name in a scope for the prefix of all paths, as the client used it. Without a prefix, it is missing."""

_VALUES = "values_of_headers"
"""The name in a scope for its headers, and for the values of each name in them."""

API_KEY = "X-Session-API-Key"
AUTHORIZATION = "Authorization"
REQUEST_ID = "X-Request-ID"
TEXT_INDEXED = "X-Text-Indexed"
"""(conversations with indexed text)/(all conversations): `1000/2500`."""
INDEXED = "X-Convstore-Indexed"
"""(listed conversations)/(all conversations) during the first build of an index: `120/487`, or `0/*` at first."""

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""The headers of every answer for browsers. An HTML page has its own Content-Security-Policy."""


def find_base_path(scope: Scope) -> str:
    """Return the prefix that all addresses in an answer need, or "" without one."""
    return str(scope.get(BASE_PATH, ""))


def join_header(scope: Scope, name: bytes) -> bytes:
    """Return the values of a header (lower-case name), joined with ", ", or b"" if the request does not have it.

    If a header that must be unique is repeated, the joined value matches no host, origin, key or size.
    """
    values: dict[bytes, list[bytes]]
    headers, values = scope.get(_VALUES, (None, {}))
    if headers is not scope["headers"]:  # once for a request, because many functions ask
        values = {}
        for header, value in scope["headers"]:
            values.setdefault(header, []).append(value)
        scope[_VALUES] = scope["headers"], values
    return b", ".join(values.get(name, ()))


def has_etag(scope: Scope, etag: bytes) -> bool:
    """Whether If-None-Match names the ETag."""
    return etag in (tag.strip().removeprefix(b"W/") for tag in join_header(scope, b"if-none-match").split(b","))
