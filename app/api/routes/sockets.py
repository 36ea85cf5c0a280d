"""The WebSocket of a conversation's events, as in openhands-agent-server 1.58 (sockets.py), for RemoteConversation.

After authentication, the first frame is the whole state, which is not in the log. Then come the earlier events that the
client requested, and then new events. Each event is sent once, in log order. The client's messages are appended.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, WebSocket

from ...files.log.event_log import RawEvent
from ...model.filters import EventFilter
from ...model.ids import ConversationId, EventName
from ...model.times import to_us
from ...store.read.event_reader import EventReader
from ...store.read.reader import StoreReader
from ..params import IdInPath
from ..sockets.conversation_socket import (
    Frames,
    SlowClient,
    State,
    find_changed_state,
    make_environment_event,
    send_text,
    serve_socket,
)

router = APIRouter(prefix="/sockets", tags=["sockets"])

_REPLAY_BATCH = 100
_LARGE_S = 60.0
"""A client that has not taken a large event by then is left: others wait for its room in memory."""


@router.websocket("/events/{conversation_id}")
async def stream_events(
    socket: WebSocket,
    conversation_id: IdInPath,
    session_api_key: Annotated[str | None, Query()] = None,
    resend_mode: Annotated[Literal["all", "since"] | None, Query()] = None,
    after_timestamp: Annotated[datetime | None, Query()] = None,
    resend_all: Annotated[bool, Query(deprecated=True)] = False,
) -> None:
    """Send a conversation's state and then its events: all, those from `after_timestamp` on, or only new ones."""
    everything = resend_mode == "all" or (resend_mode is None and resend_all)
    since = after_timestamp if resend_mode == "since" else None

    async def send(store: StoreReader, one: ConversationId, last: EventName | None) -> None:
        await _send(socket, store, one, last, since, everything=everything)

    async def send_error(code: str, detail: str) -> None:
        await send_event(make_environment_event("ServerErrorEvent", code=code, detail=detail))

    async def send_event(event: dict[str, Any]) -> None:
        await send_text(socket, orjson.dumps(event).decode())

    await serve_socket(socket, ConversationId(conversation_id), session_api_key, send, Frames(send_error, send_event))


async def _send(
    socket: WebSocket,
    store: StoreReader,
    one: ConversationId,
    last: EventName | None,
    since: datetime | None,
    *,
    everything: bool,
) -> None:
    """Send the state and the events until the server stops.

    Raises:
        WebSocketDisconnect: the client has gone.
        StoreError: the conversation was deleted or cannot be read.
    """
    log = await store.open_log(one)
    sent = await _send_state(socket, store, one, None)
    if since is not None and last is not None:
        await _resend(socket, log, to_us(since, store.reader.zone), last)
    async with aclosing(store.follow(one, after=None if everything else last, whole=False)) as batches:
        async for batch in batches:
            for event in batch:
                await _send_event(socket, log, event)
            sent = await _send_state(socket, store, one, sent)


async def _send_event(socket: WebSocket, log: EventReader, event: RawEvent) -> None:
    if not event.large:
        await send_text(socket, event.raw.decode(errors="replace"))
        return
    async with log.whole(event.name) as loaded:
        if loaded.unreadable is None:
            text = loaded.raw.decode(errors="replace")
            del loaded  # sending makes more copies
            try:
                async with asyncio.timeout(_LARGE_S):  # `wait_for` leaves the bytes in a cycle of references
                    await send_text(socket, text)
            except TimeoutError:
                raise SlowClient("Too slow for a large event") from None


async def _send_state(socket: WebSocket, store: StoreReader, one: ConversationId, sent: State | None) -> State:
    """Send the whole state if it differs from `sent`, and return it."""
    state, event = await find_changed_state(store, one, sent)
    if event is not None:
        await send_text(socket, orjson.dumps(event).decode())
    return state


async def _resend(socket: WebSocket, log: EventReader, since_us: int, last: EventName) -> None:
    """Send the readable events from a time on, up to `last`."""
    asked = EventFilter(timestamp_gte_us=since_us)
    after: EventName | None = None
    while batch := await log.list_after(asked, after, _REPLAY_BATCH):
        for event in batch:
            if event.name > last:
                return
            if event.unreadable is None:
                await _send_event(socket, log, event)
        after = batch[-1].name
