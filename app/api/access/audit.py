"""The audit trail of a server: which requests and frames get a line, and what it says of the client."""

from __future__ import annotations

import time
from hashlib import sha256
from http import HTTPStatus

from starlette.types import Scope

from ... import trail
from ...index.engine import Note
from ...model.ids import dashed, find_conversation_id
from ...trail import Act, Result
from .keys import FINGERPRINT_DIGITS, read_given_key

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_MAKE_EXPORT = "/api/exports"
_DOWNLOAD_EXPORT = "/api/exports/{export_id}"
READING_POSTS = frozenset({"/api/conversations/bulk/export", "/mcp", _MAKE_EXPORT})
"""Requests that change nothing although their method is POST."""

_EXPORTS = ("/export", "/download-trajectory/{conversation_id}")
_REFUSED_PER_MINUTE = 60
_TEXT_MAX = 64


class Audit:
    """Writes the lines of one application. Refused keys get 60 lines a minute; the others are counted."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._minute = 0
        self._refused = 0

    def record_request(self, scope: Scope, method: str, route: str, status: int) -> None:
        """Write the line of a finished request, if it needs one."""
        if status in (401, 403):
            act = Act.REFUSED_KEY if status == 401 or "key" in scope else Act.WRITE  # 403 also refuses foreign pages
        elif route.endswith(_EXPORTS) or (method, route) == ("POST", _MAKE_EXPORT):
            act = Act.EXPORT
        elif (method, route) == ("GET", _DOWNLOAD_EXPORT):
            if status >= 400:  # not there, or not yet: a client asks again and again
                return
            act = Act.EXPORT
        elif method not in SAFE_METHODS and route not in READING_POSTS:
            act = Act.WRITE
        else:
            return
        self.record(scope, act, method, route, status)

    def record(self, scope: Scope, act: Act, method: str, route: str, status: int) -> None:
        """Write one line. `status` is the HTTP status, or for a frame of a socket the one that it would have."""
        skipped = 0
        if act is Act.REFUSED_KEY:
            self._note("refused_key", 1, reason="read_only" if status == HTTPStatus.FORBIDDEN else "unknown")
            allowed, skipped = self._count_refused()
            if not allowed:
                return
        result = Result.DONE if status < 400 else Result.REFUSED if status < 500 else Result.FAILED
        trail.write(
            act,
            result,
            method=method,
            route=route,
            status=int(status),
            ids=[*dict.fromkeys([*_list_named(scope), *trail.list_mentioned()])],
            export=_name_export(scope),
            client=(scope.get("client") or ("",))[0] or "unix",
            key=_name_key(scope),
            not_logged=skipped or None,
        )

    def _count_refused(self) -> tuple[bool, int]:
        """Return whether a refused key gets a line, and how many got none since the minute before."""
        minute, skipped = int(time.monotonic() // 60), 0
        if minute != self._minute:
            skipped = max(self._refused - _REFUSED_PER_MINUTE, 0)
            self._minute, self._refused = minute, 0
        self._refused += 1
        return self._refused <= _REFUSED_PER_MINUTE, skipped


def _list_named(scope: Scope) -> list[str]:
    """Return the conversation in the path, as an id with dashes or as the client wrote it."""
    given = scope.get("path_params", {}).get("conversation_id")
    if not isinstance(given, str):
        return []
    known = find_conversation_id(given)
    return [dashed(known) if known else given[:_TEXT_MAX]]


def mention_export(scope: Scope, export_id: str) -> None:
    """Name the export that a request makes."""
    scope["export"] = export_id


def _name_export(scope: Scope) -> str:
    """Return the id of the export that a request makes, downloads or removes, or ""."""
    return str(scope.get("export") or scope.get("path_params", {}).get("export_id", ""))[:_TEXT_MAX]


def _name_key(scope: Scope) -> str:
    """Return the fingerprint of the request's key, or of what it sent in place of one."""
    key = scope.get("key")
    if key is not None:
        return str(key.fingerprint)
    given = read_given_key(scope)
    return sha256(given).hexdigest()[:FINGERPRINT_DIGITS] if given else ""
