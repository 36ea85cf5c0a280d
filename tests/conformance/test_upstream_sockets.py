"""What upstream's tests assert of a conversation's sockets: keys, replays, messages, and frames that are none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.builders import make_conversation, make_event, make_id
from tests.conformance.upstream import MISSING, SECRET, Upstream

pytestmark = pytest.mark.long

BOTH = pytest.mark.parametrize("kind", ["events", "session"])
ALL = [make_event(number)["id"] for number in range(5)]
ONE = str(UUID(make_id(1)))
KEY = f"session_api_key={SECRET}"
AUTH = {"type": "auth", "session_api_key": SECRET}
HELLO = {"role": "user", "content": [{"type": "text", "text": "hello"}]}
WAIT_S = 60


def fill(store: Path, work: Path) -> None:
    place = {"kind": "LocalWorkspace", "working_dir": str(work)}
    idle = {"workspace": place, "execution_status": "idle"}
    make_conversation(store, 1, meta={"workspace": place}, state=idle, events=len(ALL))


@asynccontextmanager
async def open_socket(
    server: Upstream, kind: str, query: str = KEY, path: str = ONE, header: str | None = None
) -> AsyncIterator[ClientConnection]:
    host = str(server.client.base_url).removeprefix("http://").rstrip("/")
    headers = {} if header is None else {"X-Session-API-Key": header}
    url = f"ws://{host}/sockets/{kind}/{path.rpartition('/')[2]}?{query}"
    async with asyncio.timeout(WAIT_S), connect(url, additional_headers=headers, max_size=None) as connection:
        yield connection


async def until(connection: ClientConnection, wanted: Callable[[dict[str, Any]], Any]) -> list[dict[str, Any]]:
    """Return the frames up to the first that is wanted, without the envelopes of events."""
    heard: list[dict[str, Any]] = []
    while not heard or not wanted(heard[-1]):
        frame = json.loads(await connection.recv())
        heard.append(frame.get("event", frame))
    return heard


def is_message(frame: dict[str, Any]) -> bool:
    return frame.get("kind") == "MessageEvent"


def is_error(frame: dict[str, Any]) -> bool:
    return frame.get("kind") == "ServerErrorEvent" or frame.get("type") == "error"


def stored_ids(heard: list[dict[str, Any]]) -> list[str]:
    return [frame["id"] for frame in heard if frame.get("id") in ALL]


@BOTH
@pytest.mark.parametrize(("query", "header"), [(KEY, None), ("", SECRET), (KEY, "wrong")])
async def test_a_key_in_the_query_or_the_header_opens(
    server: Upstream, kind: str, query: str, header: str | None
) -> None:
    path = server.create()
    async with open_socket(server, kind, query, path, header) as connection:
        await connection.send(json.dumps(HELLO))
        assert is_message((await until(connection, is_message))[-1])


@BOTH
@pytest.mark.parametrize(
    ("query", "header"), [("session_api_key=wrong", None), ("session_api_key=wrong", SECRET), ("", "wrong")]
)
async def test_a_wrong_key_is_refused_before_the_socket_opens(
    server: Upstream, kind: str, query: str, header: str | None
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with open_socket(server, kind, query, header=header):
            pass
    assert refused.value.response.status_code == 403


@BOTH
async def test_a_key_in_the_first_frame_opens(server: Upstream, kind: str) -> None:
    path = server.create()
    async with open_socket(server, kind, "", path) as connection:
        await connection.send(json.dumps(AUTH))
        await connection.send(json.dumps(HELLO))
        assert is_message((await until(connection, is_message))[-1])


@BOTH
@pytest.mark.parametrize(
    "first",
    [
        '{"type": "auth", "session_api_key": "wrong"}',
        f'{{"type": "other", "session_api_key": "{SECRET}"}}',
        '{"type": "auth"}',
        "no JSON",
        json.dumps(HELLO),
    ],
)
async def test_another_first_frame_closes_with_4001(server: Upstream, kind: str, first: str) -> None:
    async with open_socket(server, kind, "") as connection:
        await connection.send(first)
        with pytest.raises(ConnectionClosed):
            await connection.recv()
    assert connection.close_code == 4001


@BOTH
async def test_no_conversation_closes_with_4004(server: Upstream, kind: str) -> None:
    async with open_socket(server, kind, path=MISSING) as connection:
        await connection.wait_closed()
    assert connection.close_code == 4004


@BOTH
async def test_a_second_key_is_ignored_and_a_message_with_a_type_is_not(server: Upstream, kind: str) -> None:
    path = server.create()
    async with open_socket(server, kind, KEY, path) as connection:
        await connection.send(json.dumps(AUTH))
        await connection.send(json.dumps({"type": "auth"} | HELLO))
        heard = await until(connection, is_message)
    assert [frame for frame in heard if is_error(frame)] == []
    assert len(server.messages(path)) == 1


@BOTH
@pytest.mark.parametrize(
    "frame", ["no JSON", "[]", "5", "{}", '{"role": "nobody"}', '{"role": "user", "content": [1]}']
)
async def test_a_frame_that_is_no_message_gets_an_error_and_the_socket_goes_on(
    server: Upstream, kind: str, frame: str
) -> None:
    path = server.create()
    async with open_socket(server, kind, KEY, path) as connection:
        await connection.send(frame)
        assert is_error((await until(connection, is_error))[-1])
        await connection.send(json.dumps(HELLO))
        await until(connection, is_message)
    assert len(server.messages(path)) == 1


@BOTH
async def test_a_message_is_stored_once_and_sent_to_all(server: Upstream, kind: str) -> None:
    path = server.create()
    async with open_socket(server, kind, KEY, path) as one, open_socket(server, "events", KEY, path) as other:
        await one.send(json.dumps(HELLO))
        sent = [(await until(connection, is_message))[-1]["id"] for connection in (one, other)]
    (stored,) = server.messages(path)
    assert sent == [stored["id"]] * 2


@BOTH
async def test_an_event_of_a_request_is_sent_to_who_listens(server: Upstream, kind: str) -> None:
    path = server.create()
    async with open_socket(server, kind, KEY, path) as connection:
        await asyncio.to_thread(server.send, path, "by a request")
        heard = await until(connection, is_message)
    assert heard[-1]["llm_message"]["content"][0]["text"] == "by a request"


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("resend_mode=all", ALL),
        ("resend_all=true", ALL),
        ("resend_mode=all&resend_all=false", ALL),
        ("resend_mode=since&after_timestamp=2026-10-01T12:00:02", ALL[2:]),
        ("resend_mode=since&after_timestamp=2026-10-01T12:00:02Z", ALL[2:]),
        ("resend_mode=since&after_timestamp=2026-10-01T14:00:03%2B02:00", ALL[3:]),
    ],
)
async def test_events_are_sent_again_in_order_if_asked_for(server: Upstream, query: str, wanted: list[str]) -> None:
    async with open_socket(server, "events", f"{KEY}&{query}") as connection:
        heard = await until(connection, lambda frame: frame.get("id") == ALL[-1])
    assert stored_ids(heard) == wanted


@pytest.mark.parametrize("query", ["", "resend_all=false", "resend_mode=since", "resend_mode=since&resend_all=false"])
async def test_events_are_not_sent_again_unless_asked_for(server: Upstream, query: str) -> None:
    path = server.create("stored before")
    async with open_socket(server, "events", f"{KEY}&{query}", path) as connection:
        await connection.send(json.dumps(HELLO))
        heard = await until(connection, is_message)
    assert heard[-1]["llm_message"]["content"][0]["text"] == "hello"


async def test_the_first_frame_is_the_whole_state(server: Upstream) -> None:
    async with open_socket(server, "events") as connection:
        first = json.loads(await connection.recv())
    assert (first["kind"], first["key"], first["value"]["id"]) == ("ConversationStateUpdateEvent", "full_state", ONE)


@pytest.mark.parametrize(("after", "wanted"), [(-1, ALL), (2, ALL[3:]), (3, ALL[4:])])
async def test_a_session_sends_what_is_after_a_number(server: Upstream, after: int, wanted: list[str]) -> None:
    async with open_socket(server, "session", f"{KEY}&after_seq={after}") as connection:
        sync = json.loads(await connection.recv())
        heard = await until(connection, lambda frame: frame.get("id") == ALL[-1])
    assert (sync["type"], sync["from_seq"], sync["through_seq"] >= len(ALL) - 1) == ("sync", after, True)
    assert stored_ids(heard) == wanted


async def test_sockets_that_come_and_go_leave_the_server_as_it_was(server: Upstream) -> None:
    path = server.create()
    for _ in range(20):
        async with open_socket(server, "events", KEY, path) as connection:
            await connection.recv()
    async with open_socket(server, "events", KEY, path) as connection:
        await connection.send(json.dumps(HELLO))
        await until(connection, is_message)
    assert len(server.messages(path)) == 1


@pytest.mark.parametrize("frame", ["no JSON", '{"type": "auth"}'])
async def test_the_bash_socket_opens_with_a_key_and_stays_open(server: Upstream, frame: str) -> None:
    host = str(server.client.base_url).removeprefix("http://").rstrip("/")
    async with asyncio.timeout(WAIT_S), connect(f"ws://{host}/sockets/bash-events?{KEY}") as connection:
        await connection.send(frame)
        await (await connection.ping())
    with pytest.raises(InvalidStatus):
        async with connect(f"ws://{host}/sockets/bash-events?session_api_key=wrong"):
            pass
