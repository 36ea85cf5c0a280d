"""The common parts of a conversation's two WebSockets: the key, messages from the client, and close codes.

Source: openhands-agent-server 1.58, sockets.py and session_socket.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import datetime
from http import HTTPStatus
from typing import Any, NamedTuple, cast
from uuid import uuid4

import orjson
from fastapi import WebSocket, WebSocketDisconnect
from starlette.websockets import WebSocketState

from ...errors import ConversationNotFound, InvalidConversation, StoreError, TooManyFollowers
from ...model.agent_server.base import validate
from ...model.agent_server.message_request import SocketMessage
from ...model.ids import ConversationId, EventName
from ...store.read.reader import StoreReader
from ...store.store import ConversationStore
from ...trail import Act
from ..access.audit import Audit
from ..access.keys import Keys, read_given_key, require_full_key
from ..error_responses import STATUS_OF, note_conflict
from ..streamed import run_until_one_ends

log = logging.getLogger(__name__)

UNAUTHORIZED = 4001
NOT_FOUND = 4004
TRY_AGAIN = 1013
STOPPING = 1012
"""The close codes of agent-server 1.58. Its client does not reconnect after the first two."""

State = dict[str, Any]

_CHANGED_BY_EVENTS = ("event_count", "last_event_at", "updated_at", "leaf_event_id", "stats", "cost", "tokens")
_AUTH_TIMEOUT_S = 10.0
_AUTH_FIELDS = frozenset({"type", "session_api_key"})

NOTHING_RUNS = (
    "Your message is saved in the conversation. Nobody answers it here: convstore keeps conversations and runs no "
    "agents. To go on, open this conversation in an agent-server."
)


class SlowClient(Exception):
    """The client does not read its frames, or a frame is too large. The message is the reason for closing."""


class Frames(NamedTuple):
    """The functions by which a socket sends frames that are not in the log."""

    send_error: Callable[[str, str], Awaitable[None]]
    """Sends the code and detail of a failed client request."""
    send_notice: Callable[[dict[str, Any]], Awaitable[None]]
    """Sends an event that is shown to the user but not stored."""


Send = Callable[[ConversationStore, ConversationId, EventName | None], Coroutine[Any, Any, None]]
"""Sends frames to the client. It gets the last event that was in the log before a message of the client was read."""


async def serve_socket(
    socket: WebSocket, conversation_id: ConversationId, key: str | None, send: Send, frames: Frames
) -> None:
    """Authenticate, then run `send` and take messages until one of them ends; close with the code for its reason."""
    if not await authenticate(socket, key):
        return
    store = cast(ConversationStore, socket.app.state.store)
    try:
        last = await (await store.open_log(conversation_id)).find_last()
        await run_until_one_ends(send(store, conversation_id, last), _receive(socket, store, conversation_id, frames))
    except WebSocketDisconnect:
        return
    except ConversationNotFound:
        await _close(socket, NOT_FOUND, "Conversation not found")
    except TooManyFollowers:
        await _close(socket, TRY_AGAIN, "Too many connections")
    except SlowClient as error:
        await _close(socket, TRY_AGAIN, str(error))
    except StoreError as error:
        log.warning("a socket of conversation %s was closed: %s", conversation_id, error)
        await _close(socket, TRY_AGAIN, "Try again later")
    else:
        await _close(socket, STOPPING, "The server stops")


async def send_text(socket: WebSocket, text: str) -> None:
    """Send a frame.

    Raises:
        WebSocketDisconnect: the client has gone.
    """
    if socket.application_state is WebSocketState.DISCONNECTED:
        raise WebSocketDisconnect
    await socket.send_text(text)


def make_environment_event(kind: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return an event with source `environment` that is sent to clients but not stored."""
    now = datetime.now().isoformat()  # noqa: DTZ005 - event times are naive server-local text
    return {"id": str(uuid4()), "timestamp": now, "source": "environment", **fields, "kind": kind}


