"""The error body `{"detail", "code"}`, and the only table from error codes to HTTP statuses."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any, cast

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from .. import errors, logs
from ..errors import ConversationOwned, InvalidConversation, OwnershipLost, ParentRefused, StoreError
from ..index.engine import Note
from .headers import REQUEST_ID, SECURITY_HEADERS

log = logging.getLogger(__name__)

STATUS_OF: dict[str, HTTPStatus] = {
    errors.InvalidToken.code: HTTPStatus.BAD_REQUEST,
    errors.InvalidFacet.code: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ChangesGone.code: HTTPStatus.GONE,
    errors.ConversationNotFound.code: HTTPStatus.NOT_FOUND,
    errors.EventNotFound.code: HTTPStatus.NOT_FOUND,
    errors.InvalidId.code: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UnreadableFile.code: HTTPStatus.CONFLICT,
    errors.StoreUnavailable.code: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.QueryTooSlow.code: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.MigrationFailed.code: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.IndexBusy.code: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.IndexUnusable.code: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.IndexDamaged.code: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.IndexRebuilding.code: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.IndexBuilding.code: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.SyncRunning.code: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.TooManyFollowers.code: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.SchemaTooNew.code: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.InvalidSettings.code: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.RebuildRefused.code: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.HostSilent.code: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.OutcomeUnknown.code: HTTPStatus.GATEWAY_TIMEOUT,
    errors.ConversationOwned.code: HTTPStatus.CONFLICT,
    errors.OwnershipLost.code: HTTPStatus.CONFLICT,
    errors.ConversationExists.code: HTTPStatus.CONFLICT,
    errors.DirectoryTaken.code: HTTPStatus.CONFLICT,
    errors.EventExists.code: HTTPStatus.CONFLICT,
    errors.InvalidEvent.code: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.InvalidConversation.code: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ParentRefused.code: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NeedsAgent.code: HTTPStatus.NOT_IMPLEMENTED,
    errors.NotInTrash.code: HTTPStatus.NOT_FOUND,
    errors.ReadOnlyKey.code: HTTPStatus.FORBIDDEN,
    errors.OutOfMemory.code: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.UnexpectedCount.code: HTTPStatus.CONFLICT,
    errors.LocksUnsupported.code: HTTPStatus.NOT_IMPLEMENTED,
    errors.LockTimeout.code: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DiskFull.code: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.WriteFailed.code: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ArchiveRefused.code: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ArchiveTooLarge.code: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.ImportRunning.code: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.OutputRefused.code: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ExportNotFound.code: HTTPStatus.NOT_FOUND,
    errors.ExportRunning.code: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ExportFailed.code: HTTPStatus.GONE,
    errors.ExportsFull.code: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.StoreError.code: HTTPStatus.INTERNAL_SERVER_ERROR,
}

RETRY_AFTER_S = "1"

UNEXPECTED = "an unexpected error; look in the server's log for the id in X-Request-ID"


class _AsciiResponse(JSONResponse):
    """JSON in ASCII. An error may quote a client's text, and UTF-8 cannot encode an unpaired surrogate in it."""

    def render(self, content: Any) -> bytes:  # noqa: ANN401
        """Return the body."""
        return json.dumps(content, separators=(",", ":")).encode()


class ErrorBody(BaseModel):
    """The body of every error. `detail` is a text, or for invalid parameters a list with one entry for each."""

    detail: str | list[dict[str, Any]]
    code: str


def error_response(status: int, code: str, detail: Any, headers: dict[str, str] | None = None) -> JSONResponse:  # noqa: ANN401
    """Return an answer with the common error body."""
    return _AsciiResponse({"detail": detail, "code": code}, status, headers)


def install(app: Starlette) -> None:
    """Register the handlers that answer all errors of `app` with this body, but for those of parameters."""
    app.add_exception_handler(StoreError, _store_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


def note_conflict(note: Note, error: StoreError) -> None:
    """Count a write that was refused because another program has the conversation."""
    if isinstance(error, ConversationOwned | OwnershipLost):
        note("lease_conflict", 1)


async def _store_error(request: Request, error: Exception) -> JSONResponse:
    note_conflict(request.app.state.metrics.note, cast(StoreError, error))
    route = request.scope.get("route")
    return store_error_response(cast(StoreError, error), request.method, getattr(route, "path", ""))


def store_error_response(known: StoreError, method: str, route: str) -> JSONResponse:
    """Return the answer to an error of the store, with the status for its code."""
    status = STATUS_OF[known.code]
    headers = {"Retry-After": RETRY_AFTER_S} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    listed = status == HTTPStatus.UNPROCESSABLE_ENTITY and route in _OF_AGENT_SERVER
    detail = _list_problems(known, method) if listed and not isinstance(known, ParentRefused) else str(known)
    return error_response(status, known.code, detail, headers)


_ONE = "/api/conversations/{conversation_id}"
_OF_AGENT_SERVER = frozenset({
    "/api/conversations", "/api/conversations/search", "/api/conversations/count", _ONE, f"{_ONE}/fork",
    f"{_ONE}/navigate", f"{_ONE}/events", f"{_ONE}/events/search", f"{_ONE}/events/count",
    f"{_ONE}/events/{{event_id}}",
})  # fmt: skip
"""The routes on which a 422 lists the problems, as in agent-server. Only an error of the parent is a text there."""


def _list_problems(known: StoreError, method: str) -> list[dict[str, Any]]:
    where = "query" if method == "GET" else "body"
    problems = known.problems if isinstance(known, InvalidConversation) else ()
    return [{**one, "loc": [where, *one["loc"]]} for one in problems] or [
        {"type": "value_error", "loc": [where], "msg": str(known)}
    ]


async def _http_error(_request: Request, error: Exception) -> JSONResponse:
    known = cast(HTTPException, error)
    code = HTTPStatus(known.status_code).name.lower()
    return error_response(known.status_code, code, known.detail, dict(known.headers or {}))


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    # Starlette makes this answer outside of all middleware, so it lacks the headers of `ObservabilityMiddleware`
    headers = {REQUEST_ID: logs.request_id.get(), **SECURITY_HEADERS}
    return error_response(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", UNEXPECTED, headers)
