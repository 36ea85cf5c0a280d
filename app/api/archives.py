"""Conversations as files to download."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.api.parameters import ErrorBody, IdInPath, Store
from app.model.archive import ExportFormat
from app.model.ids import ConversationId
from app.store.exporting import ExportReport, aiter_of, export, find_named

log = logging.getLogger(__name__)

router = APIRouter(prefix="/api/conversations", tags=["archives"])

Format = Annotated[ExportFormat, Query(alias="format", description="zip and jsonl can be imported again")]


@router.get("/{conversation_id}/export", response_class=StreamingResponse, responses={404: {"model": ErrorBody}})
async def export_conversation(
    store: Store, conversation_id: IdInPath, kind: Format = ExportFormat.ZIP
) -> StreamingResponse:
    """Download a conversation: its files as a zip, as JSON Lines, or as Markdown. Secrets are masked."""
    wanted = ConversationId(conversation_id)
    await store.get_conversation(wanted)
    report = ExportReport()
    named = aiter_of(await find_named(store, [wanted]))
    chunks = export(store.reader, named, kind, report)
    return StreamingResponse(
        _told(chunks, report),
        media_type=kind.media_type,
        headers={"Content-Disposition": f'attachment; filename="{wanted}{kind.suffix}"'},
    )


async def _told(chunks: AsyncIterator[bytes], report: ExportReport) -> AsyncIterator[bytes]:
    """Give the chunks, and say in the log what the export had to leave out."""
    async for chunk in chunks:
        yield chunk
    for conversation_id, left_out in report.left_out:
        log.warning("export of %s leaves out %s: %s", conversation_id, left_out.name, left_out.reason)
