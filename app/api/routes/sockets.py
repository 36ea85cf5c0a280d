"""The WebSocket of a conversation's events, as openhands-agent-server 1.58 has it (sockets.py), for RemoteConversation.

After authentication the first frame is the whole state, which is not in the log. Then come the events that the client
asks for again, and then new events. Each event is sent once, in log order.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Annotated, Any, Literal, cast
from uuid import uuid4

import orjson
from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect
from starlette.websockets import WebSocketState

from app.api.auth import Keys
from app.api.headers import API_KEY
from app.api.streamed import run_until_one_ends
from app.errors import ConversationNotFound, InvalidId, StoreError, TooManyFollowers
from app.model.filters import EventFilter
from app.model.ids import ConversationId, EventName, parse_conversation_id
from app.model.times import to_us
from app.store.read.event_reader import EventReader
from app.store.read.reader import StoreReader

log = logging.getLogger(__name__)

router = APIRouter(prefix="/sockets", tags=["sockets"])

UNAUTHORIZED = 4001
NOT_FOUND = 4004
TRY_AGAIN = 1013
STOPPING = 1012
"""Close codes of agent-server 1.58; its client does not come back after the first two."""

_AUTH_TIMEOUT_S = 10.0
_REPLAY_BATCH = 100
_CHANGED_BY_EVENTS = ("event_count", "last_event_at", "updated_at", "leaf_event_id", "stats", "cost", "tokens")


@router.websocket("/events/{conversation_id}")
async def stream_events(
    socket: WebSocket,
    conversation_id: str,
    resend_mode: Annotated[Literal["all", "since"] | None, Query()] = None,
    after_timestamp: Annotated[datetime | None, Query()] = None,
    resend_all: Annotated[bool, Query(deprecated=True)] = False,
) -> None:
    """Send a conversation's state, then its events: all, those not before `after_timestamp`, or only those to come."""
    try:
        admitted = await _authenticate(socket)
    except WebSocketDisconnect:
        return
    if not admitted:
        await _close(socket, UNAUTHORIZED, "Authentication failed")
        return
    store = cast(StoreReader, socket.app.state.store)
    since_us = None
    if resend_mode == "since" and after_timestamp is not None:
        since_us = to_us(after_timestamp, store.reader.zone)
    everything = resend_mode == "all" or (resend_mode is None and resend_all)
    try:
        one = parse_conversation_id(conversation_id)
        await run_until_one_ends(_send(socket, store, one, since_us, everything=everything), _receive(socket))
    except WebSocketDisconnect:
        return
    except (InvalidId, ConversationNotFound):
        await _close(socket, NOT_FOUND, "Conversation not found")
    except TooManyFollowers:
        await _close(socket, TRY_AGAIN, "Too many connections")
    except StoreError as error:
        log.warning("a socket of conversation %s is closed: %s", one, error)
        await _close(socket, TRY_AGAIN, "Try again later")
    else:
        await _close(socket, STOPPING, "The server stops")


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    """Close a socket, unless its client has closed it already."""
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.close(code, reason)


async def _send_text(socket: WebSocket, text: str) -> None:
    """Send a frame.

    Raises:
        WebSocketDisconnect: the client has gone.
    """
    if socket.application_state is WebSocketState.DISCONNECTED:
        raise WebSocketDisconnect
    await socket.send_text(text)


async def _authenticate(socket: WebSocket) -> bool:
    """Accept the socket and return whether it has a valid key, in its header or in its first frame."""
    keys: Keys = socket.app.state.keys
    await socket.accept()
    if not keys.required:
        return True
    given = socket.headers.get(API_KEY)
    if given is not None:
        return keys.admit(given.encode())
    try:
        first = orjson.loads(await asyncio.wait_for(socket.receive_text(), _AUTH_TIMEOUT_S))
    except (TimeoutError, orjson.JSONDecodeError, WebSocketDisconnect, KeyError):
        return False
    match first:
        case {"type": "auth", "session_api_key": str(key)}:
            return keys.admit(key.encode())
    return False


async def _send(
    socket: WebSocket, store: StoreReader, one: ConversationId, since_us: int | None, *, everything: bool
) -> None:
    """Send the state and the events until the server stops.

    Raises:
        WebSocketDisconnect: the client has gone.
        StoreError: the conversation is gone, or cannot be read.
    """
    log = await store.open_log(one)
    last = await log.find_last()
    sent = await _send_state(socket, store, one, None)
    if since_us is not None and last is not None:
        await _resend(socket, log, since_us, last)
    async with aclosing(store.follow(one, after=None if everything else last)) as batches:
        async for batch in batches:
            for event in batch:
                await _send_text(socket, event.raw.decode(errors="replace"))
            sent = await _send_state(socket, store, one, sent)


async def _send_state(
    socket: WebSocket, store: StoreReader, one: ConversationId, sent: dict[str, Any] | None
) -> dict[str, Any]:
    """Send the whole state if it differs from `sent`, and return it; both lack the fields that every event changes."""
    info: dict[str, Any] = orjson.loads(await store.get_conversation(one))
    now = {name: value for name, value in info.items() if name not in _CHANGED_BY_EVENTS}
    if now != sent:
        await _send_text(socket, orjson.dumps(_state_event(info)).decode())
    return now


def _state_event(info: dict[str, Any]) -> dict[str, Any]:
    """Return a ConversationStateUpdateEvent of the whole state, as openhands-sdk 1.58 defines it."""
    return {
        "id": str(uuid4()),
        "timestamp": datetime.now().isoformat(),  # noqa: DTZ005 - event times are naive server-local text
        "source": "environment",
        "key": "full_state",
        "value": {name: value for name, value in info.items() if value is not None},
        "kind": "ConversationStateUpdateEvent",
    }


async def _resend(socket: WebSocket, log: EventReader, since_us: int, last: EventName) -> None:
    """Send the readable events from a time on, up to `last`."""
    asked = EventFilter(timestamp_gte_us=since_us)
    after: EventName | None = None
    while batch := await log.list_after(asked, after, _REPLAY_BATCH):
        for event in batch:
            if event.name > last:
                return
            if event.unreadable is None:
                await _send_text(socket, event.raw.decode(errors="replace"))
        after = batch[-1].name


async def _receive(socket: WebSocket) -> None:
    """Read frames until the client goes away. A frame is answered with an error, because messages come by POST."""
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        if not _is_auth(message.get("text") or ""):
            await _send_text(socket, orjson.dumps(_refusal()).decode())
    raise WebSocketDisconnect


def _is_auth(text: str) -> bool:
    try:
        frame = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return isinstance(frame, dict) and frame.get("type") == "auth"


def _refusal() -> dict[str, Any]:
    return {
        "id": str(uuid4()),
        "timestamp": datetime.now().isoformat(),  # noqa: DTZ005
        "source": "environment",
        "code": "not_implemented",
        "detail": "convstore runs no agents; send messages with POST /api/conversations/{id}/events and run: false",
        "kind": "ServerErrorEvent",
    }
