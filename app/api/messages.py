"""Full-text search over what was said."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from app.api.parameters import ErrorBody, Limit, PageId, Store, json_response

router = APIRouter(prefix="/api/messages", tags=["messages"])

INDEXED_HEADER = "X-Text-Indexed"
"""Of how many conversations the text is known, and how many there are: `1000/2500`."""

_DEFAULT_LIMIT = 20

Text = Annotated[
    str,
    Query(description='words, "exact phrases", -excluded ones, OR between two; the last word may be only begun'),
]


class MessageHit(BaseModel):
    """A message or a title that holds what was looked for. A title has source "title" and no event.

    The snippet is HTML: the words stand between <mark> and </mark>, all else is escaped.
    """

    conversation_id: str
    title: str | None
    event_id: str | None
    seq: int | None
    source: str
    timestamp: str | None
    score: float
    snippet: str


class TextIndexed(BaseModel):
    """Of how many conversations the text is known, and how many there are."""

    conversations: int
    total: int


class MessagePage(BaseModel):
    """Hits, the best first. `truncated`: there are more matches than the newest 5,000, which were ranked."""

    items: list[MessageHit]
    next_page_id: str | None
    truncated: bool
    text_indexed: TextIndexed


@router.get(
    "/search",
    responses={200: {"model": MessagePage}, 400: {"model": ErrorBody}, 422: {"model": ErrorBody}},
    response_class=Response,
)
async def search_messages(store: Store, q: Text, page_id: PageId = None, limit: Limit = _DEFAULT_LIMIT) -> Response:
    """Find what was said, in any conversation. Reads the index alone."""
    page = await store.search_messages(q, page_id=page_id, limit=limit)
    response = json_response(orjson.dumps(page.as_json()))
    response.headers[INDEXED_HEADER] = f"{page.indexed}/{page.conversations}"
    return response
