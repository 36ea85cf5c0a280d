"""Clients that leave in the middle of an answer or of a request: what they held is free at once, and nothing is logged.

The server runs without Python's cycle collector, so that nothing is free only because the collector ran.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from socket import socket
from typing import Any

import httpx
import pytest

from tests.api.processes import ServerProcess, leave, serving_process
from tests.builders import make_conversation, make_event, make_id, write_event

ONE = make_id(1)
STREAM = f"/api/conversations/{ONE}/events/stream"
SOCKET_HEADERS = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)

Open = Callable[[ServerProcess], socket]


def open_stream(server: ServerProcess) -> socket:
    return server.open_request("GET", STREAM)


def open_socket(server: ServerProcess) -> socket:
    return server.open_request("GET", f"/sockets/events/{ONE}?resend_mode=all", *SOCKET_HEADERS)


def open_changes(server: ServerProcess) -> socket:
    return server.open_request("GET", "/api/changes/stream")


@pytest.fixture
def server(running: ServerProcess) -> Iterator[ServerProcess]:
    """Return the server, whose log must get no error."""
    before = len(running.log())
    yield running
    told = running.log()[before:]
    assert "Traceback" not in told, told
    assert "ERROR" not in told, told


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Return a server of one conversation with 30 MB of events, at which three clients can follow something."""
    root = tmp_path_factory.mktemp("leaving") / "conversations"
    root.mkdir()
    directory = make_conversation(root, events=1)
    for number in range(1, 300):
        write_event(directory, number, make_event(number) | {"extra": "x" * 100_000})
    with serving_process(root, CONVSTORE_FOLLOWERS="3") as server:
        wait_until(lambda: count(server) == 300)
        yield server


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def count(server: ServerProcess) -> Any:
    with server.client() as client:
        return client.get(f"/api/conversations/{ONE}/events/count").json()


@pytest.mark.parametrize(
    ("open_one", "status"),
    [(open_stream, 200), pytest.param(open_changes, 200, marks=pytest.mark.long), (open_socket, 101)],
)
def test_a_place_is_free_once_a_client_that_was_behind_has_left(
    server: ServerProcess, open_one: Open, status: int
) -> None:
    for _ in range(2):
        behind = [open_one(server) for _ in range(3)]
        assert [server.first_status(one) for one in behind] == [status] * 3
        time.sleep(0.3)
        for one in behind:
            leave(one)
        with server.client() as client:
            assert client.get("/health").is_success
        wait_until(lambda: is_free(server))


def is_free(server: ServerProcess) -> bool:
    """Whether three clients can follow at once."""
    three = [open_changes(server) for _ in range(3)]
    found = [server.first_status(one) for one in three]
    for one in three:
        leave(one)
    time.sleep(0.2)
    return found == [200] * 3


@pytest.mark.parametrize("open_one", [open_stream, pytest.param(open_socket, marks=pytest.mark.long)])
def test_what_a_client_had_not_read_yet_is_free_once_it_has_left(server: ServerProcess, open_one: Open) -> None:
    def drop() -> None:
        connection = open_one(server)
        server.first_status(connection)
        time.sleep(0.2)
        leave(connection)

    for _ in range(5):
        drop()
    time.sleep(0.5)
    before = server.resident_mb()
    for _ in range(15):
        drop()
    time.sleep(0.5)
    assert server.resident_mb() - before < 40


def test_a_dropped_upload_is_no_error_of_the_server(server: ServerProcess) -> None:
    for path in ("/api/conversations/import", "/api/conversations"):
        connection = server.open_request("POST", path, "Content-Length: 1000000", "Content-Type: application/json")
        connection.sendall(b"x" * 100_000)
        time.sleep(0.3)
        leave(connection)
    time.sleep(0.3)


def test_a_dropped_download_is_no_error_of_the_server(server: ServerProcess) -> None:
    for kind in ("zip", "jsonl", "markdown", "html"):
        connection = server.open_request("GET", f"/api/conversations/{ONE}/export?format={kind}")
        assert server.first_status(connection) == 200
        leave(connection)
    time.sleep(0.3)


def test_a_socket_dropped_before_its_key_came_is_no_error_of_the_server(server: ServerProcess) -> None:
    connection = socket()
    connection.connect(("127.0.0.1", server.port))
    lines = [f"GET /sockets/events/{ONE} HTTP/1.1", f"Host: {server.host}", *SOCKET_HEADERS, "", ""]
    connection.sendall("\r\n".join(lines).encode())
    leave(connection)
    time.sleep(0.3)
    with httpx.Client() as client:
        assert client.get(f"http://{server.host}/health").is_success
