"""The socket of a conversation's events, as openhands-agent-server 1.58 has it (sockets.py), for RemoteConversation.

After authentication the first frame is the whole state, which is not in the log; then the events that the client asks
for again, then those to come, each once and in log order.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any, Literal, cast
from uuid import uuid4

import orjson
from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect

from app.api.auth import HEADER, Keys
from app.errors import ConversationNotFound, InvalidId, TooManyFollowers
from app.model.filters import EventFilter
from app.model.ids import ConversationId, EventName, parse_conversation_id
from app.model.times import to_us
from app.store.events import Log
from app.store.store import ConversationStore

router = APIRouter(prefix="/sockets", tags=["sockets"])

UNAUTHORIZED = 4001
NOT_FOUND = 4004
TRY_AGAIN = 1013
"""Close codes of agent-server 1.58; its client does not come back after the first two."""

_AUTH_TIMEOUT_S = 10.0
_REPLAY_BATCH = 100
_MOVES_WITH_EVENTS = ("event_count", "last_event_at", "updated_at", "leaf_event_id", "stats", "cost", "tokens")


@router.websocket("/events/{conversation_id}")
async def stream_events(
    socket: WebSocket,
    conversation_id: str,
    resend_mode: Annotated[Literal["all", "since"] | None, Query()] = None,
    after_timestamp: Annotated[datetime | None, Query()] = None,
) -> None:
    """Send a conversation's state, then its events: all, those not before `after_timestamp`, or only those to come."""
    if not await _admitted(socket):
        await socket.close(UNAUTHORIZED, "Authentication failed")
        return
    store = cast(ConversationStore, socket.app.state.store)
    try:
        one = parse_conversation_id(conversation_id)
        log = await store.open_log(one)
    except (InvalidId, ConversationNotFound):
        await socket.close(NOT_FOUND, "Conversation not found")
        return
    since_us = None
    if resend_mode == "since" and after_timestamp is not None:
        since_us = to_us(after_timestamp, store.reader.zone)
    sending = asyncio.create_task(_send(socket, store, one, log, since_us, everything=resend_mode == "all"))
    try:
        await _receive(socket)
    finally:
        sending.cancel()
        await asyncio.wait([sending])


async def _admitted(socket: WebSocket) -> bool:
    """Accept the socket and say whether it carries a key: in its header, or in its first frame."""
    keys: Keys = socket.app.state.keys
    await socket.accept()
    if not keys.required:
        return True
    given = socket.headers.get(HEADER)
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
    socket: WebSocket,
    store: ConversationStore,
    one: ConversationId,
    log: Log,
    since_us: int | None,
    *,
    everything: bool,
) -> None:
    """Send until the client goes away or the conversation is gone, then close the socket."""
    try:
        last = await log.find_last()
        shown = await _send_state(socket, store, one, None)
        if since_us is not None and last is not None:
            await _resend(socket, log, since_us, last)
        async with aclosing(store.follow(one, after=None if everything else last)) as batches:
            async for batch in batches:
                for event in batch:
                    await socket.send_text(event.raw.decode(errors="replace"))
                shown = await _send_state(socket, store, one, shown)
    except ConversationNotFound:
        await socket.close(NOT_FOUND, "Conversation not found")
    except TooManyFollowers:
        await socket.close(TRY_AGAIN, "Too many connections")
    except WebSocketDisconnect:
        return


async def _send_state(
    socket: WebSocket, store: ConversationStore, one: ConversationId, shown: dict[str, Any] | None
) -> dict[str, Any]:
    """Send the whole state if it is not the one that was sent last, apart from what every event moves; return it."""
    info: dict[str, Any] = orjson.loads(await store.get_conversation(one))
    now = {name: value for name, value in info.items() if name not in _MOVES_WITH_EVENTS}
    if now != shown:
        await socket.send_text(orjson.dumps(_state_event(info)).decode())
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


async def _resend(socket: WebSocket, log: Log, since_us: int, last: EventName) -> None:
    """Send the events up to `last` that are not before a time."""
    asked = EventFilter(timestamp_gte_us=since_us)
    after: EventName | None = None
    while batch := await log.list_after(asked, after, _REPLAY_BATCH):
        for event in batch:
            if event.name > last:
                return
            if event.unreadable is None:
                await socket.send_text(event.raw.decode(errors="replace"))
        after = batch[-1].name


async def _receive(socket: WebSocket) -> None:
    """Read what the client sends until it goes away; messages come by POST, so a frame is answered with an error."""
    try:
        while True:
            text = await socket.receive_text()
            if not _is_auth(text):
                await socket.send_text(orjson.dumps(_refusal()).decode())
    except (WebSocketDisconnect, RuntimeError, KeyError):
        return


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
