"""Events of 20 MB: what the server keeps in memory for many clients, and how fast it answers others meanwhile."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Self

import pytest

from tests.api.processes import ServerProcess, leave, serving_process
from tests.builders import make_conversation, make_event, make_id, write_event

ONE, MANY = make_id(1), make_id(2)
SOCKET_HEADERS = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
_LARGE = int(os.environ.get("LARGE_EVENTS", "24"))
_MORE_MB = 200
_HEALTH_S = 0.3

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Return a server of 24 events (or `LARGE_EVENTS`) of 20 MB each, and of 100 of 300 kB in another conversation."""
    root = tmp_path_factory.mktemp("large") / "conversations"
    root.mkdir()
    directory = make_conversation(root, events=1)
    for number in range(1, _LARGE):
        write_event(directory, number, make_event(number) | {"extra": "x" * 20_000_000})
    many = make_conversation(root, 2, events=1)
    for number in range(1, 100):
        write_event(many, number, make_event(number) | {"extra": "x" * 300_000})
    with serving_process(root, CONVSTORE_FOLLOWERS="200") as server, server.client() as client:
        deadline = time.monotonic() + 300  # a request for the events before would wait for all of them to be read
        while client.get("/api/index/status").json()["phase"] != "idle":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert client.get(f"/api/conversations/{ONE}/events/count").json() == _LARGE
        yield server


class Watch:
    """Asks /health all the time, and knows how much more memory than before the server has taken."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._stop = Event()
        self._thread = Thread(target=self._ask)
        self.seconds: list[float] = []

    def __enter__(self) -> Self:
        time.sleep(0.5)
        self._before = self._server.resident_mb()
        self._server.forget_highest()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        assert self._server.highest_mb() - self._before < _MORE_MB
        assert statistics.median(self.seconds) < _HEALTH_S, self.seconds

    def _ask(self) -> None:
        with self._server.client() as client:
            while not self._stop.is_set():
                began = time.monotonic()
                assert client.get("/health").is_success
                self.seconds.append(time.monotonic() - began)
                time.sleep(0.02)


def files_of(root: Path, conversation: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((root / conversation / "events").glob("*.json"))]


def test_a_page_of_large_events_is_whole_and_is_sent_as_it_is_read(server: ServerProcess, tmp_path: Path) -> None:
    target = tmp_path / "page.json"
    with (
        Watch(server),
        server.client() as client,
        client.stream("GET", f"/api/conversations/{ONE}/events/search") as answer,
        target.open("wb") as file,
    ):
        for piece in answer.iter_bytes():
            file.write(piece)
    assert target.stat().st_size > (_LARGE - 1) * 20_000_000
    page = json.loads(target.read_bytes())
    assert ([len(page["items"]), page["next_page_id"]]) == [_LARGE, None]


@pytest.mark.parametrize(
    "path",
    [
        f"/api/conversations/{ONE}/events/stream",
        f"/api/conversations/{MANY}/events/stream",
        f"/api/conversations/{ONE}/events/search",
        f"/api/conversations/{MANY}/events/search",
        f"/api/conversations/{ONE}/events/{make_event(5)['id']}",
        f"/api/conversations/{ONE}/events/{make_event(5)['id']}/images/0",
        f"/api/conversations/{ONE}/events/window?around=5&max_bytes={64 << 20}",
        f"/api/conversations/{ONE}/export?format=jsonl",
        f"/api/conversations/{ONE}/export?format=markdown",
        f"/api/conversations/{MANY}/export?format=zip",
    ],
)
def test_clients_that_do_not_read_keep_little_in_memory(server: ServerProcess, path: str) -> None:
    with Watch(server):
        behind = [server.open_request("GET", path) for _ in range(50)]
        time.sleep(4)
        for one in behind:
            leave(one)


def test_asking_for_large_events_by_id_keeps_little_in_memory(server: ServerProcess, tmp_path: Path) -> None:
    ids = [make_event(number)["id"] for number in range(_LARGE)]
    target = tmp_path / "events.json"
    with (
        Watch(server),
        server.client() as client,
        client.stream("GET", f"/api/conversations/{ONE}/events", json=ids) as answer,
        target.open("wb") as file,
    ):
        for piece in answer.iter_bytes():
            file.write(piece)
    assert [event["id"] for event in json.loads(target.read_bytes())] == ids


def test_sockets_that_do_not_read_keep_little_in_memory(server: ServerProcess) -> None:
    with Watch(server):
        path = f"/sockets/events/{MANY}?resend_mode=all"
        behind = [server.open_request("GET", path, *SOCKET_HEADERS) for _ in range(50)]
        time.sleep(3)
        for one in behind:
            leave(one)
        path = f"/sockets/events/{ONE}?resend_mode=all"
        behind = [server.open_request("GET", path, *SOCKET_HEADERS) for _ in range(10)]
        time.sleep(3)
        for one in behind:
            leave(one)


def test_looking_for_a_text_keeps_little_in_memory(server: ServerProcess) -> None:
    with Watch(server), server.client() as client:
        assert client.get(f"/api/conversations/{ONE}/events/count", params={"body": "nowhere"}).json() == 0
