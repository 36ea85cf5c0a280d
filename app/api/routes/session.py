"""Signing in to the page and out of it."""

from __future__ import annotations

import asyncio
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ...settings import Settings
from ..access.keys import Keys, Right, read_given_key
from ..error_responses import ErrorBody, error_response
from ..headers import API_KEY
from ..sessions import spend_code

router = APIRouter(prefix="/api/session", tags=["server"], responses={401: {"model": ErrorBody}})


class SignIn(BaseModel):
    """A login code, or a key of this server."""

    model_config = ConfigDict(extra="forbid")

    code: str | None = Field(
        default=None, max_length=200, description="the login code in the address that `convstore open` makes"
    )
    key: str | None = Field(default=None, max_length=1000, description="an API key, full or read-only")


class Session(BaseModel):
    """A token to send in place of the key, and the second since 1970 at which it ends."""

    token: str
    expires_at: int
    read_only: Annotated[bool, Field(description="the token was made with a read-only key, so writes are refused")]


def _get_keys(request: Request) -> Keys:
    return cast(Keys, request.app.state.keys)


ServerKeys = Annotated[Keys, Depends(_get_keys)]


@router.post("", status_code=201, responses={201: {"model": Session}}, response_class=Response)
async def sign_in(request: Request, keys: ServerKeys, given: SignIn) -> Response:
    """Exchange a login code, which works once, or the key for a token of 12 hours."""
    settings = cast(Settings, request.app.state.settings)
    key = None if given.key is None else keys.find_key(given.key.encode())
    if key is None and given.code is not None and keys.required:
        key = keys.all[0] if await asyncio.to_thread(spend_code, settings.state_dir, given.code) else None
    if key is None:
        detail = "this code is wrong, expired or already used; `convstore open` makes a new one"
        if given.key is not None:
            detail = "this is not a key of this server"
        return error_response(401, "unauthorized", detail)
    token, expires_at = keys.tokens.make(key)
    session = Session(token=token, expires_at=expires_at, read_only=key.right is Right.READ)
    return Response(session.model_dump_json(), 201, media_type="application/json")


@router.delete("", status_code=204)
async def sign_out(request: Request, keys: ServerKeys) -> Response:
    """End the token that the request brings, for all workers of the server."""
    given = read_given_key(request.scope)
    if keys.tokens.find_signer(given, keys.all) is None:
        return error_response(401, "unauthorized", f"the header {API_KEY} has no token of this server")
    await asyncio.to_thread(keys.tokens.end, given)
    return Response(status_code=204)
