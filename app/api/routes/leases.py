"""Leases of clients: claim, renew and release. `POST .../events/batch` appends under a lease."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ...files.lease import TTL_S, Lease
from ...model.ids import ConversationId
from ..error_responses import ErrorBody
from ..params import IdToWrite, WritableStore

router = APIRouter(
    prefix="/api/conversations/{conversation_id}",
    tags=["owning"],
    responses={404: {"model": ErrorBody}, 409: {"model": ErrorBody}, 422: {"model": ErrorBody}},
)

_TTL_MAX_S = 3600.0


def _require_no_server_name(owner: str) -> str:
    if owner.startswith("convstore-"):
        raise ValueError("names that begin with convstore- are reserved for servers; choose another name")
    return owner


Owner = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="the client's name, which no other client uses"),
    AfterValidator(_require_no_server_name),
]
Generation = Annotated[int, Field(ge=1, description="the generation in the answer to the claim")]
Ttl = Annotated[float, Field(gt=0, le=_TTL_MAX_S, description="the seconds until the lease must be renewed")]


class Claim(BaseModel):
    """A claim. If `owner` is null, a name is created."""

    model_config = ConfigDict(extra="forbid")

    owner: Owner | None = None
    ttl_s: Ttl = TTL_S
    force: bool = Field(default=False, description="take over from an owner that is alive; its next write is refused")


class Renewal(BaseModel):
    """A renewal of the client's own lease."""

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
    """The conversation has no owner now, or another owner."""

    success: bool = True


@router.post("/lease")
async def claim_lease(store: WritableStore, conversation_id: IdToWrite, request: Claim | None = None) -> LeaseBody:
    """Become the conversation's owner. Answers 409 if another owner has it."""
    asked = request or Claim()
    owner = asked.owner or f"client-{secrets.token_hex(8)}"
    return _body(await store.claim(ConversationId(conversation_id), owner, ttl_s=asked.ttl_s, force=asked.force))


@router.put("/lease")
async def renew_lease(store: WritableStore, conversation_id: IdToWrite, request: Renewal) -> LeaseBody:
    """Extend the lease. Answers 409 if another owner has taken over."""
    held = Lease(request.owner, request.generation, 0.0)
    return _body(await store.renew(ConversationId(conversation_id), held, ttl_s=request.ttl_s))


@router.delete("/lease")
async def release_lease(
    store: WritableStore,
    conversation_id: IdToWrite,
    owner: Annotated[Owner, Query()],
    generation: Annotated[int, Query(ge=1)],
) -> Released:
    """Release the lease."""
    await store.release(ConversationId(conversation_id), Lease(owner, generation, 0.0))
    return Released()


def _body(lease: Lease) -> LeaseBody:
    return LeaseBody(owner=lease.owner, generation=lease.generation, expires_at=lease.expires_at)
