"""Writing to conversations, as agent-server's clients do it: create, rename, tag, fork, navigate, say something.

These routes ignore unknown fields, as agent-server does. Each holds the conversation's lease meanwhile: 409 while
another owner has it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from app.api.bodies import NewConversation
from app.api.parameters import AnyId, ErrorBody, IdInPath, IncludeSkills, Warned, WritableStore, written_response
from app.errors import NeedsAgent
from app.model.ids import ConversationId
from app.model.validation import check_message, make_message

router = APIRouter(
    prefix="/api/conversations", tags=["writing"], responses={409: {"model": ErrorBody}, 422: {"model": ErrorBody}}
)

_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": ErrorBody}}


class Success(BaseModel):
    """What was asked for is done and durable."""

    success: Literal[True] = True
    warning: Warned = None


class UpdateRequest(BaseModel):
    """What to set; tags replace all tags."""

    title: str | None = Field(default=None, min_length=1, max_length=200)
    tags: dict[str, str] | None = None
    archived: bool | None = Field(default=None, description="leave it out of lists that do not ask for archived ones")
    pinned: bool | None = Field(default=None, description="keep it, whatever its age")


class ForkRequest(BaseModel):
    """What the copy is to be."""

    id: AnyId | None = Field(default=None, description="its id; a new one if null")
    title: str | None = Field(default=None, max_length=200)
    tags: dict[str, str] | None = None
    reset_metrics: bool = Field(default=True, description="begin with no cost and no tokens spent")
    from_event_id: str | None = Field(default=None, description="copy only the branch up to this event")


class NavigateRequest(BaseModel):
    """Where to go on from; null is the empty tree."""

    event_id: str | None = None


class Content(BaseModel):
    """A text or images; other fields are ignored."""

    type: Literal["text", "image"] = "text"
    text: str | None = None
    image_urls: list[str] | None = None
    cache_prompt: bool = False


class MessageRequest(BaseModel):
    """A message, which is appended to the log."""

    role: Literal["user", "system", "assistant", "tool"] = "user"
    content: list[Content] = []
    run: bool = Field(default=False, description="true answers 501: no agent runs here")


@router.post(
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
    """Create a conversation; 200 when the id exists already. Its secrets are encrypted or masked.

    409 when something that is no conversation has its place, such as a directory of other files.
    """
    message = request.get("initial_message")
    if isinstance(message, dict) and message.get("run"):
        raise NeedsAgent(_NO_AGENT)
    made = await store.create(request)
    status = 201 if made.is_new else 200
    return await written_response(store, made.id, made.warning, include_skills=include_skills, status=status)


@router.patch("/{conversation_id}", responses=_NOT_FOUND, response_model_exclude_none=True)
async def update_conversation(store: WritableStore, conversation_id: IdInPath, request: UpdateRequest) -> Success:
    """Set title, tags, archive and pin. Appends no event."""
    wanted = ConversationId(conversation_id)
    if request.title is None and request.tags is None:
        done = await store.mark(wanted, archived=request.archived, pinned=request.pinned)
    else:
        async with store.writer(wanted) as conversation:
            done = await conversation.update(
                title=request.title, tags=request.tags, archived=request.archived, pinned=request.pinned
            )
    return Success(warning=done.warning)


@router.delete("/{conversation_id}", responses=_NOT_FOUND, response_model_exclude_none=True)
async def delete_conversation(
    store: WritableStore,
    conversation_id: IdInPath,
    permanent: Annotated[bool, Query(description="remove it for good, instead of into the trash")] = False,
    force: Annotated[bool, Query(description="also when another owner is writing to it")] = False,
) -> Success:
    """Move a conversation into the trash. It is not opened, and can be restored.

    404 for a directory that holds no conversation; it is not touched.
    """
    done = await store.delete(ConversationId(conversation_id), permanent=permanent, force=force)
    return Success(warning=done.warning)


@router.post(
    "/{conversation_id}/fork",
    status_code=201,
    responses=_NOT_FOUND | {201: {"model": dict[str, Any]}},
    response_class=Response,
)
async def fork_conversation(
    store: WritableStore,
    conversation_id: IdInPath,
    request: Annotated[ForkRequest | None, Body()] = None,
    include_skills: IncludeSkills = False,
) -> Response:
    """Copy a conversation, whole or up to an event. The source is only read."""
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


@router.post(
    "/{conversation_id}/navigate",
    responses=_NOT_FOUND | {200: {"model": dict[str, Any]}},
    response_class=Response,
)
async def navigate_conversation(
    store: WritableStore,
    conversation_id: IdInPath,
    request: NavigateRequest,
    include_skills: IncludeSkills = False,
) -> Response:
    """Move HEAD to an event, from which the next one goes on."""
    wanted = ConversationId(conversation_id)
    async with store.writer(wanted) as conversation:
        done = await conversation.navigate(request.event_id)
    return await written_response(store, wanted, done.warning, include_skills=include_skills)


@router.post(
    "/{conversation_id}/events",
    responses=_NOT_FOUND | {501: {"model": ErrorBody}},
    response_model_exclude_none=True,
)
async def send_message(store: WritableStore, conversation_id: IdInPath, request: MessageRequest) -> Success:
    """Append a message."""
    if request.run:
        raise NeedsAgent(_NO_AGENT)
    role, content = check_message(request.model_dump(exclude_none=True))
    async with store.writer(ConversationId(conversation_id)) as conversation:
        done = await conversation.append(make_message(role, content))
    return Success(warning=done.warning)


_NO_AGENT = (
    "convstore keeps conversations and runs no agents: send this to an agent-server, "
    "or leave `run` out to have the message appended"
)
_FOR_AGENTS = (
    "run", "pause", "interrupt", "goal", "goal/stop", "goal/resume", "secrets", "confirmation_policy",
    "security_analyzer", "switch_profile", "switch_llm", "load_plugin", "switch_acp_model", "ask_agent", "condense",
    "children", "generate_title", "runtime/reprovision", "events/respond_to_confirmation",
)  # fmt: skip


async def refuse(conversation_id: IdInPath) -> None:  # noqa: ARG001
    """Answer 501: this needs an agent, and convstore runs none."""
    raise NeedsAgent(_NO_AGENT)


for _name in _FOR_AGENTS:
    router.add_api_route(
        f"/{{conversation_id}}/{_name}", refuse, methods=["POST"], responses={501: {"model": ErrorBody}},
        operation_id=f"refuse_{_name.replace('/', '_')}", status_code=501,
    )  # fmt: skip
