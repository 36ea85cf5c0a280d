"""The WebSocket of a conversation, over a real server."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.api.clients import HEADERS, KEY, close_code, frame, frames, http_client, listening, socket, unreadable
from tests.builders import make_conversation, make_event, make_id, write_event
from tests.conftest import PACKAGE

ONE = make_id(1)


async def test_the_first_frame_is_the_whole_state_and_not_in_the_log(root: Path) -> None:
    make_conversation(root)
    async with listening(root) as host, socket(host) as connection:
        first = await frame(connection)
        async with http_client(host) as client:
            counted = (await client.get(f"/api/conversations/{ONE}/events/count")).json()
    assert (first["kind"], first["key"], first["source"]) == (
        "ConversationStateUpdateEvent",
        "full_state",
        "environment",
    )
    assert first["value"]["execution_status"] == "finished"
    assert counted == 2


async def test_it_sends_all_events_and_then_those_to_come_each_once(root: Path) -> None:
    directory = make_conversation(root, events=250)
    async with listening(root) as host, socket(host, "?resend_mode=all") as connection:
        assert (await frame(connection))["key"] == "full_state"
        got = await frames(connection, 200)
        write_event(directory, 250)
        got += await frames(connection, 51)
        write_event(directory, 251)
        got += await frames(connection, 1)
    assert [event["id"] for event in got] == [make_event(number)["id"] for number in range(252)]


async def test_it_sends_only_new_events_unless_asked(root: Path) -> None:
    directory = make_conversation(root, events=5)
    async with listening(root) as host, socket(host) as connection:
        await frame(connection)
        write_event(directory, 5)
        assert (await frame(connection)) == make_event(5)


async def test_it_sends_events_since_a_time(root: Path) -> None:
    directory = make_conversation(root, events=5)
    since = make_event(3)["timestamp"]
    async with listening(root) as host, socket(host, f"?resend_mode=since&after_timestamp={since}") as connection:
        await frame(connection)
        assert await frames(connection, 2) == [make_event(3), make_event(4)]
        write_event(directory, 5)
        assert await frame(connection) == make_event(5)


async def test_a_changed_state_is_sent_again(root: Path) -> None:
    directory = make_conversation(root)
    async with listening(root) as host, socket(host) as connection:
        await frame(connection)
        state = json.loads((directory / "base_state.json").read_text()) | {"execution_status": "error"}
        (directory / "base_state.json").write_text(json.dumps(state))
        again = await frame(connection)
    assert (again["key"], again["value"]["execution_status"]) == ("full_state", "error")


async def test_a_frame_of_the_client_that_is_no_message_is_answered_and_the_socket_goes_on(root: Path) -> None:
    directory = make_conversation(root)
    async with listening(root) as host, socket(host) as connection:
        await frame(connection)
        await connection.send(json.dumps({"type": "auth", "session_api_key": KEY}))
        await connection.send("[]")
        assert (await frame(connection))["kind"] == "ServerErrorEvent"
        write_event(directory, 2)
        assert await frame(connection) == make_event(2)


@pytest.mark.parametrize(
    "first",
    [
        '{"type": "auth", "session_api_key": "wrong"}',
        '{"type": "auth"}',
        "[1]",
        "{",
        "\udc00".encode("utf-16", "surrogatepass").hex(),
    ],
)
async def test_a_wrong_first_frame_closes_with_4001(root: Path, first: str) -> None:
    make_conversation(root)
    async with listening(root) as host, connect(f"ws://{host}/sockets/events/{ONE}") as connection:
        await connection.send(first)
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(connection.recv(), 5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4001


async def test_an_unknown_conversation_closes_with_4004(root: Path) -> None:
    make_conversation(root)
    async with listening(root) as host, socket(host, conversation=make_id(9)) as connection:
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(connection.recv(), 5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4004


async def test_one_follower_too_many_closes_with_1013(root: Path) -> None:
    make_conversation(root)
    async with listening(root, followers=1) as host, socket(host) as first:
        await frame(first)
        async with socket(host) as second:
            await frame(second)
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(second.recv(), 5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1013


@pytest.mark.parametrize(
    ("name", "origin"),
    [("127.0.0.1", "https://evil.example"), ("127.0.0.1", "null"), ("evil.example", "http://evil.example")],
)
async def test_a_page_of_another_origin_gets_no_socket(root: Path, name: str, origin: str) -> None:
    make_conversation(root)
    async with listening(root) as host:
        port = int(host.rpartition(":")[2])
        url = f"ws://{name}:{port}/sockets/events/{ONE}"
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url, host="127.0.0.1", port=port, additional_headers={"Origin": origin} | HEADERS):
                pass
    assert refused.value.response.status_code == 403


async def test_a_page_on_this_machine_gets_a_socket(root: Path) -> None:
    make_conversation(root)
    origin = {"Origin": "http://localhost:3000"}
    async with (
        listening(root) as host,
        connect(f"ws://{host}/sockets/events/{ONE}", additional_headers=origin | HEADERS) as connection,
    ):
        assert (await frame(connection))["key"] == "full_state"


async def test_an_error_of_the_store_closes_with_1013_and_the_client_may_come_back(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = make_conversation(root)
    async with listening(root) as host:
        async with socket(host) as connection:
            await frame(connection)
            with unreadable(root):
                assert await close_code(connection) == 1013
        assert [
            record.levelname for record in caplog.records if record.name == f"{PACKAGE}.api.sockets.conversation_socket"
        ] == ["WARNING"]
        async with socket(host) as connection:
            await frame(connection)
            write_event(directory, 2)
            assert await frame(connection) == make_event(2)


async def test_a_store_that_cannot_be_read_at_first_closes_with_1013(root: Path) -> None:
    make_conversation(root)
    async with listening(root) as host:
        async with socket(host) as connection:
            await frame(connection)
        with unreadable(root):
            async with socket(host) as connection:
                assert await close_code(connection) == 1013


async def test_an_unmounted_store_closes_with_1013_and_answers_503(root: Path) -> None:
    directory = make_conversation(root)
    async with listening(root) as host, http_client(host) as client:
        async with socket(host) as connection:
            await frame(connection)
            directory.rename(root / "away")
            assert await close_code(connection) == 1013
        answer = await client.get(f"/api/conversations/{ONE}")
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")


async def test_a_server_that_stops_closes_with_1012(root: Path) -> None:
    make_conversation(root)
    async with listening(root) as host:
        connection = await connect(f"ws://{host}/sockets/events/{ONE}", additional_headers=HEADERS)
        await frame(connection)
    assert await close_code(connection) == 1012


async def test_a_binary_frame_is_answered_and_the_socket_goes_on(root: Path) -> None:
    directory = make_conversation(root)
    async with listening(root) as host, socket(host) as connection:
        await frame(connection)
        await connection.send(b"\x00\xff")
        assert (await frame(connection))["kind"] == "ServerErrorEvent"
        write_event(directory, 2)
        assert await frame(connection) == make_event(2)


@pytest.mark.parametrize(("query", "sent"), [("?resend_all=true", 3), ("?resend_all=true&resend_mode=since", 0)])
async def test_resend_all_is_understood_where_no_mode_is_given(root: Path, query: str, sent: int) -> None:
    directory = make_conversation(root, events=3)
    async with listening(root) as host, socket(host, query) as connection:
        await frame(connection)
        write_event(directory, 3)
        got = await frames(connection, sent + 1)
    assert got == [make_event(number) for number in range(3 - sent, 4)]


async def test_a_client_that_goes_before_it_says_who_it_is_is_no_error(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_conversation(root)
    async with listening(root) as host:
        for _ in range(3):
            await (await connect(f"ws://{host}/sockets/events/{ONE}")).close()
        async with socket(host) as connection:
            await frame(connection)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
