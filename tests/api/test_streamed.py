"""Answers that are sent piece by piece."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from app.api.streamed import (
    EventStream,
    StreamedResponse,
    put_aside,
    run_until_one_ends,
    sent_event,
    until_client_leaves,
)


class _Held:
    """Stands for what a generator holds while a piece is sent."""


async def _never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize(
    ("data", "sent"),
    [
        (b'{"a":1}', b'data: {"a":1}\nid: 7\n\n'),
        (b'{\n"a":\r\n1\r}', b'data: {\ndata: "a":\ndata: 1\ndata: }\nid: 7\n\n'),
    ],
)
def test_each_line_of_an_event_is_a_field(data: bytes, sent: bytes) -> None:
    assert sent_event(data, event_id="7") == sent


def test_an_event_of_a_kind_has_its_name() -> None:
    assert sent_event(b'"x"', event="gone") == b'event: gone\ndata: "x"\n\n'


async def test_work_ends_when_its_client_leaves() -> None:
    cancelled: list[bool] = []

    async def work() -> None:
        try:
            await _never()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    messages: list[Message] = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        return messages.pop()

    with pytest.raises(ClientDisconnect):
        await until_client_leaves(Request({"type": "http"}, receive), work())
    assert cancelled == [True]


async def test_work_of_a_client_that_stays_returns_its_result_or_its_error() -> None:
    request = Request({"type": "http"}, _never)
    assert await until_client_leaves(request, asyncio.sleep(0, "done")) == "done"

    async def fail() -> None:
        raise KeyError("no such thing")

    with pytest.raises(KeyError):
        await until_client_leaves(request, fail())


async def test_what_a_generator_holds_is_free_when_the_client_leaves_while_a_piece_is_sent() -> None:
    closed: list[bool] = []
    held: list[weakref.ref[_Held]] = []
    sending = asyncio.Event()

    async def pieces() -> AsyncGenerator[bytes, None]:
        something = _Held()
        held.append(weakref.ref(something))
        try:
            yield b"a piece"
        finally:
            closed.append(something is not None)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            sending.set()
            await asyncio.Event().wait()

    async def leave() -> Message:
        await sending.wait()
        return {"type": "http.disconnect"}

    gc.disable()
    try:
        await StreamedResponse(pieces(), "text/plain")({"type": "http"}, leave, send)
        await asyncio.sleep(0)
        assert (closed, held[0]()) == ([True], None)
    finally:
        gc.enable()


async def test_silence_is_broken_by_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("app.api.streamed.monotonic", lambda: now)
    got: list[bytes] = []

    async def pieces() -> AsyncGenerator[bytes, None]:
        nonlocal now
        for _ in range(4):
            now += 10
            yield b""

    async def send(message: Message) -> None:
        got.append(message.get("body", b""))

    await EventStream(pieces())({"type": "http"}, _never, send)
    assert [piece for piece in got if piece] == [b": ping\n\n"] * 2


async def test_the_first_error_ends_all() -> None:
    async def fail() -> None:
        raise ValueError("an error")

    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(ValueError, match="an error"):
        await run_until_one_ends(wait(), fail())


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
async def test_an_answer_put_aside_has_all_its_bytes_and_their_number(size: int) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    body = b"x" * size
    answer = put_aside([body[:5], body[5:]], "text/html", {"Cache-Control": "private"})
    await answer({"type": "http"}, _never, send)
    headers = dict(sent[0]["headers"])
    assert (headers[b"content-length"], headers[b"cache-control"]) == (str(size).encode(), b"private")
    assert headers[b"content-type"].startswith(b"text/html")
    assert b"".join(message["body"] for message in sent[1:]) == body
    assert isinstance(answer, StreamedResponse) == (size > 1 << 20)
