"""How a conversation's socket and its event stream end, and what does not end them; over a real server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.api.test_sockets import HEADERS, ONE, frame, frames, listening, socket
from tests.builders import make_conversation, make_event, write_event


@contextmanager
def unreadable(root: Path) -> Iterator[None]:
    """Put something in the place of a store that gives an error to whoever looks into it."""
    away = root.with_name("away")
    root.rename(away)
    root.symlink_to(root)
    try:
        yield
    finally:
        root.unlink()
        away.rename(root)


async def close_code(connection: ClientConnection) -> int:
    """Wait until the server has closed the socket, and return the code that it gave."""
    async with asyncio.timeout(10):
        await connection.wait_closed()
    assert connection.close_code is not None
    return connection.close_code


async def test_an_error_of_the_store_closes_with_1013_and_the_client_may_come_back(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = make_conversation(root)
    async with listening(root) as host:
        async with socket(host) as connection:
            await frame(connection)
            with unreadable(root):
                assert await close_code(connection) == 1013
        assert [record.levelname for record in caplog.records if record.name == "app.api.routes.sockets"] == ["WARNING"]
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


async def test_a_store_that_is_not_mounted_closes_with_1013_and_its_conversations_are_not_404(root: Path) -> None:
    directory = make_conversation(root)
    async with listening(root) as host, httpx.AsyncClient(base_url=f"http://{host}", headers=HEADERS) as client:
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


def errors_of_the_server(caplog: pytest.LogCaptureFixture) -> list[str]:
    ours = [record for record in caplog.records if record.name.startswith(("uvicorn", "app.api"))]
    return [record.getMessage() for record in ours if record.levelno >= logging.ERROR]


async def test_a_stream_ends_with_its_conversation(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_conversation(root)
    async with (
        listening(root) as host,
        httpx.AsyncClient(base_url=f"http://{host}", headers=HEADERS) as client,
        client.stream("GET", f"/api/conversations/{ONE}/events/stream") as response,
    ):
        lines = response.aiter_lines()
        await anext(lines)
        assert (await client.delete(f"/api/conversations/{ONE}")).is_success
        async with asyncio.timeout(5):
            assert [line async for line in lines]
    assert errors_of_the_server(caplog) == []


async def test_a_stream_ends_at_an_error_of_the_store(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_conversation(root)
    async with (
        listening(root) as host,
        httpx.AsyncClient(base_url=f"http://{host}", headers=HEADERS) as client,
        client.stream("GET", f"/api/conversations/{ONE}/events/stream") as response,
    ):
        lines = response.aiter_lines()
        await anext(lines)
        with unreadable(root):
            async with asyncio.timeout(5):
                assert [line async for line in lines]
    assert [record.levelname for record in caplog.records if record.name == "app.api.responses"] == ["WARNING"]
    assert errors_of_the_server(caplog) == []
