"""How large the body of a request may be: it is read whole into memory before a route sees it."""

from __future__ import annotations

from collections.abc import Container
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import error_response

BODY_MAX_BYTES = 64 << 20
"""A thousand events of 64 kB, the most that are appended at once, or a few that hold images."""

_WITHOUT_BODY = frozenset({"GET", "HEAD"})
"""Whose bodies no route reads."""


class BodyLimited:
    """ASGI middleware: 413 for a body that is larger than `most_bytes`, whether the request says so or not.

    `free` are the paths whose routes read the body bit by bit, and have a limit of their own.
    """

    def __init__(self, app: ASGIApp, most_bytes: int, free: Container[str]) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._free = free

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 413 as soon as too much has come."""
        if scope["type"] != "http" or scope["method"] in _WITHOUT_BODY or scope["path"] in self._free:
            await self._app(scope, receive, send)
            return
        size_bytes = 0
        answered = False
        refused = _announced(scope) > self._most_bytes

        async def receive_some() -> Message:
            nonlocal size_bytes, refused
            message = await receive()
            size_bytes += len(message.get("body", b""))
            refused = size_bytes > self._most_bytes and not answered
            return {"type": "http.disconnect"} if refused else message

        async def send_unless_refused(message: Message) -> None:
            nonlocal answered
            if not refused:
                answered = True
                await send(message)

        if not refused:
            await self._app(scope, receive_some, send_unless_refused)
        if not refused:
            return
        detail = f"the body is larger than {self._most_bytes:,} bytes; send it in parts"
        await error_response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", detail)(scope, receive, send)


def _announced(scope: Scope) -> int:
    """Return the size that a request announces, 0 when it announces none."""
    given = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return int(given) if given.isdigit() else 0
