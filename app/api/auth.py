"""Access control: checks of the API key, the Host header and the Origin header; and the key file."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from tempfile import mkstemp

from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import InvalidSettings
from ..exclusive_rename import rename_exclusively
from ..settings import Settings
from .errors import error_response
from .headers import API_KEY, join_header
from .openapi import DOCS_PATHS
from .sessions import Tokens

HEALTH_PATHS = frozenset({"/alive", "/health", "/ready"})
"""Paths that accept any Host header. Probes address a server by its IP address, or send no Host header at all."""

OPEN_PATHS = HEALTH_PATHS | {"/server_info"} | DOCS_PATHS
"""Paths that need no key: the health checks, and the description of the API. They expose no data of the store."""

SHELL_PATHS = frozenset({"/", "/overview", "/trash", "/compare", "/api/session"})
SHELL_PREFIXES = ("/c/", "/static/")
"""Paths of the page without its data, and of signing in, which need no key either."""

_API_KEY = API_KEY.lower().encode()
_REQUESTS = ("http", "websocket")
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


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
        elif not (_is_health_check(scope) or self._admits(join_header(scope, b"host"), scope)):
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


def _is_health_check(scope: Scope) -> bool:
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
    return scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS


async def _refuse(status: int, code: str, detail: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with an error. A WebSocket that is not accepted yet can only be closed; its client gets 403."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": detail[:120]})
    else:
        await error_response(status, code, detail)(scope, receive, send)


class Keys:
    """The valid keys, and the page's tokens, which are signed with the keys. Without keys, no key is required."""

    def __init__(self, keys: Sequence[str], state_dir: Path) -> None:
        self._digests = [sha256(key.encode()).digest() for key in keys]
        self.tokens = Tokens(keys, state_dir)

    @property
    def required(self) -> bool:
        """Whether requests need a key."""
        return bool(self._digests)

    def admit(self, given: bytes) -> bool:
        """Whether this is a valid key, or a token that was signed with one."""
        return self.admit_key(given) or self.tokens.admit(given)

    def admit_key(self, given: bytes) -> bool:
        """Whether this is a valid key. The comparison takes the same time for right and wrong keys."""
        digest = sha256(given).digest()
        return sum(secrets.compare_digest(digest, known) for known in self._digests) > 0


class ApiKeyMiddleware:
    """Answers 401 unless the request has a valid key or its path is open. WebSockets check the key themselves."""

    def __init__(self, app: ASGIApp, keys: Keys, open_paths: frozenset[str] = OPEN_PATHS) -> None:
        self._app = app
        self._keys = keys
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] != "http" or self._is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        given = join_header(scope, _API_KEY)
        if self._keys.admit(given):
            await self._app(scope, receive, send)
            return
        detail = f"send the API key in the header {API_KEY}"
        if given:
            detail = f"the API key in the header {API_KEY} is not valid for this server"
        await error_response(401, "unauthorized", detail)(scope, receive, send)

    def _is_open(self, path: str) -> bool:
        return path in self._open_paths or path in SHELL_PATHS or path.startswith(SHELL_PREFIXES)


def load_keys(settings: Settings) -> tuple[list[str], bool]:
    """Return the valid keys, and whether a key was just created. If authentication is off, there are no keys.

    Raises:
        InvalidSettings: authentication is off although other machines can reach the server, or the key file cannot
            be used.
    """
    if settings.no_auth:
        if not settings.loopback:
            raise InvalidSettings(
                f"--no-auth works only on a loopback address, not on {settings.host}; omit it, or listen on 127.0.0.1"
            )
        return [], False
    if settings.api_key:
        return [key.get_secret_value() for key in settings.api_key], False
    try:
        return _read_or_make(settings.key_path)
    except OSError as error:
        raise InvalidSettings(
            f"the key file {settings.key_path} cannot be used ({error.strerror}); set CONVSTORE_API_KEY, "
            "or set CONVSTORE_API_KEY_FILE to a writable file"
        ) from error


def _read_or_make(path: Path) -> tuple[list[str], bool]:
    """Return the keys in a file. If the file is missing, it is created with a new key."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = secrets.token_urlsafe(32)
    descriptor, fresh = mkstemp(dir=path.parent, prefix=".api-key-")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{key}\n")
        # the file appears with its whole content, so no other process reads half a key
        try:
            rename_exclusively(fresh, path)
        except FileExistsError:
            keys = path.read_text().split()
            if not keys:
                raise InvalidSettings(f"the key file {path} is empty; delete it, and a new key is created") from None
            return keys, False
    finally:
        Path(fresh).unlink(missing_ok=True)
    return [key], True
