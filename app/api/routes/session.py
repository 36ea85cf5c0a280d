"""Signing in to the page and out of it."""

from __future__ import annotations

import asyncio
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ...settings import Settings
from ..auth import Keys
from ..errors import ErrorBody, error_response
from ..headers import API_KEY, join_header
from ..sessions import spend_code

router = APIRouter(prefix="/api/session", tags=["server"], responses={401: {"model": ErrorBody}})


class SignIn(BaseModel):
    """A login code, or a key of this server."""

    model_config = ConfigDict(extra="forbid")

    code: str | None = Field(
        default=None, max_length=200, description="the login code in the address that `convstore open` makes"
    )
    key: str | None = Field(default=None, max_length=1000, description="the API key")


class Session(BaseModel):
    """A token to send in place of the key, and the second since 1970 at which it ends."""

    token: str
    expires_at: int


def _get_keys(request: Request) -> Keys:
    return cast(Keys, request.app.state.keys)


ServerKeys = Annotated[Keys, Depends(_get_keys)]


@router.post("", status_code=201, responses={201: {"model": Session}}, response_class=Response)
async def sign_in(request: Request, keys: ServerKeys, given: SignIn) -> Response:
    """Exchange a login code, which works once, or the key for a token of 12 hours."""
    settings = cast(Settings, request.app.state.settings)
    if given.key is not None and keys.admit_key(given.key.encode()):
        signed_in = True
    else:
        signed_in = given.code is not None and await asyncio.to_thread(spend_code, settings.state_dir, given.code)
    if not (signed_in and keys.required):
        detail = "this code is wrong, expired or already used; `convstore open` makes a new one"
        if given.key is not None:
            detail = "this is not a key of this server"
        return error_response(401, "unauthorized", detail)
    token, expires_at = keys.tokens.make()
    return Response(Session(token=token, expires_at=expires_at).model_dump_json(), 201, media_type="application/json")


@router.delete("", status_code=204)
async def sign_out(request: Request, keys: ServerKeys) -> Response:
    """End the token that the request brings, for all workers of the server."""
    given = join_header(request.scope, API_KEY.lower().encode())
    if not keys.tokens.admit(given):
        return error_response(401, "unauthorized", f"the header {API_KEY} has no token of this server")
    await asyncio.to_thread(keys.tokens.end, given)
    return Response(status_code=204)
