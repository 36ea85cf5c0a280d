"""The socket and the event stream of a conversation, over a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app import Settings
from app.api.app import create_app
from app.cli.serve import listen, options
from tests.builders import make_conversation, make_event, make_id, write_event

KEY = "a-key"
ONE = make_id(1)
HEADERS = {"X-Session-API-Key": KEY}


@asynccontextmanager
async def listening(root: Path, **settings: object) -> AsyncIterator[str]:
    """Run a real server on this loop and give host:port."""
    asked = Settings.model_validate({"store": root, "port": 0, "shutdown_timeout_s": 1, **settings})
    with listen(asked) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(asked, [KEY]), **options(asked)))
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:
                await asyncio.sleep(0.01)
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


@asynccontextmanager
async def socket(host: str, query: str = "", conversation: str = ONE) -> AsyncIterator[ClientConnection]:
    async with connect(f"ws://{host}/sockets/events/{conversation}{query}") as connection:
        await connection.send(json.dumps({"type": "auth", "session_api_key": KEY}))
        yield connection


async def frame(connection: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(connection.recv(), 5))


async def frames(connection: ClientConnection, number: int) -> list[Any]:
    return [await frame(connection) for _ in range(number)]


async def test_the_first_frame_is_the_whole_state_and_not_in_the_log(root: Path) -> None:
    make_conversation(root)
    async with listening(root) as host, socket(host) as connection:
        first = await frame(connection)
        async with httpx.AsyncClient(base_url=f"http://{host}", headers=HEADERS) as client:
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


async def test_a_key_in_the_header_is_enough_and_a_wrong_one_closes(root: Path) -> None:
    make_conversation(root)
    url = f"/sockets/events/{ONE}"
    async with listening(root) as host:
        async with connect(f"ws://{host}{url}", additional_headers=HEADERS) as connection:
            assert (await frame(connection))["key"] == "full_state"
        async with connect(f"ws://{host}{url}", additional_headers={"X-Session-API-Key": "no"}) as connection:
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(connection.recv(), 5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4001


async def test_a_large_frame_is_not_taken_in(root: Path) -> None:
    make_conversation(root)
    async with listening(root) as host, connect(f"ws://{host}/sockets/events/{ONE}") as connection:
        await connection.send(" " * 65_537)
        async with asyncio.timeout(10):
            await connection.wait_closed()
    assert connection.close_code == 1009


@pytest.mark.parametrize("conversation", [make_id(9), "no-id"])
async def test_an_unknown_conversation_closes_with_4004(root: Path, conversation: str) -> None:
    make_conversation(root)
    async with listening(root) as host, socket(host, conversation=conversation) as connection:
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


async def read_stream(response: httpx.Response, number: int) -> list[tuple[str, Any]]:
    """Return (id, data) of the next events."""
    got: list[tuple[str, Any]] = []
    fields: dict[str, str] = {}
    lines = response.aiter_lines()
    while len(got) < number:
        line = await asyncio.wait_for(anext(lines), 5)
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            got.append((fields["id"], json.loads(fields["data"])))
            fields = {}
    return got


async def test_the_stream_goes_from_replay_to_live_without_a_seam(root: Path) -> None:
    directory = make_conversation(root, events=3)
    async with (
        listening(root) as host,
        httpx.AsyncClient(base_url=f"http://{host}", headers=HEADERS) as client,
        client.stream("GET", f"/api/conversations/{ONE}/events/stream") as response,
    ):
        write_event(directory, 3)
        got = await read_stream(response, 4)
    assert got == [(make_event(number)["id"], make_event(number)) for number in range(4)]
    assert response.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("how", ["header", "parameter"])
async def test_the_stream_goes_on_after_the_last_event_that_a_client_has(root: Path, how: str) -> None:
    make_conversation(root, events=5)
    seen = make_event(2)["id"]
    asked: dict[str, Any] = {"headers": {"Last-Event-ID": seen}} if how == "header" else {"params": {"after": seen}}
    async with (
        listening(root) as host,
        httpx.AsyncClient(base_url=f"http://{host}", headers=HEADERS) as client,
        client.stream("GET", f"/api/conversations/{ONE}/events/stream", **asked) as response,
    ):
        got = await read_stream(response, 2)
    assert [data for _, data in got] == [make_event(3), make_event(4)]


async def test_the_stream_can_begin_with_what_comes(root: Path) -> None:
    directory = make_conversation(root, events=5)
    async with (
        listening(root) as host,
        httpx.AsyncClient(base_url=f"http://{host}", headers=HEADERS) as client,
        client.stream("GET", f"/api/conversations/{ONE}/events/stream?after=latest") as response,
    ):
        write_event(directory, 5)
        assert [data for _, data in await read_stream(response, 1)] == [make_event(5)]


@pytest.mark.parametrize(("conversation", "after"), [(make_id(9), None), (ONE, "unknown")])
async def test_a_stream_of_nothing_is_404(root: Path, conversation: str, after: str | None) -> None:
    make_conversation(root)
    params = {"after": after} if after else {}
    async with listening(root) as host, httpx.AsyncClient(base_url=f"http://{host}", headers=HEADERS) as client:
        answer = await client.get(f"/api/conversations/{conversation}/events/stream", params=params)
    assert answer.status_code == 404


async def test_one_stream_too_many_is_503(root: Path) -> None:
    make_conversation(root)
    async with (
        listening(root, followers=0) as host,
        httpx.AsyncClient(base_url=f"http://{host}", headers=HEADERS) as client,
    ):
        answer = await client.get(f"/api/conversations/{ONE}/events/stream")
    assert (answer.status_code, answer.json()["code"]) == (503, "too_many_followers")
