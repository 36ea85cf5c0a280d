"""One error body, `{"detail", "code"}`, and the one table from error codes to HTTP statuses."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app import errors, logs
from app.api.observing import HEADER, SAFE_HEADERS
from app.errors import StoreError

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
    errors.SyncRunning.code: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.TooManyFollowers.code: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.SchemaTooNew.code: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.InvalidSettings.code: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.RebuildRefused.code: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ConversationOwned.code: HTTPStatus.CONFLICT,
    errors.OwnershipLost.code: HTTPStatus.CONFLICT,
    errors.ConversationExists.code: HTTPStatus.CONFLICT,
    errors.DirectoryTaken.code: HTTPStatus.CONFLICT,
    errors.EventExists.code: HTTPStatus.CONFLICT,
    errors.InvalidEvent.code: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.InvalidConversation.code: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NeedsAgent.code: HTTPStatus.NOT_IMPLEMENTED,
    errors.NotInTrash.code: HTTPStatus.NOT_FOUND,
    errors.UnexpectedCount.code: HTTPStatus.CONFLICT,
    errors.LockTimeout.code: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DiskFull.code: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.WriteFailed.code: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ArchiveRefused.code: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ArchiveTooLarge.code: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.ImportRunning.code: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.OutputRefused.code: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.StoreError.code: HTTPStatus.INTERNAL_SERVER_ERROR,
}

RETRY_AFTER_S = "1"

UNEXPECTED = "an unexpected error; the server's log has it under the id in X-Request-ID"


class _AsciiResponse(JSONResponse):
    """JSON in ASCII: an error may name what a client sent, which need not be text that UTF-8 can hold."""

    def render(self, content: Any) -> bytes:  # noqa: ANN401
        """Return the body."""
        return json.dumps(content, separators=(",", ":")).encode()


def error_response(status: int, code: str, detail: Any, headers: dict[str, str] | None = None) -> JSONResponse:  # noqa: ANN401
    """Return the error body that every route answers with."""
    return _AsciiResponse({"detail": detail, "code": code}, status, headers)


def install(app: FastAPI) -> None:
    """Have every error of `app` answered with the one body."""
    app.add_exception_handler(StoreError, _store_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


async def _store_error(_request: Request, error: Exception) -> JSONResponse:
    return answer(cast(StoreError, error))


def answer(known: StoreError) -> JSONResponse:
    """Return what an expected error is answered with."""
    status = STATUS_OF[known.code]
    headers = {"Retry-After": RETRY_AFTER_S} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return error_response(status, known.code, str(known), headers)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    """Say where the request is wrong, and not what it held: that may be a secret, or no JSON."""
    detail = jsonable_encoder(cast(RequestValidationError, error).errors(), exclude={"ctx", "input"})
    return error_response(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_parameter", detail)


async def _http_error(_request: Request, error: Exception) -> JSONResponse:
    known = cast(HTTPException, error)
    code = HTTPStatus(known.status_code).name.lower()
    return error_response(known.status_code, code, known.detail, dict(known.headers or {}))


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    headers = {HEADER: logs.request_id.get(), **SAFE_HEADERS}  # this answer is made outside of `observing`
    return error_response(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", UNEXPECTED, headers)
