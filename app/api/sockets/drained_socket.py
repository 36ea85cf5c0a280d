"""uvicorn's WebSocket, whose `send` ends only when most of the message is in the operating system's buffer.

uvicorn 0.54 waits before a message is sent, not after it. So a client that does not read would get one whole message
into this process's memory, and that message would not count as being in memory any more. And a connection that uvicorn
closes keeps its unread messages for as long as the client neither reads nor leaves.
"""

from __future__ import annotations

import asyncio

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

_UNREAD_S = 60.0
"""A client that answers no ping may be taking a large message; it has this long after uvicorn gave it up."""


class DrainedSocket(WebSocketsSansIOProtocol):
    """A WebSocket connection that keeps at most one message in memory, and none of a client that was given up."""

    async def send(self, message: ASGISendEvent) -> None:
        """Send a message, and wait until the client has taken most of it or has gone."""
        closes = message["type"] == "websocket.close"
        if closes:
            await self._make_room()
        await super().send(message)
        if closes:
            self.loop.call_later(self.close_timeout, self.transport.abort)
        else:
            await self.writable.wait()

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
