"""The session socket, over a real server."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from app.api.routes import session_sockets
from tests.api.clients import HEADERS, KEY, ONE, close_code, frame, http_client, listening, session
from tests.builders import make_conversation, make_event, write_event
from tests.cli.test_serve import served, wait_until_in_step


async def durable(connection: ClientConnection, number: int) -> list[dict[str, Any]]:
    """Return the next frames with a stored event."""
    got: list[dict[str, Any]] = []
    while len(got) < number:
        one = await frame(connection)
        if one["type"] == "durable":
            got.append(one)
    return got


def durable_frames(*numbers: int) -> list[dict[str, Any]]:
    return [{"type": "durable", "seq": number, "event": make_event(number)} for number in numbers]


async def test_it_says_its_range_then_sends_all_events_then_the_state_then_live(root: Path) -> None:
    directory = make_conversation(root, events=3)
    async with listening(root) as host, session(host, "?after_seq=-1") as connection:
        assert await frame(connection) == {"type": "sync", "from_seq": -1, "through_seq": 2}
        assert [await frame(connection) for _ in range(3)] == durable_frames(0, 1, 2)
        state = await frame(connection)
        assert (state["type"], state["event"]["kind"], state["event"]["key"]) == (
            "transient",
            "ConversationStateUpdateEvent",
            "full_state",
        )
        write_event(directory, 3)
        assert await frame(connection) == durable_frames(3)[0]


async def test_without_a_number_it_sends_only_what_comes(root: Path) -> None:
    directory = make_conversation(root, events=3)
    async with listening(root) as host, session(host) as connection:
        assert await frame(connection) == {"type": "sync", "through_seq": 2}
        assert (await frame(connection))["type"] == "transient"
        write_event(directory, 3)
        assert await frame(connection) == durable_frames(3)[0]


@pytest.mark.parametrize(("after", "wanted"), [(1, [2, 3]), (3, []), (99, []), (-7, [0, 1, 2, 3])])
async def test_it_goes_on_after_a_number(root: Path, after: int, wanted: list[int]) -> None:
    make_conversation(root, events=4)
    async with listening(root) as host, session(host, f"?after_seq={after}") as connection:
        assert await frame(connection) == {"type": "sync", "from_seq": after, "through_seq": 3}
        assert [await frame(connection) for _ in wanted] == durable_frames(*wanted)
        assert (await frame(connection))["type"] == "transient"


async def test_an_empty_log_has_no_last_number(root: Path) -> None:
    directory = make_conversation(root, events=0)
    async with listening(root) as host, session(host, "?after_seq=-1") as connection:
        assert await frame(connection) == {"type": "sync", "from_seq": -1}
        write_event(directory, 0)
        assert await durable(connection, 1) == durable_frames(0)


async def test_an_unreadable_event_is_left_out_and_numbers_stay(root: Path) -> None:
    directory = make_conversation(root, events=3)
    next((directory / "events").glob("event-00001-*")).write_text("{")
    async with listening(root) as host, session(host, "?after_seq=-1") as connection:
        await frame(connection)
        assert await durable(connection, 2) == durable_frames(0, 2)


async def test_events_written_during_the_replay_come_once_and_in_order(root: Path) -> None:
    directory = make_conversation(root, events=350)
    async with listening(root) as host, session(host, "?after_seq=-1") as connection:
        got = await durable(connection, 120)
        for number in range(350, 420):
            write_event(directory, number)
            if number % 10 == 0:
                got += await durable(connection, 5)
        got += await durable(connection, 420 - len(got))
    assert [one["seq"] for one in got] == list(range(420))


async def test_a_changed_title_is_sent_as_a_state_that_has_no_number(root: Path) -> None:
    make_conversation(root)
    async with listening(root) as host, session(host) as connection, http_client(host) as client:
        await frame(connection)
        await frame(connection)
        await client.patch(f"/api/conversations/{ONE}", json={"title": "Another title"})
        changed = await frame(connection)
    assert (changed["type"], changed["event"]["value"]["title"]) == ("transient", "Another title")
    assert "seq" not in changed


async def test_a_frame_over_4_mib_closes_with_1013(root: Path) -> None:
    directory = make_conversation(root, events=2)
    write_event(directory, 2, make_event(2, more="x" * (4 << 20)))
    async with (
        listening(root) as host,
        connect(
            f"ws://{host}/sockets/session/{ONE}?after_seq=-1", additional_headers=HEADERS, max_size=None
        ) as connection,
    ):
        assert (await frame(connection))["type"] == "sync"
        assert len(await durable(connection, 2)) == 2
        assert await close_code(connection) == 1013
        assert connection.close_reason == "frame_too_large"


@pytest.mark.long
async def test_a_client_that_takes_nothing_is_dropped_with_1013(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_sockets, "_LARGE_S", 0.3)
    directory = make_conversation(root, events=0)
    for number in range(24):
        write_event(directory, number, make_event(number, more="x" * (2 << 20)))
    async with listening(root) as host:
        name, _, port = host.partition(":")
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)  # the system would hold 30 MB for the client
        plain.connect((name, int(port)))
        async with connect(
            f"ws://{host}/sockets/session/{ONE}?after_seq=-1",
            sock=plain,
            additional_headers=HEADERS,
            max_size=None,
            max_queue=1,
            compression=None,
        ) as connection:
            await asyncio.wait_for(connection.recv(), 20)
            await asyncio.sleep(3)
            got = await _read_until_closed(connection)
    assert (connection.close_code, connection.close_reason) == (1013, "slow_consumer")
    assert [one["seq"] for one in got] == list(range(len(got)))
    assert len(got) < 24


async def test_a_client_that_reads_slowly_gets_everything(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_sockets, "_BEHIND_MAX_BYTES", 100_000)
    directory = make_conversation(root, events=0)
    for number in range(40):
        write_event(directory, number, make_event(number, more="x" * 50_000))
    async with listening(root) as host, session(host, "?after_seq=-1") as connection:
        got = []
        for _ in range(40):
            got += await durable(connection, 1)
            await asyncio.sleep(0.02)
    assert [one["seq"] for one in got] == list(range(40))


async def _read_until_closed(connection: ClientConnection) -> list[dict[str, Any]]:
    got = []
    with suppress(ConnectionClosed):
        async with asyncio.timeout(60):
            while True:
                got.append(json.loads(await connection.recv()))
    return got


@pytest.mark.long
async def test_over_two_workers_each_event_comes_once_and_in_order(root: Path) -> None:
    make_conversation(root, events=150)
    wanted = 150 + 60

    async def read(host: str) -> list[int]:
        async with session(host, "?after_seq=-1") as connection:
            return [one["seq"] for one in await durable(connection, wanted)]

    with served(root, "--workers", 2, CONVSTORE_API_KEY=KEY) as server:
        wait_until_in_step(server.url, KEY)
        host = server.url.removeprefix("http://")
        readers = [asyncio.create_task(read(host)) for _ in range(6)]
        async with http_client(host) as one, http_client(host) as another, http_client(host) as third:
            for number in range(60):  # of several connections, both workers get some
                client = (one, another, third)[number % 3]
                message = {"content": [{"type": "text", "text": str(number)}]}
                sent = await client.post(f"/api/conversations/{ONE}/events", json=message)
                assert sent.status_code == 200
        async with asyncio.timeout(60):
            assert await asyncio.gather(*readers) == [list(range(wanted))] * 6
