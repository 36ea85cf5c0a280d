"""What both WebSockets of a conversation do: they ask for the key, and append the messages of their client."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from app.model.ids import EventName
from app.store.read.event_reader import EventReader
from tests.api.clients import HEADERS, KEY, ONE, close_code, frame, http_client, listening
from tests.builders import make_conversation, make_id

BOTH = pytest.mark.parametrize("name", ["events", "session"])
HELLO = {"role": "user", "content": [{"type": "text", "text": "hello", "cache_prompt": False}], "sender": None}


async def until(connection: ClientConnection, kind: str) -> dict[str, Any]:
    """Return the next event or frame of this kind, out of its envelope."""
    while True:
        got: dict[str, Any] = await frame(connection)
        event = got.get("event", got)
        if kind in (event.get("kind"), event.get("type")):
            return dict(event)


async def refusal(url: str, **options: Any) -> int:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, **options):
            pass
    return refused.value.response.status_code


@BOTH
async def test_a_key_is_taken_from_query_header_or_first_frame(root: Path, name: str) -> None:
    make_conversation(root)
    async with listening(root) as host:
        url = f"ws://{host}/sockets/{name}/{ONE}"
        async with connect(f"{url}?session_api_key={KEY}") as connection:
            assert (await until(connection, "ConversationStateUpdateEvent"))["key"] == "full_state"
        async with connect(url, additional_headers=HEADERS) as connection:
            assert (await until(connection, "ConversationStateUpdateEvent"))["key"] == "full_state"
        async with connect(url) as connection:
            await connection.send(json.dumps({"type": "auth", "session_api_key": KEY}))
            assert (await until(connection, "ConversationStateUpdateEvent"))["key"] == "full_state"


@BOTH
async def test_a_wrong_key_is_refused_before_the_socket_is_accepted(root: Path, name: str) -> None:
    make_conversation(root)
    async with listening(root) as host:
        url = f"ws://{host}/sockets/{name}/{ONE}"
        assert await refusal(f"{url}?session_api_key=wrong") == 403
        assert await refusal(f"{url}?session_api_key=") == 403
        assert await refusal(url, additional_headers={"X-Session-API-Key": "wrong"}) == 403
        assert await refusal(f"{url}?session_api_key=wrong", additional_headers=HEADERS) == 403


@BOTH
async def test_an_id_that_is_none_is_refused_before_the_socket_is_accepted(root: Path, name: str) -> None:
    async with listening(root) as host:
        assert await refusal(f"ws://{host}/sockets/{name}/no-id", additional_headers=HEADERS) == 403


@BOTH
async def test_an_unknown_conversation_and_a_wrong_first_frame_close(root: Path, name: str) -> None:
    make_conversation(root)
    async with listening(root) as host:
        async with connect(f"ws://{host}/sockets/{name}/{make_id(9)}?session_api_key={KEY}") as connection:
            assert await close_code(connection) == 4004
        async with connect(f"ws://{host}/sockets/{name}/{ONE}") as connection:
            await connection.send(json.dumps({"type": "auth", "session_api_key": "wrong"}))
            assert await close_code(connection) == 4001


@BOTH
@pytest.mark.parametrize("more", [{}, {"type": "auth"}, {"content": "hello"}])
async def test_a_message_is_appended_and_the_user_reads_that_nobody_answers(
    root: Path, name: str, more: dict[str, Any]
) -> None:
    make_conversation(root)
    async with listening(root) as host, http_client(host) as client:
        async with connect(f"ws://{host}/sockets/{name}/{ONE}?session_api_key={KEY}") as connection:
            await until(connection, "ConversationStateUpdateEvent")
            await connection.send(json.dumps(HELLO | more))
            got = [await until(connection, "ConversationErrorEvent")]
        page = (await client.get(f"/api/conversations/{ONE}/events/search")).json()["items"]
    message = page[-1]
    assert (message["kind"], message["source"]) == ("MessageEvent", "user")
    assert message["llm_message"]["role"] == "user"
    assert message["llm_message"]["content"][0]["text"] == "hello"
    assert got[0]["id"] not in [event["id"] for event in page]
    assert got[0]["detail"].startswith("Your message is saved")


@BOTH
async def test_a_message_comes_back_to_the_socket_that_sent_it(root: Path, name: str) -> None:
    make_conversation(root)
    async with (
        listening(root) as host,
        connect(f"ws://{host}/sockets/{name}/{ONE}?session_api_key={KEY}") as connection,
    ):
        await until(connection, "ConversationStateUpdateEvent")
        await connection.send(json.dumps(HELLO))
        assert (await until(connection, "MessageEvent"))["llm_message"]["content"][0]["text"] == "hello"


WRONG = [
    ("{", "JSONDecodeError"),
    (b"\x00\xff", "JSONDecodeError"),
    ("[]", "ValidationError"),
    ("{}", "ValidationError"),
    ('{"role": "assistant", "content": []}', "ValidationError"),
    ('{"role": "user", "content": [{"type": "video"}]}', "ValidationError"),
]


@BOTH
@pytest.mark.parametrize(("sent", "code"), WRONG)
async def test_another_frame_gets_an_error_and_the_socket_goes_on(
    root: Path, name: str, sent: str | bytes, code: str
) -> None:
    make_conversation(root)
    async with (
        listening(root) as host,
        connect(f"ws://{host}/sockets/{name}/{ONE}?session_api_key={KEY}") as connection,
    ):
        await connection.send(json.dumps({"type": "auth", "session_api_key": KEY}))
        await connection.send(sent)
        error = await until(connection, "ServerErrorEvent" if name == "events" else "error")
        assert error["code"] == code
        await connection.send(json.dumps(HELLO))
        await until(connection, "MessageEvent")


async def test_a_message_that_cannot_be_saved_says_so(root: Path) -> None:
    directory = make_conversation(root)
    (directory / "base_state.json").unlink()
    async with (
        listening(root) as host,
        connect(f"ws://{host}/sockets/events/{ONE}?session_api_key={KEY}") as connection,
    ):
        await connection.send(json.dumps(HELLO))
        error = await until(connection, "ServerErrorEvent")
    assert error["code"] == "unreadable_file"
    assert error["detail"].startswith("Your message is not saved: ")


@BOTH
async def test_a_message_with_an_image_is_taken_and_a_larger_frame_closes(root: Path, name: str) -> None:
    make_conversation(root)
    image = {"cache_prompt": False, "type": "image", "image_urls": ["data:image/png;base64," + "A" * (5 << 20)]}
    async with (
        listening(root) as host,
        connect(f"ws://{host}/sockets/{name}/{ONE}?session_api_key={KEY}", max_size=None) as connection,
    ):
        await connection.send(json.dumps(HELLO | {"content": [image]}))
        if name == "events":
            assert (await until(connection, "MessageEvent"))["llm_message"]["content"] == [image]
        else:
            assert await close_code(connection) == 1013
    async with listening(root) as host, connect(f"ws://{host}/sockets/{name}/{ONE}") as connection:
        await connection.send(" " * ((16 << 20) + 1))
        async with asyncio.timeout(60):
            await connection.wait_closed()
    assert connection.close_code == 1009


@BOTH
async def test_a_message_sent_at_once_comes_back(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find_last = EventReader.find_last

    async def find_last_late(self: EventReader) -> EventName | None:
        await asyncio.sleep(0.5)
        return await find_last(self)

    monkeypatch.setattr(EventReader, "find_last", find_last_late)
    make_conversation(root, events=1)
    async with (
        listening(root) as host,
        asyncio.timeout(20),
        connect(f"ws://{host}/sockets/{name}/{ONE}?session_api_key={KEY}") as connection,
    ):
        await connection.send(json.dumps(HELLO))
        event = await until(connection, "MessageEvent")
    assert event["llm_message"]["content"][0]["text"] == "hello"
