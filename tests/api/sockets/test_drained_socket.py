"""What uvicorn keeps in memory for the client of a WebSocket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import connect

from app.api.sockets.drained_socket import DrainedSocket
from tests.api.processes import leave

_LARGE = 20_000_000
_HEAD = (
    b"GET / HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class _Quick(DrainedSocket):
    """Gives a connection up at once."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.close_timeout = 0.1


class _Application:
    """Sends a large and a small message at once, and closes if it should."""

    def __init__(self) -> None:
        self.sent = False
        self.closes = False

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        sending = asyncio.create_task(self._send(send))
        if self.closes:
            await asyncio.sleep(0.1)
            await send({"type": "websocket.close"})
        await sending

    async def _send(self, send: Send) -> None:
        large = send({"type": "websocket.send", "text": "é" * (_LARGE // 2)})
        await asyncio.gather(large, send({"type": "websocket.send", "text": "small"}))
        self.sent = True


class _Running:
    """A server of one such application."""

    def __init__(self) -> None:
        self.application = _Application()
        options = uvicorn.Config(self.application, ws=_Quick, lifespan="off", log_config=None)
        self.server = uvicorn.Server(options)
        self.listener = socket.create_server(("127.0.0.1", 0))

    def connect(self) -> socket.socket:
        client = socket.create_connection(self.listener.getsockname())
        client.sendall(_HEAD)
        return client


@pytest.fixture
async def running() -> AsyncIterator[_Running]:
    one = _Running()
    serving = asyncio.create_task(one.server.serve(sockets=[one.listener]))
    yield one
    one.server.should_exit = True
    one.server.force_exit = True
    await asyncio.wait_for(serving, 10)


async def holds_within_a_second(condition: Callable[[], bool]) -> bool:
    for _ in range(50):
        if condition():
            return True
        await asyncio.sleep(0.02)
    return False


async def test_a_message_is_sent_when_its_client_has_taken_it(running: _Running) -> None:
    client = running.connect()
    assert not await holds_within_a_second(lambda: running.application.sent)
    left = _LARGE
    while left > 0:
        left -= len(await asyncio.to_thread(client.recv, 1 << 20))
    assert await holds_within_a_second(lambda: running.application.sent)
    leave(client)


async def test_little_of_a_message_is_in_memory_while_its_client_does_not_read(running: _Running) -> None:
    client = running.connect()
    assert await holds_within_a_second(lambda: bool(_unsent_bytes(running)))
    assert _unsent_bytes(running) < 3_000_000
    leave(client)


def _unsent_bytes(running: _Running) -> int:
    return sum(one.transport.get_write_buffer_size() for one in running.server.server_state.connections)


async def test_a_client_gets_a_message_of_many_frames_as_one(running: _Running) -> None:
    host, port = running.listener.getsockname()
    async with connect(f"ws://{host}:{port}", max_size=None) as client:
        assert [await client.recv(), await client.recv()] == ["é" * (_LARGE // 2), "small"]


async def test_a_message_to_a_client_that_leaves_is_dropped(running: _Running) -> None:
    client = running.connect()
    assert await holds_within_a_second(lambda: bool(running.server.server_state.tasks))
    leave(client)
    assert await holds_within_a_second(lambda: not running.server.server_state.connections)


async def test_a_closed_client_that_reads_nothing_is_disconnected(running: _Running) -> None:
    running.application.closes = True
    client = running.connect()
    assert await holds_within_a_second(lambda: bool(running.server.server_state.tasks))
    assert await holds_within_a_second(lambda: not running.server.server_state.connections)
    leave(client)
