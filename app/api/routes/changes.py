"""The change feed: conversations that changed or were deleted since a token, as JSON or as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import BaseModel

from ...errors import ChangesGone
from ...model.change_token import ChangeToken, ListChange, parse_change_token
from ...model.ids import dashed
from ...model.page import View
from ...store.read.index_reader import PAGE_MAX
from ..error_responses import ErrorBody
from ..params import Limit, Store, ViewParameter
from ..responses import ending_stream, json_response
from ..streamed import EVENT_STREAM, EventStream, sent_event

router = APIRouter(prefix="/api/changes", tags=["changes"])

_WAIT_MAX_S = 60
_SILENCE_S = 15.0
_RESPONSES: dict[int | str, dict[str, Any]] = {400: {"model": ErrorBody}, 410: {"model": ErrorBody}}


class ChangedConversation(BaseModel):
    """A conversation in its current state, as ConversationInfo or a short row, or null if it was deleted."""

    id: str
    conversation: dict[str, Any] | None


class ChangesBody(BaseModel):
    """Changes in order. `next` is the token to continue with; `more` means that more changes already exist."""

    items: list[ChangedConversation]
    next: str
    more: bool


Since = Annotated[
    str | None, Query(description="`next` of the previous answer; `now`: only future changes; none: all conversations")
]


async def _find_start(
    store: Store,
    since: Since = None,
    last_event_id: Annotated[
        str | None, Header(description="the same as `since`, sent by browsers that reconnect; takes precedence")
    ] = None,
) -> ChangeToken | None:
    token = last_event_id or since
    if token == "now":  # noqa: S105 - a word, no secret
        return await store.get_place()
    return None if token is None else parse_change_token(token)


Start = Annotated[ChangeToken | None, Depends(_find_start)]


async def _find_stream_start(store: Store, start: Start) -> ChangeToken | None:
    """Check the request before the answer begins, so that an error still gets its status."""
    store.followers.require_room()
    await store.list_changes(start, 1)
    return start


@router.get("", responses={200: {"model": ChangesBody}, **_RESPONSES}, response_class=Response)
async def list_changes(
    request: Request,
    store: Store,
    start: Start,
    limit: Limit = PAGE_MAX,
    wait: Annotated[int, Query(ge=0, le=_WAIT_MAX_S, description="the seconds to wait if there is no change yet")] = 0,
    view: ViewParameter = View.FULL,
) -> Response:
    """Return the changes since a token. 410 means that the client must list everything again; see `detail`."""
    if wait:
        page = await store.wait_for_changes(start, limit, wait, request.is_disconnected, view)
    else:
        page = await store.list_changes(start, limit, view)
    rest = orjson.dumps({"next": page.next.token, "more": page.more})
    return json_response(b'{"items":[%b],%b' % (b",".join(map(_item, page.items)), rest[1:]))


@router.get("/stream", response_class=EventStream, status_code=200, responses={200: EVENT_STREAM, **_RESPONSES})
async def stream_changes(
    store: Store,
    start: Annotated[ChangeToken | None, Depends(_find_stream_start)],
    view: ViewParameter = View.FULL,
) -> EventStream:
    """Send the changes since a token and then future ones. `id` is the token to continue with.

    An event `gone` is the last one: the index was rebuilt, and the client must list everything again.
    """
    return EventStream(_follow(store, start, view))


async def _follow(store: Store, start: ChangeToken | None, view: View) -> AsyncGenerator[bytes, None]:
    with ending_stream("the changes"):
        async with aclosing(store.follow_changes(start, PAGE_MAX, _SILENCE_S, view)) as pages:
            try:
                async for page in pages:
                    if not page.items:
                        yield b""
                    for change in page.items:
                        yield sent_event(_item(change), event_id=change.place.token)
            except ChangesGone as error:
                yield sent_event(orjson.dumps(str(error)), event="gone")


def _item(change: ListChange) -> bytes:
    info = b"null" if change.info is None else change.info
    return b'{"id":"%b","conversation":%b}' % (dashed(change.id).encode(), info)