async def find_changed_state(
    store: StoreReader, one: ConversationId, known: State | None
) -> tuple[State, dict[str, Any] | None]:
    """Return a conversation's state, and an event with the whole state or None if it equals `known`.

    The returned state and `known` lack the fields that every event changes.
    """
    info: dict[str, Any] = orjson.loads(await store.get_conversation(one))
    now = {name: value for name, value in info.items() if name not in _CHANGED_BY_EVENTS}
    if now == known:
        return now, None
    value = {name: value for name, value in info.items() if value is not None}
    return now, make_environment_event("ConversationStateUpdateEvent", key="full_state", value=value)


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    """Close a socket if its client has not closed it. Before it is accepted, the client gets 403."""
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.close(code, reason)


async def authenticate(socket: WebSocket, key: str | None) -> bool:
    """Accept a socket with a valid key in its query, its header or its first frame, or close it; return which.

    A wrong key in the query or the header is refused before the socket is accepted.
    """
    try:
        admitted = await _has_key(socket, key)
    except WebSocketDisconnect:
        return False
    if not admitted:
        await _close(socket, UNAUTHORIZED, "Authentication failed")
    return admitted


async def _has_key(socket: WebSocket, key: str | None) -> bool:
    keys: Keys = socket.app.state.keys
    given = key.encode(errors="replace") if key is not None else read_given_key(socket.scope) or None
    if keys.required and given is not None:
        socket.scope["key"] = keys.find(given)
        if socket.scope["key"] is None:
            return _refuse_key(socket)
    await socket.accept()
    if keys.required and given is None:
        socket.scope["key"] = keys.find(await _receive_key(socket))
    return not keys.required or socket.scope["key"] is not None or _refuse_key(socket)


def _refuse_key(socket: WebSocket) -> bool:
    """Write the audit line of a refused key, and return False."""
    _audit(socket, Act.REFUSED_KEY, HTTPStatus.UNAUTHORIZED)
    return False


def _audit(socket: WebSocket, act: Act, status: int) -> None:
    audit: Audit = socket.app.state.audit
    route = getattr(socket.scope.get("route"), "path", "socket")
    audit.record(socket.scope, act, "SOCKET", route, status)


async def _receive_key(socket: WebSocket) -> bytes:
    """Return the key in the first frame, or b"" if that is another kind of frame or does not arrive in time."""
    try:
        async with asyncio.timeout(_AUTH_TIMEOUT_S):
            first = orjson.loads(await socket.receive_text())
    except (TimeoutError, orjson.JSONDecodeError, WebSocketDisconnect, KeyError):
        return b""
    match first:
        case {"type": "auth", "session_api_key": str(key)}:
            return key.encode()
    return b""


async def _receive(socket: WebSocket, store: ConversationStore, one: ConversationId, frames: Frames) -> None:
    """Append the client's messages until the client disconnects. Other frames are answered with an error.

    The error codes are those of agent-server.
    """
    while (received := await socket.receive())["type"] != "websocket.disconnect":
        try:
            frame = orjson.loads(received.get("text") or "")
            if isinstance(frame, dict) and frame.get("type") == "auth" and frame.keys() <= _AUTH_FIELDS:
                continue
            require_full_key(socket.scope)
            await _append(store, one, frame)
        except orjson.JSONDecodeError as error:
            await frames.send_error(
                "JSONDecodeError", f"a frame must be a message as JSON; this one is not JSON: {error}"
            )
        except InvalidConversation as error:
            await frames.send_error("ValidationError", str(error))
        except StoreError as error:
            note_conflict(store.index.note, error)
            _audit(socket, Act.WRITE, STATUS_OF[error.code])
            await frames.send_error(error.code, f"Your message is not saved: {error}")
        else:
            _audit(socket, Act.WRITE, HTTPStatus.OK)
            notice = make_environment_event("ConversationErrorEvent", code="NoAgent", detail=NOTHING_RUNS)
            await frames.send_notice(notice)
    raise WebSocketDisconnect


async def _append(store: ConversationStore, one: ConversationId, frame: object) -> None:
    """Append a user's message. Like agent-server, a socket accepts no other events."""
    if not isinstance(frame, dict) or frame.get("role") != "user":
        raise InvalidConversation('a frame must be a user message: {"role": "user", "content": [...]}')
    message = validate(SocketMessage, frame)
    async with store.writer(one) as conversation:
        await conversation.append_message(message)
