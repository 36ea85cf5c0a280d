"""Each key: its fingerprint, what it may do, and where a request may bring it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute
from websockets.asyncio.client import connect

from app import Settings
from app.api.access.audit import READING_POSTS
from app.api.access.keys import Key, Keys, Right
from app.api.app import create_app
from app.api.headers import API_KEY
from tests.api.clients import KEY, http_client, listening
from tests.builders import make_conversation, make_id
from tests.conftest import serving

COUNT = "/api/conversations/count"
ONE = f"/api/conversations/{make_id(1)}"
FULL, READ = "full-key-0123456789", "read-key-0123456789"
MESSAGE = {"role": "user", "content": [{"type": "text", "text": "hello"}]}


@pytest.fixture
def settings(root: Path) -> Settings:
    make_conversation(root)
    return Settings.model_validate({"store": root, "read_keys": READ})


@pytest.fixture
async def reader(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client that holds the read-only key."""
    async with serving(settings, FULL) as client:
        client.headers[API_KEY] = READ
        yield client


def test_a_fingerprint_is_the_beginning_of_the_sha256() -> None:
    assert Key(FULL, Right.FULL).fingerprint == sha256(FULL.encode()).hexdigest()[:8]


def test_a_key_in_both_lists_is_a_full_key(tmp_path: Path) -> None:
    keys = Keys([FULL], tmp_path, [FULL, READ])
    assert [(key.secret, key.right) for key in keys.all] == [(FULL, Right.FULL), (READ, Right.READ)]
    assert keys.describe() == f"1 full ({keys.all[0].fingerprint}), 1 read-only ({keys.all[1].fingerprint})"


async def test_a_read_only_key_reads_all_and_writes_nothing(reader: httpx.AsyncClient, settings: Settings) -> None:
    for path in (COUNT, ONE, f"{ONE}/events/search", f"{ONE}/export", "/metrics", "/api/changes", "/api/doctor"):
        assert (await reader.get(path)).status_code == 200, path
    assert (await reader.head(ONE)).status_code == 200
    exported = await reader.post("/api/conversations/bulk/export", json={"ids": [make_id(1)]})
    assert exported.status_code == 200
    assert (await reader.post("/mcp", json={})).status_code != 403  # all its tools only read
    refused = [
        (method, route.path)
        for route in create_app(settings, [FULL]).routes
        if isinstance(route, APIRoute) and route.path not in READING_POSTS and route.path != "/api/session"
        for method in (route.methods or set()) - {"GET", "HEAD", "OPTIONS"}
    ]
    assert len(refused) > 15
    for method, path in refused:
        answer = await reader.request(
            method, path.format(conversation_id=make_id(1), event_id="x", export_id="x"), json={}
        )
        told = {"detail": "this key may only read; use a full key to change something", "code": "read_only_key"}
        assert (answer.status_code, answer.json()) == (403, told), path


async def test_a_page_signed_in_with_a_read_only_key_only_reads(reader: httpx.AsyncClient) -> None:
    session = (await reader.post("/api/session", json={"key": READ})).json()
    assert session["read_only"] is True
    reader.headers[API_KEY] = session["token"]
    assert (await reader.get(COUNT)).status_code == 200
    assert (await reader.patch(ONE, json={"title": "x"})).json()["code"] == "read_only_key"
    assert (await reader.delete("/api/session")).status_code == 204
    assert (await reader.get(COUNT)).status_code == 401
    assert (await reader.post("/api/session", json={"key": FULL})).json()["read_only"] is False


@pytest.mark.parametrize("path", ["events", "session"])
async def test_a_socket_with_a_read_only_key_reads_and_does_not_append(root: Path, path: str) -> None:
    make_conversation(root)
    async with listening(root, read_keys=READ) as host, http_client(host) as client:
        url = f"ws://{host}/sockets/{path}/{make_id(1)}"
        async with connect(url, additional_headers={API_KEY: READ}) as socket:
            await socket.send(json.dumps(MESSAGE))
            async with asyncio.timeout(60):
                while "read_only_key" not in (frame := str(await socket.recv())):
                    assert "hello" not in frame
        assert "hello" not in (await client.get(f"{ONE}/events/search")).text


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Bearer {FULL}", 200),
        (f"bearer  {FULL}", 200),
        (f"Basic {FULL}", 401),
        (FULL, 401),
        ("Bearer", 401),
        ("Bearer wrong", 401),
    ],
)
async def test_a_key_may_come_as_a_bearer_token(settings: Settings, header: str, status: int) -> None:
    async with serving(settings, FULL) as client:
        del client.headers[API_KEY]
        for path in (COUNT, "/metrics"):
            assert (await client.get(path, headers={"Authorization": header})).status_code == status
        both = {"Authorization": header, API_KEY: "wrong"}
        assert (await client.get(COUNT, headers=both)).status_code == 401


async def test_a_socket_accepts_a_bearer_token(root: Path) -> None:
    make_conversation(root)
    async with listening(root) as host:
        headers = {"Authorization": f"Bearer {KEY}"}
        async with connect(f"ws://{host}/sockets/events/{make_id(1)}", additional_headers=headers) as socket:
            assert "full_state" in str(await socket.recv())
