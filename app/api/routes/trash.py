"""The trash: list the deleted conversations, restore one, or remove one or all permanently."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from ... import trail
from ...files.trash import list_older
from ...model.ids import ConversationId, dashed
from ...model.times import format_us, to_us
from ..error_responses import ErrorBody
from ..params import IdToWrite, Store, WritableStore
from ..responses import written_response

router = APIRouter(tags=["trash"], responses={422: {"model": ErrorBody}})


class TrashedConversation(BaseModel):
    """A deleted conversation."""

    id: str
    title: str | None
    deleted_at: str


class TrashPage(BaseModel):
    """The entries of the trash, most recently deleted first."""

    items: list[TrashedConversation]
    total: int


@router.get("/api/trash")
async def list_trash(
    store: Store,
    limit: Annotated[int, Query(gt=0, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> TrashPage:
    """List deleted conversations, which can be restored."""
    entries, total = await store.list_trash(offset, limit)
    items = [
        TrashedConversation(id=dashed(one.id), title=title, deleted_at=format_us(one.deleted_at_us))
        for one, title in entries
    ]
    return TrashPage(items=items, total=total)


class EmptyTrash(BaseModel):
    """Which entries to remove for good: all, or those that were deleted before a time."""

    model_config = ConfigDict(extra="forbid")

    deleted_at__lt: datetime | None = None
    dry_run: bool = Field(default=False, description="return the entries without removing them")


class EmptiedTrash(BaseModel):
    """The conversations that were removed for good, or would be."""

    ids: list[str]
    dry_run: bool = False


@router.post("/api/trash/empty", responses={500: {"model": ErrorBody}})
async def empty_trash(store: WritableStore, request: EmptyTrash | None = None) -> EmptiedTrash:
    """Remove entries of the trash for good, oldest first. This works on a full disk."""
    asked = request or EmptyTrash()
    before_us = to_us(asked.deleted_at__lt) if asked.deleted_at__lt else time.time_ns() // 1000
    if asked.dry_run:
        store.index.require_present()
        entries = await asyncio.to_thread(list_older, store.reader.root, before_us)
        ids = [dashed(one.id) for one in entries]
        trail.mention(ids, dry_run=True)
        return EmptiedTrash(ids=ids, dry_run=True)
    emptied = EmptiedTrash(ids=[])
    async with aclosing(store.empty_trash(before_us)) as removed:
        async for one in removed:
            emptied.ids.append(dashed(one.id))
            trail.mention([dashed(one.id)])
    return emptied


@router.delete("/api/trash", responses={500: {"model": ErrorBody}})
async def delete_trash(store: WritableStore) -> EmptiedTrash:
    """Remove all entries of the trash for good. This works on a full disk."""
    return await empty_trash(store)


@router.delete("/api/trash/{conversation_id}", status_code=204, responses={404: {"model": ErrorBody}})
async def remove_conversation(store: WritableStore, conversation_id: IdToWrite) -> None:
    """Permanently remove the most recently deleted conversation with this id. It cannot be restored."""
    await store.remove_from_trash(ConversationId(conversation_id))


@router.post(
    "/api/conversations/{conversation_id}/restore",
    responses={200: {"model": dict[str, Any]}, 404: {"model": ErrorBody}, 409: {"model": ErrorBody}},
    response_class=Response,
)
async def restore_conversation(store: WritableStore, conversation_id: IdToWrite) -> Response:
    """Restore the most recently deleted conversation with this id."""
    wanted = ConversationId(conversation_id)
    done = await store.restore(wanted)
    return await written_response(store, wanted, done.warning)
