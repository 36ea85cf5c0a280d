"""The session socket, the newer WebSocket of a conversation (openhands-agent-server 1.58, session_protocol.py).

Every frame is an envelope. The first is `sync`. Then come the stored events as `durable`, each with its number in the
log, from which a client continues after a lost connection. Frames that are not stored are `transient` or `error`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect

from ...files.log.event_log import RawEvent
from ...model.ids import ConversationId, EventName
from ...store.read.event_reader import EventReader
from ...store.read.reader import StoreReader
from ..params import IdInPath
from ..sockets.conversation_socket import (
    Frames,
    SlowClient,
    State,
    find_changed_state,
    send_text,
    serve_socket,
)
from ..streamed import run_until_one_ends

router = APIRouter(prefix="/sockets", tags=["sockets"])

_SEQ_MAX = 2**62
_FRAME_MAX_BYTES = 4 << 20
_BEHIND_MAX_BYTES = 4 * _FRAME_MAX_BYTES
_ALL_BEHIND_MAX_BYTES = _BEHIND_MAX_BYTES
"""As much waits for all clients together. If there is more, each has one frame."""

_ROOM_WAIT_S = 2.0
"""The seconds after which a client that reads nothing is disconnected. A slow client stays connected."""

_LARGE_S = 60.0
"""The same for a large event, because others wait for its room in memory, and because it takes long to send."""


@router.websocket("/session/{conversation_id}")
async def stream_session(
    socket: WebSocket,
    conversation_id: IdInPath,
    session_api_key: Annotated[str | None, Query()] = None,
    after_seq: Annotated[int | None, Query(ge=-_SEQ_MAX, le=_SEQ_MAX)] = None,
) -> None:
    """Send the events after number `after_seq` (-1: all) and then new ones. Without `after_seq`, send only new ones."""
    outbox = _Outbox(socket)

    async def send(store: StoreReader, one: ConversationId, last: EventName | None) -> None:
        await run_until_one_ends(outbox.send_all(), _put_events(outbox, store, one, last, after_seq))

    async def send_error(code: str, detail: str) -> None:
        await outbox.put(orjson.dumps({"type": "error", "code": code, "detail": detail}))

    await serve_socket(
        socket, ConversationId(conversation_id), session_api_key, send, Frames(send_error, outbox.put_transient)
    )


async def _put_events(
    outbox: _Outbox, store: StoreReader, one: ConversationId, last: EventName | None, after_seq: int | None
) -> None:
    sync = {"type": "sync", "from_seq": after_seq, "through_seq": None if last is None else last.seq}
    await outbox.put(orjson.dumps({name: value for name, value in sync.items() if value is not None}))
    # (number, "") sorts before all events with that number, because no event has an empty id
    after = last if after_seq is None else EventName(max(after_seq, -1) + 1, "")
    known: State | None = None
    log = await store.open_log(one)
    async with aclosing(store.follow(one, after=after, whole=False)) as batches:
        async for batch in batches:
            for stored in batch:
                if stored.large:
                    await _put_large(outbox, log, stored.name)
                else:
                    await outbox.put(_make_frame(stored))
            if batch and last is not None and batch[-1].name < last:
                continue  # agent-server sends the state after the replay
            known, event = await find_changed_state(store, one, known)
            if event is not None:
                await outbox.put_transient(event)


def _make_frame(stored: RawEvent) -> bytes:
    return b'{"type":"durable","seq":%d,"event":%b}' % (stored.name.seq, stored.raw)


async def _put_large(outbox: _Outbox, log: EventReader, name: EventName) -> None:
    """Send a large event after all frames before it. One of them is in memory in this process."""
    if await log.measure(name) > _FRAME_MAX_BYTES:
        raise SlowClient("frame_too_large")
    await outbox.wait_until_sent()
    async with log.whole(name) as loaded:
        if loaded.unreadable is None:
            frame = _make_frame(loaded)
            del loaded
            await outbox.put(frame)
            del frame
            await outbox.wait_until_sent()


class _Outbox:
    """Frames that wait for the client, up to a number of bytes."""

    all_bytes = 0
    """The bytes that wait for all clients of this process."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._waiting: deque[bytes] = deque()
        self._size_bytes = 0
        self._has_ended = False
        self._filled = asyncio.Event()
        self._taken = asyncio.Event()

    async def put(self, frame: bytes) -> None:
        """Add a frame as soon as there is space.

        Raises:
            SlowClient: the frame is too large, or there is no space and the client reads nothing.
            WebSocketDisconnect: no more frames are sent.
        """
        if len(frame) > _FRAME_MAX_BYTES:
            raise SlowClient("frame_too_large")
        while self._size_bytes and not self._has_room(len(frame)):
            await self._wait_for_client(_ROOM_WAIT_S)
        if self._has_ended:
            raise WebSocketDisconnect
        self._waiting.append(frame)
        self._count(len(frame))
        self._filled.set()

    def _has_room(self, size_bytes: int) -> bool:
        alone, together = self._size_bytes + size_bytes, _Outbox.all_bytes + size_bytes
        return alone <= _BEHIND_MAX_BYTES and together <= _ALL_BEHIND_MAX_BYTES

    def _count(self, size_bytes: int) -> None:
        self._size_bytes += size_bytes
        _Outbox.all_bytes += size_bytes

    async def wait_until_sent(self) -> None:
        """Wait until the client has taken all frames.

        Raises:
            SlowClient: the client takes no frame within a minute.
        """
        while self._size_bytes:
            await self._wait_for_client(_LARGE_S)

    async def _wait_for_client(self, within_s: float) -> None:
        """Wait until the client has taken a frame."""
        self._taken.clear()
        try:
            async with asyncio.timeout(within_s):
                await self._taken.wait()
        except TimeoutError:
            raise SlowClient("slow_consumer") from None

    async def put_transient(self, event: dict[str, Any]) -> None:
        """Add a frame with an event that is not in the log."""
        await self.put(orjson.dumps({"type": "transient", "event": event}))

    async def send_all(self) -> None:
        """Send the frames in order until the task is cancelled.

        Raises:
            WebSocketDisconnect: the client has gone.
        """
        try:
            while True:
                while self._waiting:
                    frame = self._waiting.popleft()
                    await send_text(self._socket, frame.decode(errors="replace"))
                    self._count(-len(frame))
                    self._taken.set()
                self._filled.clear()
                await self._filled.wait()
        finally:
            self._waiting.clear()  # the close frame may have to wait for the client, up to 40 s
            self._count(-self._size_bytes)
            self._has_ended = True
