"""Answers that are sent in pieces and end with their client.

If the client disconnects while a piece is being sent, Starlette's StreamingResponse leaves the generator of the pieces
to Python's garbage collector. Until then, the generator would still count as a follower and keep its data in memory. An
anyio task group would do the same, because its frames and the error that cancelled them refer to each other.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Iterable, Mapping
from contextlib import aclosing
from tempfile import SpooledTemporaryFile
from time import monotonic
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

T = TypeVar("T")

_PING_S = 15.0
_PING = b": ping\n\n"
"""A comment line. It keeps proxies from closing a silent connection."""

_EVENT_STREAM = "text/event-stream"
EVENT_STREAM: dict[str, Any] = {
    "content": {
        _EVENT_STREAM: {
            "itemSchema": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("data", "event", "id")},
            }
        }
    }
}
"""The OpenAPI description of such an answer."""

_UNBUFFERED = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
"""By these headers, Caddy (from 2.7 on) does not compress a stream, nginx does not buffer it, and no cache keeps it."""

_ASIDE_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16

_end_line = re.compile(rb"\r\n|\r|\n")


async def run_until_one_ends(*works: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends or fails, and then cancel the others. If one failed, raise its error."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    error = next((one for one in ended if isinstance(one, Exception)), None)
    try:
        if error is not None:
            raise error
    finally:  # an error refers to its frames; a cycle with this frame would keep their data until garbage collection
        del error, ended, tasks


async def until_client_leaves(request: Request, work: Awaitable[T]) -> T:
    """Return the result of some work, which is cancelled if the client disconnects.

    The body of the request must have been read before.

    Raises:
        ClientDisconnect: the client disconnected.
    """
    done: list[T] = []

    async def finish() -> None:
        done.append(await work)

    async def listen() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    await run_until_one_ends(finish(), listen())
    if not done:
        raise ClientDisconnect
    return done.pop()


class StreamedResponse(StreamingResponse):
    """An answer whose generator is closed as soon as the answer ends or the client disconnects."""

    def __init__(
        self, pieces: AsyncGenerator[bytes, None], media_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(pieces, media_type=media_type, headers=headers)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the pieces."""
        async with aclosing(self._pieces):
            await run_until_one_ends(self.stream_response(send), self.listen_for_disconnect(receive))


class Aside:
    """The body of an answer that is made completely before it is sent. A large one is in a temporary file meanwhile.

    So many clients that do not read keep little in memory.
    """

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(_ASIDE_BYTES)  # noqa: SIM115 - the answer closes it
        self.size_bytes = 0

    def write(self, data: bytes) -> None:
        """Append bytes. Much data is written to the disk, so a worker thread calls this then."""
        self._file.write(data)
        self.size_bytes += len(data)

    def close(self) -> None:
        """Drop all that was written."""
        self._file.close()

    def respond(self, media_type: str, headers: Mapping[str, str] | None = None) -> Response:
        """Return the answer with all that was written."""
        if self.size_bytes > _ASIDE_BYTES:
            length = {"Content-Length": str(self.size_bytes)}
            return StreamedResponse(self.pieces(), media_type, {**(headers or {}), **length})
        return Response(self.take(), media_type=media_type, headers=headers)

    def take(self) -> bytes:
        """Return all that was written, and close the file."""
        self._file.seek(0)
        with self._file:
            return self._file.read()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield all that was written, and close the file."""
        self._file.seek(0)
        with self._file:
            while piece := await asyncio.to_thread(self._file.read, _PIECE_BYTES):
                yield piece


def put_aside(pieces: Iterable[bytes], media_type: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer with these bytes, as from an `Aside`."""
    aside = Aside()
    try:
        for piece in pieces:
            aside.write(piece)
    except Exception:
        aside.close()
        raise
    return aside.respond(media_type, headers)


class EventStream(StreamedResponse):
    """Server-sent events, with a comment after each 15 s of silence. An empty piece means that nothing is new."""

    media_type = _EVENT_STREAM

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        super().__init__(_with_pings(pieces), _EVENT_STREAM, _UNBUFFERED)


async def _with_pings(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    sent_at = monotonic()
    async with aclosing(pieces):
        async for piece in pieces:
            now = monotonic()
            if piece or now - sent_at >= _PING_S:
                yield piece or _PING
                sent_at = now


async def sent_event_in_pieces(pieces: AsyncGenerator[bytes, None], event_id: str) -> AsyncGenerator[bytes, None]:
    """Yield one server-sent event whose data comes in pieces."""
    yield b"id: %b\ndata: " % event_id.encode()
    held = b""
    async with aclosing(pieces):
        async for piece in pieces:
            whole = held + piece
            held = b"\r" if whole.endswith(b"\r") else b""  # the line may end with the next piece's first byte
            yield _end_line.sub(b"\ndata: ", whole.removesuffix(held) if held else whole)
    yield _end_line.sub(b"\ndata: ", held) + b"\n\n"


def sent_event(data: bytes, *, event_id: str | None = None, event: str | None = None) -> bytes:
    """Return one server-sent event. As the format requires, each line of `data` becomes its own field."""
    fields = [b"event: %b" % event.encode()] if event is not None else []
    fields.append(b"data: %b" % _end_line.sub(b"\ndata: ", data))
    if event_id is not None:
        fields.append(b"id: %b" % event_id.encode())
    return b"\n".join(fields) + b"\n\n"
