"""Clients of an application or a real server: pages, sockets and event streams."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import ClientConnection, connect

from app import Settings
from app.api.app import create_app
from app.cli.serve import listen, options
from tests.builders import make_id, second_process
from tests.conftest import PACKAGE

KEY = "a-key"
HEADERS = {"X-Session-API-Key": KEY}
ONE = make_id(1)


async def walk_pages(client: httpx.AsyncClient, path: str, **params: Any) -> AsyncIterator[dict[str, Any]]:
    """Yield every page of a list, from the first one on."""
    token: str | None = None
    while True:
        answer = await client.get(path, params=params if token is None else params | {"page_id": token})
        assert answer.status_code == 200, answer.text
        page: dict[str, Any] = answer.json()
        yield page
        token = page["next_page_id"]
        if token is None:
            return


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
async def session(host: str, query: str = "", conversation: str = ONE) -> AsyncIterator[ClientConnection]:
    """Open a session socket with the key in its header. `query` begins with ?."""
    async with connect(f"ws://{host}/sockets/session/{conversation}{query}", additional_headers=HEADERS) as connection:
        yield connection


@asynccontextmanager
async def socket(host: str, query: str = "", conversation: str = ONE) -> AsyncIterator[ClientConnection]:
    async with connect(f"ws://{host}/sockets/events/{conversation}{query}") as connection:
        await connection.send(json.dumps({"type": "auth", "session_api_key": KEY}))
        yield connection


async def frame(connection: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(connection.recv(), 5))


async def frames(connection: ClientConnection, number: int) -> list[Any]:
    return [await frame(connection) for _ in range(number)]


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


async def close_code(connection: ClientConnection) -> int:
    """Wait until the server has closed the socket, and return the code that it gave."""
    async with asyncio.timeout(60):
        await connection.wait_closed()
    assert connection.close_code is not None
    return connection.close_code


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


def error_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    ours = [record for record in caplog.records if record.name.startswith(("uvicorn", f"{PACKAGE}.api"))]
    return [record.getMessage() for record in ours if record.levelno >= logging.ERROR]


def http_client(host: str) -> httpx.AsyncClient:
    """Return a client of a real server that holds its key."""
    return httpx.AsyncClient(base_url=f"http://{host}", headers=HEADERS)


async def read_metrics(client: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    """Return every sample by its name and the values of its labels."""
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


_SYNC = """
import asyncio, sys
from app import ConversationStore, Settings
async def main():
    async with ConversationStore.open(Settings(store=sys.argv[1])) as store:
        await store.sync()
    print("synced", flush=True)
asyncio.run(main())
"""


def sync_in_another_process(root: Path) -> None:
    with second_process(_SYNC, root) as other:
        assert other.hear() == "synced"


def raising(error: Exception) -> Callable[..., Awaitable[None]]:
    """Return a coroutine function that takes anything and raises `error`."""

    async def fail(*_: object, **__: object) -> None:
        raise error

    return fail
