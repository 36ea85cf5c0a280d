"""Real servers over one directory and one PostgreSQL, which do not see each other's locks of living owners."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from tests.builders import make_id
from tests.faults.networks import Network

KEY = "a-key"
SHORT = "0.3,2,3"
"""Times of hosts for tests that wait for a dead one: heartbeats, writing, being dead."""
_REPOSITORY = Path(__file__).parents[2]


class Host:
    """A server process with a name of its own."""

    def __init__(
        self, name: str, root: Path, url: str, schema: str, times: str = "", network: Network | None = None
    ) -> None:
        self.name = name
        self.root = root
        self.network = network or Network()
        self.claims = root.parent / f"{name}.claims"
        """A line of JSON for each time that the host became the owner of a conversation."""
        address, port = self.network.address, free_port()
        command = [sys.executable, "-m", "tests.faults.host", "serve", str(root)]
        self._command = [*self.network.prefix, *command, "--host", address, "--port", str(port)]
        self._environment = os.environ | {
            "CONVSTORE_INDEX_URL": url,
            "CONVSTORE_INDEX_SCHEMA": schema,
            "CONVSTORE_HOST_NAME": name,
            "CONVSTORE_API_KEY": KEY,
            "CONVSTORE_ALLOWED_HOSTS": address,
            "HOST_TIMES": times,
            "HOST_CLAIMS": str(self.claims),
        }
        self._log = root.parent / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None
        self.client = httpx.AsyncClient(
            base_url=f"http://{address}:{port}", headers={"X-Session-API-Key": KEY}, timeout=20
        )

    async def start(self) -> None:
        """Start the server and wait until it answers."""
        assert await self.try_start(), self.read_log()

    async def try_start(self) -> bool:
        """Start the server and wait until it answers. Return False if it ends."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, cwd=_REPOSITORY, env=self._environment, stdout=log, stderr=log
            )
        async with asyncio.timeout(60):
            while True:
                with suppress(httpx.TransportError):
                    if (await self.client.get("/ready", params={"wait": 30})).status_code == 200:
                        return True
                if self._process.returncode is not None:
                    return False
                await asyncio.sleep(0.05)

    def read_log(self) -> str:
        """Return what the server printed."""
        return self._log.read_text()

    def send(self, signal_: signal.Signals) -> None:
        """Send a signal to the server."""
        assert self._process is not None
        self._process.send_signal(signal_)

    @property
    def runs(self) -> bool:
        """Whether the process has not ended."""
        return self._process is not None and self._process.returncode is None

    async def end(self, signal_: signal.Signals = signal.SIGTERM) -> None:
        """End the server, also a stopped one."""
        if self._process is not None and self._process.returncode is None:
            self.send(signal_)
            self.send(signal.SIGCONT)
            await self._process.wait()

    async def close(self) -> None:
        """End the server and its client."""
        await self.end()
        await self.client.aclose()

    async def append(self, number: int, text: str) -> httpx.Response:
        """Send a message to a conversation."""
        return await self.client.post(f"/api/conversations/{make_id(number)}/events", json=message(text))

    async def list_texts(self, number: int) -> list[str]:
        """Return the texts of the messages that the server shows in a conversation, in order."""
        return [text for event in await self._list_events(number) if (text := text_of(event)) is not None]

    async def list_ids(self, number: int) -> list[str]:
        """Return the ids of the events that the server shows in a conversation, in order."""
        return [event["id"] for event in await self._list_events(number)]

    async def _list_events(self, number: int) -> list[dict[str, Any]]:
        events, page_id = [], None
        while True:
            asked = {"limit": "100"} | ({"page_id": page_id} if page_id else {})
            answer = await self.client.get(f"/api/conversations/{make_id(number)}/events/search", params=asked)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            events += page["items"]
            page_id = page["next_page_id"]
            if page_id is None:
                return events


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def message(text: str) -> dict[str, Any]:
    """Return the body of a request that sends a message."""
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def text_of(event: dict[str, Any]) -> str | None:
    """Return the text of a message, or None for another event."""
    said = event.get("llm_message")
    return said["content"][0]["text"] if said else None


@asynccontextmanager
async def running(
    names: Sequence[str], root: Path, url: str, schema: str, times: str = ""
) -> AsyncIterator[Sequence[Host]]:
    """Run servers over one directory and one index."""
    async with started([Host(name, root, url, schema, times) for name in names]) as hosts:
        yield hosts


@asynccontextmanager
async def started(hosts: Sequence[Host]) -> AsyncIterator[Sequence[Host]]:
    """Run these servers, which start together."""
    try:
        await asyncio.gather(*(host.start() for host in hosts))
        yield hosts
    finally:
        await asyncio.gather(*(host.close() for host in hosts))


def find_code(answer: httpx.Response) -> str:
    """Return the code of an error, or an empty text."""
    with suppress(ValueError, KeyError, TypeError):
        return str(answer.json()["code"])
    return ""


def find_generation(root: Path, number: int) -> int:
    """Return the generation of a conversation's lease."""
    found = re.search(rb'"generation":(\d+)', (root / make_id(number) / "owner_lease.json").read_bytes())
    assert found is not None
    return int(found[1])
