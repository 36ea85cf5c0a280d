"""uvicorn's WebSocket, whose `send` ends only when most of the message is in the operating system's buffer.

A large message is sent in several frames, because uvicorn and the transport would make four copies of it.

uvicorn 0.54 waits before a message is sent, not after it. So a client that does not read would get one whole message
into this process's memory, and that message would not count as being in memory any more. And a connection that uvicorn
closes keeps its unread messages for as long as the client neither reads nor leaves.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

_FRAME_CHARS = 1 << 20
_UNREAD_S = 60.0
"""A client that answers no ping may be taking a large message; it has this long after uvicorn gave it up."""


class DrainedSocket(WebSocketsSansIOProtocol):
    """A WebSocket connection that keeps at most one message in memory, and none of a client that was given up."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's arguments
        super().__init__(*args, **kwargs)
        self._sending = asyncio.Lock()

    async def send(self, message: ASGISendEvent) -> None:
        """Send a message, and wait until the client has taken most of it or has gone."""
        if message["type"] == "websocket.close":
            await self._make_room()
            await super().send(message)
            self.loop.call_later(self.close_timeout, self.transport.abort)
            return
        async with self._sending:  # no other message may come between the frames of one
            text = message.get("text") if message["type"] == "websocket.send" else None
            if text is not None and len(text) > _FRAME_CHARS:
                await self._send_in_frames(text)
            else:
                await super().send(message)
            await self.writable.wait()

    async def _send_in_frames(self, text: str) -> None:
        for offset in range(0, len(text), _FRAME_CHARS):
            await self.writable.wait()
            if self.disconnected or self.close_sent:
                raise ClientDisconnected
            end = offset + _FRAME_CHARS
            send = self.conn.send_continuation if offset else self.conn.send_text
            try:
                send(text[offset:end].encode(), fin=end >= len(text))
            except InvalidState:
                raise ClientDisconnected from None
            self.transport.write(b"".join(self.conn.data_to_send()))

    async def _make_room(self) -> None:
        """Wait for the client to take what was sent, and disconnect a client that does not."""
        try:
            async with asyncio.timeout(self.close_timeout):
                await self.writable.wait()
        except TimeoutError:
            self.transport.abort()

    def keepalive_timeout(self) -> None:
        """Close the connection of a client that has not answered a ping."""
        super().keepalive_timeout()
        self.loop.call_later(_UNREAD_S, self.transport.abort)
