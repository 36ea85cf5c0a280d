"""Owning a conversation from afar: a client claims its lease, renews it, and writes batches under its generation."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.api.bodies import AnyEvent
from app.api.parameters import ErrorBody, IdInPath, Warned, WritableStore
from app.errors import InvalidConversation
from app.files.lease import TTL_S, Lease
from app.model.ids import ConversationId

router = APIRouter(
    prefix="/api/conversations/{conversation_id}",
    tags=["owning"],
    responses={404: {"model": ErrorBody}, 409: {"model": ErrorBody}, 422: {"model": ErrorBody}},
)

_TTL_MAX_S = 3600.0
_BATCH_MAX = 1000


def _no_server(owner: str) -> str:
    if owner.startswith("convstore-"):
        raise ValueError("names that begin with convstore- are those of servers; choose another")
    return owner


Owner = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="the client's name, its own alone"),
    AfterValidator(_no_server),
]
Generation = Annotated[int, Field(ge=1, description="the generation that the claim gave")]
Ttl = Annotated[float, Field(gt=0, le=_TTL_MAX_S, description="seconds until it must be renewed")]


class Claim(BaseModel):
    """A claim; `owner` null makes a name."""

    model_config = ConfigDict(extra="forbid")

    owner: Owner | None = None
    ttl_s: Ttl = TTL_S
    force: bool = Field(default=False, description="take it over from an owner who lives; its next write is refused")


class Renewal(BaseModel):
    """A renewal of one's own lease."""

    model_config = ConfigDict(extra="forbid")

    owner: Owner
    generation: Generation
    ttl_s: Ttl = TTL_S


class LeaseBody(BaseModel):
    """A lease. `expires_at` is in seconds since 1970."""

    owner: str
    generation: int
    expires_at: float


class Released(BaseModel):
    """The lease is nobody's, or another's."""

    success: bool = True


class Batch(BaseModel):
    """Events to append with one acknowledgement; with owner and generation, under that client's lease."""

    model_config = ConfigDict(extra="forbid")

    events: list[AnyEvent] = Field(min_length=1, max_length=_BATCH_MAX)
    owner: Owner | None = None
    generation: Generation | None = None


class AppendedEvent(BaseModel):
    """An event that is in the log, durably."""

    seq: int
    event_id: str


class BatchAnswer(BaseModel):
    """The events in their order."""

    items: list[AppendedEvent]
    warning: Warned = None


@router.post("/lease")
async def claim_lease(store: WritableStore, conversation_id: IdInPath, request: Claim | None = None) -> LeaseBody:
    """Become the conversation's owner; 409 while another one is."""
    asked = request or Claim()
    owner = asked.owner or f"client-{secrets.token_hex(8)}"
    return _body(await store.claim(ConversationId(conversation_id), owner, ttl_s=asked.ttl_s, force=asked.force))


@router.put("/lease")
async def renew_lease(store: WritableStore, conversation_id: IdInPath, request: Renewal) -> LeaseBody:
    """Stay the conversation's owner; 409 when another one is by now."""
    held = Lease(request.owner, request.generation, 0.0)
    return _body(await store.renew(ConversationId(conversation_id), held, ttl_s=request.ttl_s))


@router.delete("/lease")
async def release_lease(
    store: WritableStore,
    conversation_id: IdInPath,
    owner: Annotated[Owner, Query()],
    generation: Annotated[int, Query(ge=1)],
) -> Released:
    """Give the lease back."""
    await store.release(ConversationId(conversation_id), Lease(owner, generation, 0.0))
    return Released()


@router.post("/events/batch", status_code=201, response_model_exclude_none=True)
async def append_batch(store: WritableStore, conversation_id: IdInPath, request: Batch) -> BatchAnswer:
    """Append events of any kind, durably; a missing id, timestamp and parent are filled."""
    if (request.owner is None) != (request.generation is None):
        raise InvalidConversation("owner and generation go together: both, or neither")
    held = None
    if request.owner is not None and request.generation is not None:
        held = Lease(request.owner, request.generation, 0.0)
    async with store.writer(ConversationId(conversation_id), held=held) as conversation:
        done = await conversation.append_batch(request.events)
    items = [AppendedEvent(seq=one.seq, event_id=one.event_id) for one in done]
    return BatchAnswer(items=items, warning=done[0].warning)


def _body(lease: Lease) -> LeaseBody:
    return LeaseBody(owner=lease.owner, generation=lease.generation, expires_at=lease.expires_at)
