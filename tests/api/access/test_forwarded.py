"""X-Forwarded-* headers count from trusted peers alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from app import Settings
from app.api.access.forwarded import ForwardedMiddleware

HEADERS = {"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "conv.example:8443"}


async def forward(peer: object, trusted: Sequence[str], headers: dict[str, str], kind: str = "http") -> dict[str, Any]:
    """Return (client, scheme, host) as the application sees them."""
    seen: dict[str, Any] = {}

    async def application(scope: Scope, _receive: Receive, _send: Send) -> None:
        host = [value.decode() for name, value in scope["headers"] if name == b"host"]
        seen.update(client=(scope["client"] or ("",))[0], scheme=scope["scheme"], host=host)

    raw = [(name.lower().encode(), value.encode()) for name, value in ({"Host": "inner:8000"} | headers).items()]
    scope = {"type": kind, "scheme": "http" if kind == "http" else "ws", "client": peer, "headers": raw}
    await ForwardedMiddleware(application, trusted)(scope, None, None)  # type: ignore[arg-type]
    return seen


async def test_a_trusted_proxy_is_believed() -> None:
    seen = await forward(("10.0.0.5", 1), ["10.0.0.0/8"], HEADERS)
    assert seen == {"client": "1.2.3.4", "scheme": "https", "host": ["conv.example:8443"]}
    assert (await forward(("10.0.0.5", 1), ["10.0.0.5"], HEADERS, "websocket"))["scheme"] == "wss"
    assert (await forward(("::ffff:10.0.0.5", 1), ["10.0.0.5"], HEADERS))["client"] == "1.2.3.4"


@pytest.mark.parametrize("peer", [("10.0.0.6", 1), ("fe80::1", 1), None])
async def test_any_other_peer_is_not(peer: object) -> None:
    seen = await forward(peer, ["10.0.0.5"], HEADERS)
    assert seen == {"client": peer[0] if isinstance(peer, tuple) else "", "scheme": "http", "host": ["inner:8000"]}


async def test_a_peer_on_a_unix_socket_is_trusted_as_unix() -> None:
    assert (await forward(None, ["unix"], HEADERS))["client"] == "1.2.3.4"


@pytest.mark.parametrize(
    ("given", "client"),
    [
        ("6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4, 10.0.0.9", "1.2.3.4"),
        ("10.0.0.8, 10.0.0.9", "10.0.0.8"),
        ("1.2.3.4:5678", "1.2.3.4"),
        ("[2001:db8::1]:99", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("unknown", "10.0.0.5"),
        ("1.2.3.4, unknown", "10.0.0.5"),
        ("", "10.0.0.5"),
    ],
)
async def test_the_client_is_the_last_address_that_is_no_proxy(given: str, client: str) -> None:
    assert (await forward(("10.0.0.5", 1), ["10.0.0.0/8"], {"X-Forwarded-For": given}))["client"] == client


@pytest.mark.parametrize("host", ["", "a b", "evil.example/path", "a@b"])
async def test_a_host_that_is_none_changes_nothing(host: str) -> None:
    assert (await forward(("10.0.0.5", 1), ["10.0.0.5"], {"X-Forwarded-Host": host}))["host"] == ["inner:8000"]


def test_a_proxy_that_is_no_network_is_refused() -> None:
    assert Settings.model_validate({"store": ".", "trusted_proxies": "unix, ::1,10.0.0.1/8"}).trusted_proxies
    with pytest.raises(ValueError, match="is not an address or a network"):
        Settings.model_validate({"store": ".", "trusted_proxies": "nginx"})
