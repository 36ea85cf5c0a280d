"""The audit trail: who wrote, exported, or came with a refused key."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from app import Settings
from app.api.access.keys import Key, Right
from app.api.headers import API_KEY
from app.model.ids import ConversationId, dashed
from tests.api.clients import HEADERS, KEY, listening
from tests.builders import NEW_CONVERSATION, make_conversation, make_id
from tests.conftest import serving

FULL, READ = "full-key-0123456789", "read-key-0123456789"
FINGERPRINT, READER = Key(FULL, Right.FULL).fingerprint, Key(READ, Right.READ).fingerprint
ID = dashed(ConversationId(make_id(1)))
ONE = f"/api/conversations/{make_id(1)}"
ROUTE = "/api/conversations/{conversation_id}"


@pytest.fixture
async def client(root: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[httpx.AsyncClient]:
    make_conversation(root)
    make_conversation(root, 2)
    caplog.set_level(logging.INFO, "audit")
    async with serving(Settings.model_validate({"store": root, "read_keys": READ}), FULL) as client:
        yield client


def trail(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record)["fields"] for record in caplog.records if record.name == "audit"]


async def test_each_write_and_export_has_one_line(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    await client.patch(ONE, json={"title": "a title that no log shows"})
    await client.get(f"{ONE}/export?a-query-that-no-log-shows")
    await client.get(ONE)
    both = {"ids": [make_id(1), make_id(2)]}
    await client.post("/api/conversations/bulk/archive", json=both)
    await client.post("/api/conversations/bulk/export", json=both)
    made = (await client.post("/api/conversations", json=NEW_CONVERSATION)).json()["id"]
    await client.delete(f"/api/conversations/{make_id(9)}")
    same = {"client": "127.0.0.1", "key": FINGERPRINT}
    two = [ID, dashed(ConversationId(make_id(2)))]
    wanted = [
        ("write", "PATCH", ROUTE, 200, [ID]),
        ("export", "GET", f"{ROUTE}/export", 200, [ID]),
        ("write", "POST", "/api/conversations/bulk/archive", 200, two),
        ("export", "POST", "/api/conversations/bulk/export", 200, two),
        ("write", "POST", "/api/conversations", 201, [made]),
        ("write", "DELETE", ROUTE, 404, [dashed(ConversationId(make_id(9)))]),
    ]
    assert trail(caplog) == [
        {
            "audit": act,
            "result": "done" if status < 400 else "refused",
            "method": method,
            "route": route,
            "status": status,
            "conversations": ids,
            **same,
        }
        for act, method, route, status, ids in wanted
    ]
    said = [record.getMessage() for record in caplog.records if record.name != "httpx"]  # which is the client here
    assert "no-log-shows" not in "".join(said).replace(" ", "-")
    assert FULL not in caplog.text


async def test_what_empties_the_trash_or_imports_names_the_conversations(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    archive = (await client.get(f"{ONE}/export")).content
    await client.delete(ONE)
    await client.post("/api/trash/empty", json={"dry_run": True})
    await client.post("/api/trash/empty")
    await client.post("/api/conversations/import?dry_run=true", content=archive)
    await client.post("/api/conversations/import", content=archive)
    await client.post("/api/conversations/import", content=archive)  # changes nothing
    await client.post("/api/conversations/bulk/delete", json={"ids": [make_id(1)], "dry_run": True})
    lines = [(line["route"], line.get("dry_run"), line.get("conversations")) for line in trail(caplog)[2:]]
    assert lines == [
        ("/api/trash/empty", True, [ID]),
        ("/api/trash/empty", None, [ID]),
        ("/api/conversations/import", True, [ID]),
        ("/api/conversations/import", None, [ID]),
        ("/api/conversations/import", None, None),
        ("/api/conversations/bulk/delete", True, [ID]),
    ]


async def test_a_refused_key_has_a_line_and_a_flood_of_them_has_few(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 600.0
    monkeypatch.setattr("app.api.access.audit.time.monotonic", lambda: now)
    wrong = "a-wrong-key-01234"
    for _ in range(100):
        await client.get(ONE, headers={API_KEY: wrong})
    lines = trail(caplog)
    assert len(lines) == 60
    fingerprint = Key(wrong, Right.FULL).fingerprint
    refused = {"audit": "refused key", "result": "refused", "method": "GET", "route": ROUTE, "status": 401}
    assert lines[0] == refused | {"conversations": [ID], "client": "127.0.0.1", "key": fingerprint}
    now = 660.0
    await client.patch(ONE, headers={API_KEY: READ}, json={"title": "x"})
    last = trail(caplog)[-1]
    assert (last["not_logged"], last["status"], last["key"]) == (40, 403, READER)
    assert wrong not in caplog.text


async def test_a_socket_has_lines_for_messages_and_refused_keys(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_conversation(root)
    caplog.set_level(logging.INFO, "audit")
    async with listening(root) as host:
        url = f"ws://{host}/sockets/events/{make_id(1)}"
        async with connect(url, additional_headers=HEADERS) as socket:
            await socket.send(json.dumps({"role": "user", "content": [{"type": "text", "text": "a secret text"}]}))
            while "NoAgent" not in str(await socket.recv()):
                pass
        with pytest.raises(InvalidStatus):
            async with connect(url, additional_headers={API_KEY: "wrong"}):
                pass
    route = "/sockets/events/{conversation_id}"
    written, refused = trail(caplog)
    assert (written["audit"], written["route"], written["status"]) == ("write", route, 200)
    assert (written["conversations"], written["key"]) == ([ID], Key(KEY, Right.FULL).fingerprint)
    assert (refused["audit"], refused["status"], refused["conversations"]) == ("refused key", 401, [ID])
    assert "a secret text" not in caplog.text
