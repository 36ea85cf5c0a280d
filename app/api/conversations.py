"""Conversations: search, count, one, and several by id."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from app.api.filtering import FacetQuery, FilterQuery
from app.api.hot import Endpoint, HotQuery
from app.api.parameters import (
    AnyId,
    ErrorBody,
    IdInPath,
    IncludeSkills,
    Store,
    TextIndexed,
    json_response,
    page_response,
    tell_indexed,
)
from app.model.ids import ConversationId
from app.model.page import SortOrder
from app.store.read.reader import PAGE_MAX

router = APIRouter(prefix="/api/conversations", tags=["conversations"])


class ConversationPage(BaseModel):
    """A page of ConversationInfo. With `q` it says how far the text is known.

    `truncated`, by relevance: there were more matches than the newest 5,000, which are ranked.
    """

    items: list[dict[str, Any]]
    next_page_id: str | None
    truncated: bool = False
    text_indexed: TextIndexed | None = None


class FinalResponse(BaseModel):
    """What the agent said last."""

    response: str


class FacetValue(BaseModel):
    """How many conversations have a value."""

    value: str
    count: int


class FacetBody(BaseModel):
    """The commonest values, biggest count first; how many conversations have no value, and how many another one."""

    values: list[FacetValue]
    null: int
    other: int


class FacetsBody(BaseModel):
    """How many conversations there are, and how many by each facet's values."""

    count: int
    facets: dict[str, FacetBody]


class SearchQuery(FilterQuery):
    """The parameters of search."""

    page_id: str | None = Field(default=None, description="next_page_id of the page before")
    limit: int = Field(default=PAGE_MAX, gt=0, le=PAGE_MAX, description="the most items in the page")
    sort_order: SortOrder = SortOrder.CREATED_AT_DESC
    include_skills: bool = Field(
        default=False, description="send agent.agent_context.skills too; opens the page's files"
    )

    @property
    def of_the_index_alone(self) -> bool:
        """Whether no file is read for it, and the time of day does not matter."""
        return super().of_the_index_alone and not self.include_skills


@router.get("/search", responses={200: {"model": ConversationPage}, 400: {"model": ErrorBody}}, response_class=Response)
async def search_conversations(store: Store, query: Annotated[SearchQuery, Query()]) -> Response:
    """List conversations. Reads the index alone."""
    page = await store.list_conversations(
        query.asked,
        order=query.sort_order,
        page_id=query.page_id,
        limit=query.limit,
        include_skills=query.include_skills,
    )
    if query.q is None:
        return page_response(page.items, page.next_page_id)
    indexed, total = await store.count_text()
    told = {"conversations": indexed, "total": total}
    response = page_response(page.items, page.next_page_id, truncated=page.truncated, text_indexed=told)
    tell_indexed(response, indexed, total)
    return response


@router.get("/count", responses={200: {"model": int}}, response_class=Response)
async def count_conversations(store: Store, query: Annotated[FilterQuery, Query()]) -> Response:
    """Count conversations under the filters of search."""
    response = json_response(b"%d" % await store.count_conversations(query.asked))
    if query.q is not None:
        tell_indexed(response, *await store.count_text())
    return response


@router.get("/facets", responses={200: {"model": FacetsBody}}, response_class=Response)
async def count_facets(store: Store, query: Annotated[FacetQuery, Query()]) -> Response:
    """Count conversations by status, model, tag and the like, under the filters of search."""
    found = await store.count_facets(query.facets, query.asked, limit=query.limit)
    response = json_response(orjson.dumps(found.as_json()))
    if query.q is not None:
        tell_indexed(response, *await store.count_text())
    return response


@router.get("/{conversation_id}", responses={200: {"model": dict[str, Any]}, 404: {"model": ErrorBody}})
async def get_conversation(store: Store, conversation_id: IdInPath, include_skills: IncludeSkills = False) -> Response:
    """Return one conversation, after a look at whether its files changed."""
    return json_response(await store.get_conversation(ConversationId(conversation_id), include_skills=include_skills))


@router.get("", responses={200: {"model": list[dict[str, Any] | None]}})
async def find_conversations(
    store: Store, ids: Annotated[list[AnyId], Query(max_length=99)], include_skills: IncludeSkills = False
) -> Response:
    """Return several conversations in the order asked, null for each that does not exist."""
    found = await store.find_conversations([ConversationId(i) for i in ids], include_skills=include_skills)
    return json_response(b"[%b]" % b",".join(b"null" if body is None else body for body in found))


@router.get("/{conversation_id}/agent_final_response", responses={404: {"model": ErrorBody}})
async def get_final_response(store: Store, conversation_id: IdInPath) -> FinalResponse:
    """Return the agent's last finish message or message, "" when there is none."""
    return FinalResponse(response=await store.get_final_response(ConversationId(conversation_id)))


HOT_PATHS: dict[str, tuple[Endpoint, type[HotQuery]]] = {
    "/api/conversations/search": (search_conversations, SearchQuery),
    "/api/conversations/count": (count_conversations, FilterQuery),
    "/api/conversations/facets": (count_facets, FacetQuery),
}
"""What `app.api.hot` answers without FastAPI."""
