"""A conversation's events as server-sent events: those that are there, then those to come, each once, in log order."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.api.parameters import ErrorBody, IdInPath, Store
from app.errors import ConversationNotFound, StoreError
from app.model.ids import ConversationId, EventName

log = logging.getLogger(__name__)

router = APIRouter(prefix="/api/conversations/{conversation_id}/events", tags=["events"])


@contextmanager
def ending(what: str) -> Iterator[None]:
    """End a stream at an error of the store: its answer has begun, so only a client that comes back gets a status."""
    try:
        yield
    except ConversationNotFound:
        return
    except StoreError as error:
        log.warning("a stream of %s ends: %s", what, error)


async def _start(
    store: Store,
    conversation_id: IdInPath,
    after: Annotated[str | None, Query(description="id of an event: only those after it; `latest`: only new")] = None,
    last_event_id: Annotated[str | None, Header(description="the same, as a browser sends it; wins")] = None,
) -> EventName | None:
    """Find the place to begin at, before the answer begins, so that what is wrong gets its status."""
    store.followers.require_room()
    log = await store.open_log(ConversationId(conversation_id))
    begin = last_event_id or after
    if begin is None:
        return None
    return await log.find_last() if begin == "latest" else await log.get_name(begin)


@router.get(
    "/stream", response_class=EventSourceResponse, responses={404: {"model": ErrorBody}, 503: {"model": ErrorBody}}
)
async def stream_events(
    store: Store, conversation_id: IdInPath, start: Annotated[EventName | None, Depends(_start)]
) -> AsyncIterator[ServerSentEvent]:
    """Send a conversation's events as they come. `id` is the event's id, so that `Last-Event-ID` goes on after it."""
    with ending(f"conversation {conversation_id}"):
        async with aclosing(store.follow(ConversationId(conversation_id), after=start)) as batches:
            async for batch in batches:
                for event in batch:
                    yield ServerSentEvent(raw_data=event.raw.decode(errors="replace"), id=event.name.event_id)
