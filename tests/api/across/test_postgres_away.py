"""While PostgreSQL is away, lists are refused with 503; when it is back, everything goes on by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import Settings
from tests.builders import make_conversation, make_id
from tests.conftest import answering, serving
from tests.postgres import own_server

pytestmark = [pytest.mark.long, pytest.mark.postgres]

LIST = "/api/conversations/search"
EVENTS = f"/api/conversations/{make_id(1)}/events"
SENT = {"role": "user", "content": [{"type": "text", "text": "while it was away"}]}


async def until_ready(client: httpx.AsyncClient) -> httpx.Response:
    async with asyncio.timeout(60):
        while (answer := await client.get(LIST)).status_code != 200:
            await asyncio.sleep(0.1)
    return answer


async def test_a_server_that_was_away_is_used_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setattr("app.index.postgres.duties._BEAT_S", 0.2)
    make_conversation(root)
    with own_server() as server:
        async with serving(Settings(store=root, index_url=server.url)) as client:
            assert (await client.post(EVENTS, json=SENT)).status_code == 200
            await asyncio.to_thread(server.stop)
            refused = await client.get(LIST)
            assert (refused.status_code, refused.json()["code"]) == (503, "index_unusable")
            assert "Retry-After" in refused.headers
            assert (await client.get("/ready")).status_code == 503
            assert (await client.get("/alive")).status_code == 200
            sent = await client.post(EVENTS, json=SENT)
            assert sent.status_code in (200, 503)
            await asyncio.to_thread(server.start)
            listed = (await until_ready(client)).json()["items"]
            assert [one["id"].replace("-", "") for one in listed] == [make_id(1)]
            assert (await client.post(EVENTS, json=SENT)).status_code == 200
            wanted = number_of_events(root)
            async with asyncio.timeout(60):
                while (await count(client)) != wanted:
                    await asyncio.sleep(0.1)


async def test_a_server_that_starts_before_its_database_is_ready_with_it(root: Path) -> None:
    pytest.importorskip("psycopg")
    make_conversation(root)
    with own_server() as server:
        server.stop()
        async with answering(Settings(store=root, index_url=server.url)) as client:
            for path in ("/ready", LIST):
                refused = await client.get(path)
                assert (refused.status_code, refused.json()["code"]) == (503, "index_unusable"), path
                assert "does not answer" in refused.json()["detail"]
            assert (await client.get("/alive")).status_code == 200
            assert (await client.post(EVENTS, json=SENT)).status_code == 503
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(60):
                while not (await until_ready(client)).json()["items"]:
                    await asyncio.sleep(0.1)
            assert (await client.post(EVENTS, json=SENT)).status_code == 200
            assert (await client.get("/ready", params={"wait": 30})).status_code == 200


def number_of_events(root: Path) -> int:
    return len(list((root / make_id(1) / "events").glob("event-*.json")))


async def count(client: httpx.AsyncClient) -> Any:
    return (await client.get(f"{EVENTS}/count")).json()
