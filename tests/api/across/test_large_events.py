"""Events of 20 MB: what the server keeps in memory for many clients, and how fast it answers others meanwhile.

The speed of /health is compared with that of an idle server in the same run: other programs may use the machine.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self

import httpx
import orjson
import pytest

from tests.api.processes import ServerProcess, leave, serving_process
from tests.builders import make_conversation, make_event, make_id, write_event

ONE, MANY, TALK = make_id(1), make_id(2), make_id(3)
SOCKET_HEADERS = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
_WHOLE = "CONVSTORE_TEST_LARGE_EVENTS" in os.environ
_LARGE = int(os.environ.get("CONVSTORE_TEST_LARGE_EVENTS", "12"))
_SIZE = 20_000_000
_MORE_MB = 200
_HEALTH_S = 0.1

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def make_large(number: int) -> dict[str, Any]:
    """Return an event of 20 MB. Its number selects what is large in it."""
    if number == _LARGE - 1:
        message = {"role": "assistant", "content": [text("end " * (_SIZE // 4))]}
        return make_event(number, source="agent", llm_message=message)
    return _SHAPES[number % len(_SHAPES)](number)


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


def said(number: int, *content: dict[str, Any]) -> dict[str, Any]:
    return make_event(number, llm_message={"role": "user", "content": content})


def acted(number: int) -> dict[str, Any]:
    action = {"kind": "TerminalAction", "command": "say 'words' " * (_SIZE // 12)}
    return make_event(number, kind="ActionEvent", source="agent", tool_name="a", llm_message=None, action=action)


def observed(number: int, **seen: Any) -> dict[str, Any]:
    """Return the result of the event before it."""
    more = {"kind": "ObservationEvent", "source": "environment", "tool_name": "a", "llm_message": None}
    return make_event(number, action_id=make_event(number - 1)["id"], observation=seen, **more)


def edited(number: int) -> dict[str, Any]:
    old = "one line of a file\n" * (_SIZE // 40)
    return observed(number, kind="FileEditorObservation", old_content=old, new_content=f"{old}.")


_IMAGE = {
    "type": "image",
    "image_urls": ["data:image/png;base64,iVBORw0KGgoA" + f"{'AB0/' * 1000}gAA/" * (_SIZE // 4004)],
}
_SHAPES: list[Callable[[int], dict[str, Any]]] = [
    lambda number: make_event(number, extra="x" * _SIZE),
    lambda number: said(number, text("some words " * (_SIZE // 11))),
    acted,
    lambda number: observed(number, kind="TerminalObservation", exit_code=1, content=[text("line\n" * (_SIZE // 6))]),
    lambda number: said(number, _IMAGE),
    edited,
]
"""An unknown field, words, a long command, its output of many lines, an image, and an edit."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Return a server of a conversation with events of 20 MB each, and of one with 100 events of 300 kB."""
    root = tmp_path_factory.mktemp("large") / "conversations"
    root.mkdir()
    directory = make_conversation(root, events=1)
    for number in range(1, _LARGE):
        write_event(directory, number, make_event(number)).write_bytes(orjson.dumps(make_large(number)))
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


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Return a server that nobody uses."""
    root = tmp_path_factory.mktemp("idle") / "conversations"
    root.mkdir()
    with serving_process(root) as server:
        yield server


class Watch:
    """Asks two servers for /health all the time, and knows how much more memory than before the first has taken."""

    def __init__(self, server: ServerProcess, idle: ServerProcess) -> None:
        self._server = server
        self._idle = idle
        self._stop = Event()
        self._thread = Thread(target=self._ask)
        self.seconds: list[tuple[float, float]] = []

    def __enter__(self) -> Self:
        time.sleep(0.5)
        self._before = self._server.resident_mb()
        self._server.forget_highest()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        more = self._server.highest_mb() - self._before
        busy, idle = (statistics.median(seconds) for seconds in zip(*self.seconds, strict=True))
        told = f"{more:.0f} MB more; /health {busy * 1000:.0f} ms, of an idle server {idle * 1000:.0f} ms"
        print(told)
        assert more < _MORE_MB, told
        assert busy - idle < _HEALTH_S, told

    def _ask(self) -> None:
        with self._server.client() as client, self._idle.client() as other:
            while not self._stop.is_set():
                self.seconds.append((self._time(client.get), self._time(other.get)))
                time.sleep(0.02)

    @staticmethod
    def _time(get: Callable[[str], Any]) -> float:
        began = time.monotonic()
        assert get("/health").is_success
        return time.monotonic() - began


def files_of(root: Path, conversation: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((root / conversation / "events").glob("*.json"))]


def test_a_page_of_large_events_is_whole_and_is_sent_as_it_is_read(
    server: ServerProcess, idle: ServerProcess, tmp_path: Path
) -> None:
    target = tmp_path / "page.json"
    with (
        Watch(server, idle),
        server.client() as client,
        client.stream("GET", f"/api/conversations/{ONE}/events/search") as answer,
        target.open("wb") as file,
    ):
        for piece in answer.iter_bytes():
            file.write(piece)
    assert target.stat().st_size > (_LARGE - 1) * _SIZE * 0.99
    page = json.loads(target.read_bytes())
    assert ([len(page["items"]), page["next_page_id"]]) == [_LARGE, None]


def test_asking_for_large_events_by_id_keeps_little_in_memory(
    server: ServerProcess, idle: ServerProcess, tmp_path: Path
) -> None:
    ids = [make_event(number)["id"] for number in range(_LARGE)]
    target = tmp_path / "events.json"
    with (
        Watch(server, idle),
        server.client() as client,
        client.stream("GET", f"/api/conversations/{ONE}/events", json=ids) as answer,
        target.open("wb") as file,
    ):
        for piece in answer.iter_bytes():
            file.write(piece)
    assert [event["id"] for event in json.loads(target.read_bytes())] == ids


def test_looking_for_a_text_keeps_little_in_memory(server: ServerProcess, idle: ServerProcess) -> None:
    with Watch(server, idle), server.client() as client:
        assert client.get(f"/api/conversations/{ONE}/events/count", params={"body": "nowhere"}).json() == 0


_PATHS = [
    f"/api/conversations/{ONE}/events/stream",
    f"/api/conversations/{ONE}/events/search",
    f"/api/conversations/{MANY}/events/search",
    f"/ui/c/{ONE}/events?from=0&limit=50",
    f"/ui/c/{ONE}/body/{make_event(2)['id']}?whole=true&observation={make_event(3)['id']}",
    f"/api/conversations/{ONE}/export?format=zip",
]
_MORE_PATHS = [
    f"/api/conversations/{MANY}/events/stream",
    f"/api/conversations/{ONE}/events/{make_event(5)['id']}",
    f"/api/conversations/{ONE}/events/{make_event(4)['id']}/images/0",
    f"/api/conversations/{ONE}/agent_final_response",
    f"/api/conversations/compare?a={ONE}&b={ONE}",
    f"/ui/compare?a={ONE}&b={ONE}",
    *(f"/ui/c/{ONE}/events?from={number}&limit={50 - number}" for number in range(1, 6)),
    f"/ui/c/{MANY}/events?from=0",
    *(f"/ui/c/{ONE}/body/{make_event(number)['id']}?whole=true" for number in range(6)),
    f"/api/conversations/{ONE}/events/window?around=5&max_bytes={64 << 20}",
    f"/api/conversations/{ONE}/export?format=jsonl",
    f"/api/conversations/{ONE}/export?format=markdown",
    f"/api/conversations/{ONE}/export?format=html",
    f"/api/conversations/{MANY}/export?format=zip",
]
"""These are asked by `make large-events` alone: each takes 5 s."""


@pytest.mark.parametrize("path", [*_PATHS, *(_MORE_PATHS if _WHOLE else [])])
def test_clients_that_do_not_read_keep_little_in_memory(server: ServerProcess, idle: ServerProcess, path: str) -> None:
    with Watch(server, idle):
        behind = [server.open_request("GET", path) for _ in range(50)]
        time.sleep(4)
        for one in behind:
            leave(one)


@contextmanager
def reading(server: ServerProcess, *paths: str) -> Iterator[None]:
    """Have a client read answers, one after the other, during the block and until they are complete."""

    def read() -> None:
        with server.client() as client:
            client.timeout = httpx.Timeout(300)  # the others' large events come first
            for path in paths:
                with client.stream("GET", path) as answer:
                    assert answer.is_success
                    for _ in answer.iter_raw():
                        pass

    thread = Thread(target=read)
    thread.start()
    yield
    thread.join()


@pytest.mark.skipif(not _WHOLE, reason="it takes minutes; `make large-events` runs it")
def test_everything_at_once_keeps_little_in_memory(server: ServerProcess, idle: ServerProcess) -> None:
    api, page = f"/api/conversations/{ONE}", f"/ui/c/{ONE}"
    unread = [(f"{api}/events/stream", ()), (f"/sockets/events/{ONE}?resend_mode=all", SOCKET_HEADERS)]
    unread += [(f"/sockets/session/{MANY}?after_seq=-1", SOCKET_HEADERS), (f"{api}/events/search", ())]
    unread += [(f"{api}/export?format={kind}", ()) for kind in ("zip", "jsonl", "markdown", "html")]
    sections = [f"{page}/events?from={number}&limit={50 - number % 50}" for number in range(_LARGE)]
    bodies = [f"{page}/body/{make_event(number)['id']}?whole=true" for number in range(12)]
    with Watch(server, idle):
        behind = [server.open_request("GET", path, *headers) for path, headers in unread for _ in range(10)]
        with (
            reading(server, f"{api}/events/search"),
            reading(server, *sections),
            reading(server, *bodies),
            reading(server, f"{api}/export?format=html"),
        ):
            pass
        for one in behind:
            leave(one)


def test_sockets_that_do_not_read_keep_little_in_memory(server: ServerProcess, idle: ServerProcess) -> None:
    with Watch(server, idle):
        path = f"/sockets/events/{MANY}?resend_mode=all"
        behind = [server.open_request("GET", path, *SOCKET_HEADERS) for _ in range(50)]
        time.sleep(3)
        for one in behind:
            leave(one)
        path = f"/sockets/session/{MANY}?after_seq=-1"
        behind = [server.open_request("GET", path, *SOCKET_HEADERS) for _ in range(50)]
        time.sleep(3)
        for one in behind:
            leave(one)
        path = f"/sockets/events/{ONE}?resend_mode=all"
        behind = [server.open_request("GET", path, *SOCKET_HEADERS) for _ in range(10)]
        time.sleep(3)
        for one in behind:
            leave(one)
