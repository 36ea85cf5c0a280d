"""Conversations: get one or several; create, update, delete, fork and navigate. Search and counts are in `lists`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import BaseModel, Field

from ...model.filters import Status
from ...model.ids import ConversationId
from ...model.info import RUNTIME_INFO
from ..error_responses import ErrorBody
from ..openapi import NewConversation
from ..params import IdInPath, IdToWrite, IncludeSkills, Store, WritableStore
from ..query_filters import AnyId, FacetQuery, FilterQuery
from ..responses import (
    Indexed,
    Success,
    TextIndexed,
    json_response,
    written_response,
)
from ..streamed import Aside, put_aside, until_client_leaves
from . import lists
from .agents import needs_agent
from .lists import SearchQuery

router = APIRouter(prefix="/api/conversations", tags=["conversations"])

# Agent-server's write routes ignore unknown fields, as agent-server does. Each holds the conversation's lease while it
# works, and answers 409 while another owner has it.
write_router = APIRouter(
    prefix="/api/conversations", tags=["writing"], responses={409: {"model": ErrorBody}, 422: {"model": ErrorBody}}
)

_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": ErrorBody}}


class ConversationRow(BaseModel):
    """A conversation in `view=row`, about 500 bytes.

    `preview` is the first user text, at most 200 characters. `cost` and `tokens` are 0 if none were recorded.
    `error_count` is the number of AgentErrorEvents and ConversationErrorEvents. `children` is the number of children.
    """

    id: str
    title: str | None
    preview: str | None
    status: Status
    workspace: str | None
    model: str | None
    tags: dict[str, str]
    cost: float
    tokens: int
    event_count: int
    error_count: int
    children: int
    created_at: datetime
    updated_at: datetime
    last_event_at: datetime
    archived: bool
    pinned: bool
    unreadable: str | None
    owner: str | None
    parent: str | None
    forked_from: str | None


class ConversationPage(BaseModel):
    """A page of ConversationInfo, or of short rows. With `q`, it also says how many have their text indexed.

    `truncated` (by relevance): more than 5,000 messages matched, and only the newest 5,000 are ranked.
    """

    items: list[dict[str, Any]] | list[ConversationRow]
    next_page_id: str | None
    indexed: Indexed | None = None
    truncated: bool = False
    text_indexed: TextIndexed | None = None


class Side(BaseModel):
    """One of two conversations."""

    conversation: dict[str, Any]
    outline: dict[str, Any]
    final_response: str


class Comparison(BaseModel):
    """Two conversations in the requested order."""

    items: list[Side]


class FinalResponse(BaseModel):
    """The agent's final response."""

    response: str


class RuntimeInfo(BaseModel):
    """The state of a conversation's runtime, as in agent-server."""

    runtime_status: Literal["available"]
    can_resume: bool
    runtime_error: None


class FacetValue(BaseModel):
    """A value, and the number of conversations that have it; with `sum`, also their cost and tokens."""

    value: str
    count: int
    cost: float | None = None
    tokens: int | None = None


class FacetBody(BaseModel):
    """The most frequent values, and the numbers of conversations with no value and with any other value."""

    values: list[FacetValue]
    null: int
    other: int


class FacetsBody(BaseModel):
    """The number of all matching conversations, and the counts for each facet."""

    count: int
    facets: dict[str, FacetBody]
    indexed: Indexed | None = None


class UpdateRequest(BaseModel):
    """The fields to set. `tags` replaces all tags."""

    title: str | None = Field(default=None, min_length=1, max_length=200)
    tags: dict[str, str] | None = None
    archived: bool | None = Field(
        default=None, description="hide it from lists unless they ask for archived conversations"
    )
    pinned: bool | None = Field(default=None, description="never prune it")


class ForkRequest(BaseModel):
    """The properties of the copy."""

    id: AnyId | None = Field(default=None, description="the id of the copy; null creates a new one")
    title: str | None = Field(default=None, max_length=200)
    tags: dict[str, str] | None = None
    reset_metrics: bool = Field(default=True, description="start with zero cost and tokens")
    from_event_id: str | None = Field(default=None, description="copy only the branch up to this event")


