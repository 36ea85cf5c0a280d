"""Full-text search over messages and titles."""

from __future__ import annotations

from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...model.filters import Archived
from ...model.ids import ConversationId
from ...model.page import HitOrder
from ...store.read.index_reader import PAGE_MAX
from ..error_responses import ErrorBody
from ..params import Store
from ..query_filters import SUBAGENTS, AnyId, FilterQuery
from ..responses import TextIndexed, json_response, set_text_indexed

router = APIRouter(prefix="/api/messages", tags=["messages"])

_DEFAULT_LIMIT = 20


class MessageQuery(FilterQuery):
    """The search text, and filters for the conversations. Unknown filters are refused, as for facets."""

    model_config = ConfigDict(extra="forbid")

    q: str = Field(
        description='words, "exact phrases", -excluded words, OR between words; the last word may be incomplete'
    )
    conversation_id: AnyId | None = Field(
        default=None, description="only in this conversation, even if archived; not allowed with other filters"
    )
    order: HitOrder = Field(
        default=HitOrder.RELEVANCE, description="seq: in the order of the log, with `total`; needs `conversation_id`"
    )
    subagents: Archived = Field(default=Archived.ANY, description=SUBAGENTS)
    page_id: str | None = Field(default=None, description="`next_page_id` of the previous page")
    limit: int = Field(default=_DEFAULT_LIMIT, gt=0, le=PAGE_MAX, description="the maximum number of items in the page")

    @model_validator(mode="after")
    def _require_no_filter_within(self) -> MessageQuery:
        if self.conversation_id is None and self.order is HitOrder.SEQ:
            raise ValueError("order=seq needs conversation_id: hits of several conversations have no common order")
        others = sorted(self.model_fields_set - {"q", "look_in", "conversation_id", "order", "page_id", "limit"})
        if self.conversation_id is not None and others:
            raise ValueError(f"conversation_id searches one conversation; leave out {', '.join(others)}")
        return self


class MessageHit(BaseModel):
    """A message or title that matches. A title has source "title" and no event.

    The snippet is HTML: matches are inside <mark> and </mark>, all other text is escaped.
    """

    conversation_id: str
    title: str | None
    preview: str | None = Field(description="the beginning of the first user message of the conversation")
    parent_conversation_id: str | None = Field(
        description="the parent of the conversation, such as that of a sub-agent"
    )
    event_id: str | None
    seq: int | None
    source: str
    timestamp: str | None
    score: float
    snippet: str


class MessagePage(BaseModel):
    """Hits, best first. `truncated`: more than 5,000 messages matched, and only the newest 5,000 were ranked."""

    items: list[MessageHit]
    next_page_id: str | None
    truncated: bool
    searched: list[Literal["titles", "said", "tools", "tool_outputs"]] = Field(
        description="the texts that were searched; `tools` are their commands, paths and errors, `tool_outputs` all "
        "their input and output, which are in the index with CONVSTORE_SEARCH_TOOLS"
    )
    text_indexed: TextIndexed
    total: int | None = Field(default=None, description="the number of hits on all pages; only with order=seq")


@router.get(
    "/search",
    responses={
        200: {"model": MessagePage},
        400: {"model": ErrorBody},
        404: {"model": ErrorBody},
        422: {"model": ErrorBody},
    },
    response_class=Response,
)
async def search_messages(store: Store, query: Annotated[MessageQuery, Query()]) -> Response:
    """Search messages and titles of all conversations, or the messages of one. Reads only the index."""
    if query.conversation_id is None:
        page = await store.search_messages(query.q, query.conversation_filter, page_id=query.page_id, limit=query.limit)
    else:
        wanted = ConversationId(query.conversation_id)
        page = await store.find_in_conversation(
            wanted, query.q, order=query.order, look_in=query.look_in, page_id=query.page_id, limit=query.limit
        )
    response = json_response(orjson.dumps(page.as_json()))
    set_text_indexed(response, page.indexed, page.conversations)
    return response
