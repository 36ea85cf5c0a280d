"""Conversations as files: downloads and imports."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath
from pydantic import BaseModel

from ... import trail
from ...errors import ArchiveTooLarge, UnreadableFile
from ...model.archive_format import FOREIGN_ARCHIVE, ExportFormat, OnClash
from ...model.ids import ConversationId, dashed
from ...store.admin.archive_export import ExportReport, aiter_of, export, find_named
from ...store.admin.archive_import import Action, import_conversations
from ...store.write.backlog import find_warning
from ...web.encoders import find_encoder
from ..error_responses import ErrorBody
from ..headers import has_etag
from ..params import IdInPath, Store, WritableStore
from ..responses import Warned
from ..streamed import Aside, StreamedResponse, until_client_leaves

log = logging.getLogger(__name__)

router = APIRouter(prefix="/api/conversations", tags=["archives"])

agent_server_router = APIRouter(tags=["archives"])

_DOWNLOAD: dict[str, Any] = {
    "response_class": StreamedResponse,
    "status_code": 200,
    "responses": {
        304: {"description": "`If-None-Match` has the ETag of this download; only those of at most 1 MiB have one"},
        404: {"model": ErrorBody},
        409: {"model": ErrorBody},
    },
}

_WHOLE_MAX_BYTES = 1 << 20
"""A download of at most this length is made before it is sent, so that its length and its ETag are known."""

_TRAJECTORY = "application/octet-stream"
"""The media type of agent-server's zip files."""

Format = Annotated[ExportFormat, Query(alias="format", description="zip and jsonl can be imported again")]


@router.get("/{conversation_id}/export", **_DOWNLOAD)
async def export_conversation(
    request: Request, store: Store, conversation_id: IdInPath, kind: Format = ExportFormat.ZIP
) -> Response:
    """Download a conversation's files as a zip, as JSON Lines, as Markdown, or as HTML. Secrets are masked.

    A download of at most 1 MiB has a length and an ETag. For ranges of a larger one, use `POST /api/exports`.
    """
    return await _export(request, store, conversation_id, kind, kind.media_type)


async def _export(
    request: Request, store: Store, conversation_id: IdInPath, kind: ExportFormat, media_type: str
) -> Response:
    wanted = ConversationId(conversation_id)
    await store.get_conversation(wanted)
    report = ExportReport()
    named = aiter_of(await find_named(store, [wanted]))
    chunks = export(store.reader, named, kind, report, encoder=find_encoder(kind))
    first = await until_client_leaves(request, _read_up_to(chunks, _WHOLE_MAX_BYTES))
    if report.unread:
        await chunks.aclose()
        first.close()
        raise UnreadableFile(f"conversation {dashed(wanted)} cannot be exported: {report.left_out[-1][1].reason}")
    named_file = {"Content-Disposition": f'attachment; filename="{wanted}{kind.suffix}"'}
    if first.size_bytes > _WHOLE_MAX_BYTES:
        return StreamedResponse(log_left_out(first.pieces(), chunks, report), media_type, named_file)
    _log_left_out(report)
    whole = first.take()
    etag = f'"{hashlib.sha256(whole).hexdigest()[:32]}"'
    if has_etag(request.scope, etag.encode()):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": etag})
    return Response(whole, media_type=media_type, headers={"ETag": etag, **named_file})


async def _read_up_to(chunks: AsyncGenerator[bytes, None], size_bytes: int) -> Aside:
    """Return the chunks up to the first that exceeds this size, or all of them."""
    taken = Aside()
    try:
        async for chunk in chunks:
            taken.write(chunk)
            if taken.size_bytes > size_bytes:
                break
    except BaseException:
        taken.close()
        raise
    return taken


@agent_server_router.get("/api/file/download-trajectory/{conversation_id}", **_DOWNLOAD)
async def download_trajectory(request: Request, store: Store, conversation_id: IdInPath) -> Response:
    """Download a conversation as a zip of its files, with secrets masked, at the path of agent-server."""
    return await _export(request, store, conversation_id, ExportFormat.ZIP, _TRAJECTORY)


@agent_server_router.get(
    "/api/conversations/{runtime_conversation_id}/file/download-trajectory/{conversation_id}", **_DOWNLOAD
)
async def download_trajectory_of_runtime(
    request: Request,
    store: Store,
    _runtime: Annotated[str, InPath(alias="runtime_conversation_id")],
    conversation_id: IdInPath,
) -> Response:
    """Do the same. The first id is ignored: in agent-server it chooses the runtime, of which there is one here."""
    return await _export(request, store, conversation_id, ExportFormat.ZIP, _TRAJECTORY)


class ImportedConversation(BaseModel):
    """A conversation of an archive, and the action for it. `id` is its id in this store."""

    id: str
    archive_id: str
    action: Action
    files: int
    size_bytes: int


class ImportAnswer(BaseModel):
    """The actions of an import, or with `dry_run` the planned actions."""

    items: list[ImportedConversation]
    dry_run: bool
    warning: Warned = None


@router.post(
    "/import",
    responses={409: {"model": ErrorBody}, 413: {"model": ErrorBody}, 422: {"model": ErrorBody}},
    response_model_exclude_none=True,
)
async def import_archive(
    store: WritableStore,
    request: Request,
    on_clash: Annotated[
        OnClash, Query(description="the action for a conversation whose id already exists")
    ] = OnClash.FAIL,
    new_ids: Annotated[bool, Query(description="give every conversation a new id")] = False,
    dry_run: Annotated[bool, Query(description="check the archive and report the actions without writing")] = False,
) -> ImportAnswer:
    """Import the zip or JSON Lines in the body. The whole archive is checked before anything is written."""
    settings = store.settings
    store.index.require_present()
    await asyncio.to_thread(store.index.make_directory)
    with TemporaryDirectory(dir=settings.index_path.parent, prefix="import-") as directory:
        archive = Path(directory, "the archive")  # error messages show this name
        with await asyncio.to_thread(archive.open, "xb") as upload:
            await _receive(request, upload, settings.import_max_bytes)
        plan = await import_conversations(
            store, [archive], FOREIGN_ARCHIVE, on_clash=on_clash, new_ids=new_ids, dry_run=dry_run
        )
    items = [
        ImportedConversation(
            id=dashed(one.target),
            archive_id=dashed(one.id),
            action=one.action,
            files=one.files,
            size_bytes=one.size_bytes,
        )
        for one in plan
    ]
    if dry_run:
        trail.mention([one.id for one in items], dry_run=True)
    return ImportAnswer(items=items, dry_run=dry_run, warning=find_warning(plan))


async def _receive(request: Request, upload: BinaryIO, max_bytes: int) -> None:
    size_bytes = 0
    async for chunk in request.stream():
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            raise ArchiveTooLarge(
                f"the archive is larger than {max_bytes:,} bytes; set CONVSTORE_IMPORT_MAX_BYTES, or use "
                "`convstore import` on the server's machine"
            )
        await asyncio.to_thread(upload.write, chunk)
    await asyncio.to_thread(upload.flush)


async def log_left_out(
    first: AsyncGenerator[bytes, None], chunks: AsyncGenerator[bytes, None], report: ExportReport
) -> AsyncGenerator[bytes, None]:
    """Yield the first chunks and the others, and then log the files that the export left out."""
    async with aclosing(first), aclosing(chunks):
        async for chunk in first:
            yield chunk
        async for chunk in chunks:
            yield chunk
    _log_left_out(report)


def _log_left_out(report: ExportReport) -> None:
    for conversation_id, left_out in report.left_out:
        log.warning("export of %s leaves out %s: %s", conversation_id, left_out.name, left_out.reason)
