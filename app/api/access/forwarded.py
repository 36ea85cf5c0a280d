"""The headers by which a trusted proxy says who its client is, and which address and path prefix the client used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

from ...settings import BASE_PATH_PATTERN
from ..headers import BASE_PATH, join_header

UNIX = "unix"
"""Stands for every peer that is connected through a Unix socket."""

_SECURE = {"http": "https", "ws": "wss"}
_match_prefix = re.compile(BASE_PATH_PATTERN).fullmatch
_match_host = re.compile(rb"[A-Za-z0-9._-]+(?::[0-9]+)?|\[[0-9A-Fa-f:.]+\](?::[0-9]+)?").fullmatch


class ForwardedMiddleware:
    """Takes the client's address, scheme, host and prefix from X-Forwarded-For, -Proto, -Host and -Prefix.

    The headers of peers that are not trusted are ignored. `trusted` are addresses, networks (10.0.0.0/8) or `unix`.
    `BasePathMiddleware` applies the prefix.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[str]) -> None:
        self._app = app
        self._unix = UNIX in trusted
        self._networks = [ip_network(one, strict=False) for one in trusted if one != UNIX]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] in ("http", "websocket") and self._is_trusted_peer(scope):
            scope = self._apply(scope)
        await self._app(scope, receive, send)

    def _is_trusted_peer(self, scope: Scope) -> bool:
        peer = (scope.get("client") or ("",))[0]
        return self._trusts(peer) if peer else self._unix

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        return any(parsed in network for network in self._networks)

    def _apply(self, scope: Scope) -> Scope:
        changed = dict(scope)
        client = self._find_client(_split(join_header(scope, b"x-forwarded-for")))
        if client:
            changed["client"] = (client, 0)
        proto = [*_split(join_header(scope, b"x-forwarded-proto"))][-1:]
        if proto == ["https"]:
            changed["scheme"] = _SECURE.get(scope["scheme"], scope["scheme"])
        host = [*_split(join_header(scope, b"x-forwarded-host"))][-1:]
        if host and _match_host(host[0].encode()):
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            changed["headers"] = [(b"host", host[0].encode()), *others]
        prefix = join_header(scope, b"x-forwarded-prefix").decode("latin-1").rstrip("/")
        if prefix and _match_prefix(prefix):
            changed[BASE_PATH] = prefix
        return changed

    def _find_client(self, hops: Iterable[str]) -> str:
        """Return the last address that is not a trusted proxy's, or the first if all are; "" if it is no address."""
        client = ""
        for hop in reversed([*hops]):
            address = _without_port(hop)
            try:
                ip_address(address)
            except ValueError:
                break
            client = address
            if not self._trusts(address):
                break
        return client


def _split(value: bytes) -> Iterable[str]:
    return filter(None, (part.strip() for part in value.decode("latin-1").split(",")))


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
