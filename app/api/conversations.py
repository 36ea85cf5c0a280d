"""Conversations: search, count, one, and several by id."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from app.api.parameters import (
    AnyId,
    ErrorBody,
    IdInPath,
    IncludeSkills,
    Limit,
    PageId,
    Store,
    json_response,
    page_response,
)
from app.model.filters import ConversationFilter, Status
from app.model.ids import ConversationId
from app.model.page import SortOrder
from app.store.store import PAGE_MAX

router = APIRouter(prefix="/api/conversations", tags=["conversations"])

StatusQuery = Annotated[Status | None, Query(description="only conversations with this execution status")]


class ConversationPage(BaseModel):
    """A page of ConversationInfo."""

    items: list[dict[str, Any]]
    next_page_id: str | None


class FinalResponse(BaseModel):
    """What the agent said last."""

    response: str


@router.get("/search", responses={200: {"model": ConversationPage}, 400: {"model": ErrorBody}}, response_class=Response)
async def search_conversations(
    store: Store,
    page_id: PageId = None,
    limit: Limit = PAGE_MAX,
    status: StatusQuery = None,
    sort_order: SortOrder = SortOrder.CREATED_AT_DESC,
    include_skills: IncludeSkills = False,
) -> Response:
    """List conversations. Reads the index alone."""
    page = await store.list_conversations(
        ConversationFilter(status), order=sort_order, page_id=page_id, limit=limit, include_skills=include_skills
    )
    return page_response(page.items, page.next_page_id)


@router.get("/count")
async def count_conversations(store: Store, status: StatusQuery = None) -> int:
    """Count conversations under the filters of search."""
    return await store.count_conversations(ConversationFilter(status))


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
