"""The trash: list the deleted conversations, restore one, or remove it permanently."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from ...model.ids import ConversationId, dashed
from ...model.times import format_us
from ..errors import ErrorBody
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
