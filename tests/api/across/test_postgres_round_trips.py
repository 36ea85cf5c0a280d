"""How often a request goes to PostgreSQL and back, as a relay between the two counts it."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from app import Settings
from tests.builders import make_conversation, make_id
from tests.conftest import serving

pytestmark = [pytest.mark.long, pytest.mark.postgres]

_NAME = ".s.PGSQL.5432"
_TRIES = 7
_WARM = 8
"""How often a request is made before it is counted, so that its statements are prepared."""

SENT = {"role": "user", "content": [{"type": "text", "text": "hello there"}]}


class Relay:
    """Passes on what clients and the server send, and counts how often a client spoke after the server."""

    def __init__(self, directory: Path, server: str) -> None:
        self.trips = 0
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / _NAME))
        self._listener.listen(50)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=[client], daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, selectors.DefaultSelector() as ready:
            server.connect(self._server)
            for end, other in ((client, server), (server, client)):
                ready.register(end, selectors.EVENT_READ, other)
            asking = False
            while True:
                for key, _ in ready.select():
                    one: socket.socket = key.fileobj  # type: ignore[assignment]
                    try:
                        data = one.recv(1 << 16)
                        key.data.sendall(data)
                    except OSError:
                        return
                    if not data:
                        return
                    if one is client and not asking:
                        self.trips += 1
                    asking = one is client

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def relay(postgres_url: str) -> Iterator[tuple[Relay, str]]:
    """A relay to the server, and the URL with which it is reached."""
    parts = urlsplit(postgres_url)
    [host] = parse_qs(parts.query).get("host", [""])
    if not host.startswith("/"):
        pytest.skip("the server has no socket in the file system")
    with TemporaryDirectory(prefix="relay-") as name, closing(Relay(Path(name), f"{host}/{_NAME}")) as relay:
        yield relay, parts._replace(query=f"host={name}").geturl()


async def test_each_request_makes_few_round_trips(root: Path, relay: tuple[Relay, str], schema: str) -> None:
    counted, url = relay
    for number in range(1, 4):
        make_conversation(root, number, events=5)
    most = {
        "a page never asked for": 2,
        "a page asked for again": 1,
        "a count": 2,
        "all facets": 2,
        "a conversation": 1,
        "a page of events": 3,
        "a search": 8,
        "an append": 8,
    }
    found = {}
    settings = Settings(store=root, index_url=url, index_schema=schema, search_timeout_s=60)
    async with serving(settings) as client:
        for name in most:
            least = 100
            for turn in range(_WARM + _TRIES):  # the least, because work in the background goes there, too
                before = counted.trips
                request = _requests(turn)[name]
                request.headers.update(client.headers)
                (await client.send(request)).raise_for_status()
                least = min(least, counted.trips - before)
            found[name] = least
    assert {name: trips for name, trips in found.items() if trips > most[name]} == {}


def _requests(turn: int) -> dict[str, httpx.Request]:
    """Return a request of each kind. A turn's lists differ from those of other turns."""
    lists, by = "http://localhost/api/conversations", "status,model,workspace,agent_kind,tag,day,month"
    one = f"{lists}/{make_id(1)}"
    return {
        "a page never asked for": httpx.Request("GET", f"{lists}/search?limit=20&x={turn}"),
        "a page asked for again": httpx.Request("GET", f"{lists}/search?limit=20"),
        "a count": httpx.Request("GET", f"{lists}/count?status=idle&x={turn}"),
        "all facets": httpx.Request("GET", f"{lists}/facets?by={by}&limit={1 + turn}"),
        "a conversation": httpx.Request("GET", one),
        "a page of events": httpx.Request("GET", f"{one}/events/search?limit=20"),
        "a search": httpx.Request("GET", f"http://localhost/api/messages/search?q=hello%20&limit={1 + turn}"),
        "an append": httpx.Request("POST", f"{one}/events", json=SENT),
    }