class NavigateRequest(BaseModel):
    """The event to continue from. Null means before the first event."""

    event_id: str | None = None


@router.get("/search", responses={200: {"model": ConversationPage}, 400: {"model": ErrorBody}}, response_class=Response)
async def search_conversations(store: Store, query: Annotated[SearchQuery, Query()]) -> Response:
    """List conversations. Reads only the index."""
    return await lists.search_conversations(store, query)


@router.get("/count", responses={200: {"model": int}}, response_class=Response)
async def count_conversations(store: Store, query: Annotated[FilterQuery, Query()]) -> Response:
    """Count conversations under the filters of search."""
    return await lists.count_conversations(store, query)


@router.get("/facets", responses={200: {"model": FacetsBody}}, response_class=Response)
async def count_facets(store: Store, query: Annotated[FacetQuery, Query()]) -> Response:
    """Count conversations by status, model, tag and so on, under the filters of search."""
    return await lists.count_facets(store, query)


@router.get("/compare", responses=_NOT_FOUND | {200: {"model": Comparison}}, response_class=Response)
async def compare_conversations(request: Request, store: Store, a: AnyId, b: AnyId) -> Response:
    """Return two conversations side by side: each with its outline and its final response."""
    sides = []
    for one in (a, b):
        wanted = ConversationId(one)
        body = await store.get_conversation(wanted)
        outline = orjson.dumps((await store.get_outline(wanted)).as_json())
        head = b'{"conversation":%b,"outline":%b,"final_response":' % (body, outline)
        sides.append((head, await store.open_log(wanted)))
    answer = Aside()
    for before, (head, log) in zip((b'{"items":[', b"},"), sides, strict=True):
        answer.write(before + head)
        work = log.work_on_final_response(lambda text: answer.write(orjson.dumps(text)))
        await until_client_leaves(request, work)
    answer.write(b"}]}")
    return answer.respond("application/json")


@router.get("/{conversation_id}", responses={200: {"model": dict[str, Any]}, 404: {"model": ErrorBody}})
async def get_conversation(store: Store, conversation_id: IdInPath, include_skills: IncludeSkills = False) -> Response:
    """Return one conversation, after checking whether its files changed."""
    return json_response(await store.get_conversation(ConversationId(conversation_id), include_skills=include_skills))


@router.get("", responses={200: {"model": list[dict[str, Any] | None]}})
async def find_conversations(
    store: Store, ids: Annotated[list[AnyId], Query(max_length=99)], include_skills: IncludeSkills = False
) -> Response:
    """Return several conversations in the requested order, with null for each that does not exist."""
    found = await store.find_conversations([ConversationId(i) for i in ids], include_skills=include_skills)
    return json_response(b"[%b]" % b",".join(b"null" if body is None else body for body in found))


@router.get(
    "/{conversation_id}/agent_final_response",
    responses={200: {"model": FinalResponse}, 404: {"model": ErrorBody}},
    response_class=Response,
)
async def get_final_response(request: Request, store: Store, conversation_id: IdInPath) -> Response:
    """Return the agent's last finish message or plain message, or "" if there is none."""
    log = await store.open_log(ConversationId(conversation_id))
    work = log.work_on_final_response(
        lambda text: put_aside([b'{"response":', orjson.dumps(text), b"}"], "application/json")
    )
    return await until_client_leaves(request, work)


@router.get("/{conversation_id}/outline", responses={200: {"model": dict[str, Any]}, 404: {"model": ErrorBody}})
async def get_outline(store: Store, conversation_id: IdInPath) -> Response:
    """Return counts by kind and tool, a user's turns, marks and bins of the log. Reads the index alone."""
    outline = await store.get_outline(ConversationId(conversation_id))
    return json_response(orjson.dumps(outline.as_json()))


@router.get("/{conversation_id}/runtime", responses=_NOT_FOUND)
async def get_runtime(store: Store, conversation_id: IdInPath) -> RuntimeInfo:
    """Return the state of the conversation's runtime, which agent-server reports as available without a container."""
    await store.get_conversation(ConversationId(conversation_id))
    return RuntimeInfo.model_validate(RUNTIME_INFO)


