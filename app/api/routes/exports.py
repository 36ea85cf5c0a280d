"""Exports that are made as files first: a client can download one in parts, and continue a broken download."""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from ...errors import ExportFailed, ExportRunning
from ...model.archive_format import ExportFormat
from ...model.times import format_us
from ...store.admin.archive_export import aiter_of, find_named
from ...store.admin.export_files import ExportFile, ExportFiles, Phase
from ...web.encoders import find_encoder
from ..access import audit
from ..error_responses import ErrorBody
from ..params import Store, get_writable_store
from .bulk import ExportRequest, select_conversations

router = APIRouter(prefix="/api/exports", tags=["archives"])


async def _get_exports(request: Request) -> ExportFiles:
    return cast(ExportFiles, request.app.state.exports)


Exports = Annotated[ExportFiles, Depends(_get_exports)]


class LeftOutBody(BaseModel):
    """A file that is not in an export, and the reason."""

    conversation: str
    name: str
    reason: str


class ExportBody(BaseModel):
    """An export. While it is being made, `size_bytes` grows. `error` and `code` say why it failed."""

    id: str
    format: ExportFormat
    phase: Phase
    conversations: int = Field(description="the number of conversations in it, known when it is done")
    size_bytes: int
    created_at: str
    expires_at: str | None = Field(description="when it is removed; null while it is being made")
    left_out: list[LeftOutBody] = Field(description="at most the first 100")
    code: str | None
    error: str | None


class ExportList(BaseModel):
    """All exports of the store, the newest first."""

    items: list[ExportBody]


@router.post("", status_code=202, responses={404: {"model": ErrorBody}, 507: {"model": ErrorBody}})
async def make_export(
    store: Store, exports: Exports, request: ExportRequest, http: Request, response: Response
) -> ExportBody:
    """Begin to make an export as a file. `Location` is its address. Secrets are masked.

    It ends if the server stops. It is removed some hours after it is done (`CONVSTORE_EXPORT_HOURS`).
    """
    named = await find_named(store, await select_conversations(store, request, for_reading=True))
    made = await exports.make(aiter_of(named), request.format, find_encoder(request.format))
    audit.mention_export(http.scope, made.id)
    response.headers["Location"] = f"{store.settings.base_path}/api/exports/{made.id}"
    return _make_body(made)


@router.get("")
async def list_exports(exports: Exports) -> ExportList:
    """List all exports, and how far those are that are being made."""
    return ExportList(items=[_make_body(one) for one in await exports.list_exports()])


_FILE: dict[str, Any] = {
    "response_class": FileResponse,
    "status_code": 200,
    "responses": {
        206: {"description": "The part that `Range` asks for"},
        404: {"model": ErrorBody},
        410: {"model": ErrorBody, "description": "`export_failed`: it has no file"},
        416: {"description": "The file ends before this range"},
        503: {"model": ErrorBody, "description": "`export_running`: it is being made; ask again after `Retry-After`"},
    },
}


@router.get("/{export_id}", **_FILE)
async def download_export(exports: Exports, export_id: str) -> FileResponse:
    """Download an export. The answer has a length and an ETag; `Range` and `If-Range` ask for a part of it."""
    found, path = await exports.find(export_id)
    if found.phase is Phase.MAKING:
        raise ExportRunning(f"this export is being made; it has {found.size_bytes:,} bytes so far")
    if found.phase is Phase.FAILED:
        raise ExportFailed(f"this export could not be made: {found.error}")
    return FileResponse(
        path,
        headers={"ETag": f'"{found.id}"'},
        media_type=found.format.media_type,
        filename=f"conversations{found.format.suffix}",
    )


@router.delete(
    "/{export_id}", status_code=204, responses={404: {"model": ErrorBody}}, dependencies=[Depends(get_writable_store)]
)
async def remove_export(exports: Exports, export_id: str) -> None:
    """Remove an export. If it is being made, that ends."""
    await exports.remove(export_id)


def _make_body(one: ExportFile) -> ExportBody:
    expires_at = None if one.phase is Phase.MAKING or one.expires_at_us is None else format_us(one.expires_at_us)
    return ExportBody(
        id=one.id,
        format=one.format,
        phase=one.phase,
        conversations=one.conversations,
        size_bytes=one.size_bytes,
        created_at=format_us(one.created_at_us),
        expires_at=expires_at,
        left_out=[LeftOutBody(**left_out) for left_out in one.left_out],
        code=one.code,
        error=one.error,
    )
