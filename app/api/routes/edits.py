"""Which conversations changed a file."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from ...store.read.index_reader import PAGE_MAX
from ..params import Limit, Store

router = APIRouter(prefix="/api/edits", tags=["conversations"])

Path = Annotated[str, Query(min_length=1, max_length=4096, description="the path as the agent's tool names it")]


class EditBody(BaseModel):
    """An event that changed the file. `link` is an address of the page."""

    conversation_id: str
    title: str | None
    preview: str | None
    seq: int
    event_id: str
    timestamp: str | None
    path: str
    link: str


class Edits(BaseModel):
    """The changes of a file, the latest first; `more` means that there are earlier ones."""

    items: list[EditBody]
    more: bool


@router.get("")
async def list_edits(store: Store, path: Path, limit: Limit = PAGE_MAX) -> Edits:
    """List the events of all conversations in which an editor, a patch or an ACP agent changed a file.

    What a command in a terminal changed is not known. Reads only the index.
    """
    found = await store.list_edits([path], limit + 1)
    return Edits(items=[EditBody(**one.as_json()) for one in found[:limit]], more=len(found) > limit)
