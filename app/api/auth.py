"""Who may ask: the key that every route but the health checks wants, the file it is kept in, and the Host header."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.errors import error_response
from app.errors import InvalidSettings
from app.settings import Settings

HEADER = "X-Session-API-Key"
OPEN_PATHS = frozenset({"/", "/alive", "/health", "/ready", "/server_info", "/docs", "/redoc", "/openapi.json"})
"""What needs no key: the health checks, and the description of the API, which holds no data."""

_HEADER = HEADER.lower().encode()


class HostAllowed:
    """ASGI middleware: 400 unless the Host header names this server, so that no page can reach it by rebinding a name.

    `hosts` are names or addresses without a port; "*" allows any.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower().encode() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 400."""
        if scope["type"] != "http" or b"*" in self._hosts or self._admits(scope):
            await self._app(scope, receive, send)
            return
        detail = "the Host header names another server; add the name to CONVSTORE_ALLOWED_HOSTS if it is this one's"
        await error_response(400, "host_not_allowed", detail)(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        given: bytes = next((value for name, value in scope["headers"] if name == b"host"), b"")
        host, _, port = given.lower().rpartition(b":")
        if not port.isdigit() or (b":" in host and not host.endswith(b"]")):
            host = given.lower()
        return host.strip(b"[]") in self._hosts


class KeyRequired:
    """ASGI middleware: 401 unless the request carries one of the keys."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._digests = [sha256(key.encode()).digest() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or self._admits(scope):
            await self._app(scope, receive, send)
            return
        detail = f"this needs the API key in the header {HEADER}"
        await error_response(401, "unauthorized", detail)(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == _HEADER), b"")
        digest = sha256(given).digest()
        return sum(secrets.compare_digest(digest, known) for known in self._digests) > 0


def load_keys(settings: Settings) -> tuple[list[str], bool]:
    """Return the valid keys, and whether one was made just now; none when the server runs without.

    Raises:
        InvalidSettings: keys are off although others can reach the server, or the key file cannot be used.
    """
    if settings.no_auth:
        if not settings.loopback:
            raise InvalidSettings(
                f"--no-auth works on a loopback address only, not on {settings.host}; leave it out, "
                "or listen on 127.0.0.1"
            )
        return [], False
    if settings.api_key:
        return [key.get_secret_value() for key in settings.api_key], False
    try:
        return _read_or_make(settings.key_path)
    except OSError as error:
        raise InvalidSettings(
            f"the key file {settings.key_path} cannot be used ({error.strerror}); set CONVSTORE_API_KEY, "
            "or CONVSTORE_API_KEY_FILE to a file that can be written"
        ) from error


def _read_or_make(path: Path) -> tuple[list[str], bool]:
    """Return the keys in a file; one that is missing is made whole, so that nobody reads half of it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = secrets.token_urlsafe(32)
    with NamedTemporaryFile("w", dir=path.parent, prefix=".api-key-") as fresh:
        fresh.write(f"{key}\n")
        fresh.flush()
        try:
            os.link(fresh.name, path)
        except FileExistsError:
            keys = path.read_text().split()
            if not keys:
                raise InvalidSettings(f"the key file {path} is empty; delete it, and a new key is made") from None
            return keys, False
    return [key], True