@write_router.post(
    "",
    status_code=201,
    responses={200: {"model": dict[str, Any]}, 201: {"model": dict[str, Any]}, 501: {"model": ErrorBody}},
    response_class=Response,
)
async def create_conversation(
    store: WritableStore,
    request: NewConversation,
    include_skills: IncludeSkills = False,
) -> Response:
    """Create a conversation. Answers 200 if its id already exists. Its secrets are encrypted or masked.

    Answers 409 if its directory's name is used by something other than a conversation.
    """
    message = request.get("initial_message")
    if isinstance(message, dict) and message.get("run"):
        raise needs_agent("run a new conversation", "to create it, leave `run` out of its first message")
    made = await store.create(request)
    status = 201 if made.is_new else 200
    return await written_response(store, made.id, made.warning, include_skills=include_skills, status=status)


@write_router.patch("/{conversation_id}", responses=_NOT_FOUND, response_model_exclude_none=True)
async def update_conversation(store: WritableStore, conversation_id: IdToWrite, request: UpdateRequest) -> Success:
    """Set title, tags, archived and pinned. Appends no event."""
    wanted = ConversationId(conversation_id)
    if request.title is None and request.tags is None:
        done = await store.mark(wanted, archived=request.archived, pinned=request.pinned)
    else:
        async with store.writer(wanted) as conversation:
            done = await conversation.update(
                title=request.title, tags=request.tags, archived=request.archived, pinned=request.pinned
            )
    return Success(warning=done.warning)


@write_router.delete("/{conversation_id}", responses=_NOT_FOUND, response_model_exclude_none=True)
async def delete_conversation(
    store: WritableStore,
    conversation_id: IdToWrite,
    permanent: Annotated[bool, Query(description="remove it permanently instead of moving it into the trash")] = False,
    force: Annotated[bool, Query(description="also if it has another owner")] = False,
) -> Success:
    """Move a conversation into the trash. Its files are not opened, and it can be restored.

    Answers 404 for a directory that is not a conversation, and does not touch it.
    """
    done = await store.delete(ConversationId(conversation_id), permanent=permanent, force=force)
    return Success(warning=done.warning)


@write_router.post("/{conversation_id}/runtime/reprovision", responses=_NOT_FOUND)
async def reprovision_runtime(store: Store, conversation_id: IdInPath) -> RuntimeInfo:
    """Return the state of the conversation's runtime. Does nothing, because there is no runtime."""
    return await get_runtime(store, conversation_id)


@write_router.post(
    "/{conversation_id}/fork",
    status_code=201,
    responses=_NOT_FOUND | {201: {"model": dict[str, Any]}},
    response_class=Response,
)
async def fork_conversation(
    store: WritableStore,
    conversation_id: IdToWrite,
    request: Annotated[ForkRequest | None, Body()] = None,
    include_skills: IncludeSkills = False,
) -> Response:
    """Copy a conversation completely, or up to an event. Only reads the source."""
    asked = request or ForkRequest()
    made = await store.fork(
        ConversationId(conversation_id),
        fork_id=None if asked.id is None else ConversationId(asked.id),
        title=asked.title,
        tags=asked.tags,
        reset_metrics=asked.reset_metrics,
        from_event_id=asked.from_event_id,
    )
    return await written_response(store, made.id, made.warning, include_skills=include_skills, status=201)


@write_router.post(
    "/{conversation_id}/navigate",
    responses=_NOT_FOUND | {200: {"model": dict[str, Any]}},
    response_class=Response,
)
async def navigate_conversation(
    store: WritableStore,
    conversation_id: IdToWrite,
    request: NavigateRequest,
    include_skills: IncludeSkills = False,
) -> Response:
    """Move HEAD to an event; the next event follows it."""
    wanted = ConversationId(conversation_id)
    async with store.writer(wanted) as conversation:
        done = await conversation.navigate(request.event_id)
    return await written_response(store, wanted, done.warning, include_skills=include_skills)
