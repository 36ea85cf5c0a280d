"""Uploads of archives."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from app import Settings
from tests.builders import make_event, make_id
from tests.conftest import serving
from tests.files.archives import ONE, good_entries, make_lines, make_zip

DASHED = "00000000-0000-4000-8000-000000000001"


async def send(client: httpx.AsyncClient, raw: bytes, query: str = "") -> httpx.Response:
    return await client.post(f"/api/conversations/import{query}", content=raw)


@pytest.mark.parametrize("raw", [make_zip(good_entries()), make_lines(make_event(0))], ids=["zip", "jsonl"])
async def test_an_archive_is_imported_and_listed(root: Path, raw: bytes) -> None:
    async with serving(Settings(store=root)) as client:
        dry = await send(client, raw, "?dry_run=true")
        answer = await send(client, raw)
        again = await send(client, raw)
        listed = await client.get(f"/api/conversations/{ONE}")
    assert dry.json()["dry_run"] is True
    [item] = answer.json()["items"]
    assert {name: item[name] for name in ("id", "archive_id", "action")} == {
        "id": DASHED, "archive_id": DASHED, "action": "import",
    }  # fmt: skip
    assert again.json()["items"][0]["action"] == "unchanged"
    assert listed.json()["id"] == DASHED
    assert not list((root / ".convstore").glob("import-*"))


async def test_what_was_downloaded_comes_back_under_a_new_id(root: Path) -> None:
    async with serving(Settings(store=root)) as client:
        await send(client, make_zip(good_entries()))
        download = await client.get(f"/api/conversations/{ONE}/export")
        copied = (await send(client, download.content, "?new_ids=true")).json()["items"][0]["id"]
        assert (await client.get(f"/api/conversations/{copied}")).json()["event_count"] == 2


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"nothing of the kind", 422, "archive_refused"),
        (b"", 422, "archive_refused"),
        (make_zip([*good_entries(), ("../evil", b"")]), 422, "archive_refused"),
        (make_zip([*good_entries(make_id(1)), (f"{ONE}/x", b"other")]), 409, "conversation_exists"),
        (make_zip([(f"{ONE}/x", bytes(range(256)) * 200)]) + bytes(9000), 413, "archive_too_large"),
    ],
)
async def test_what_is_refused_gets_a_status_and_a_reason(root: Path, raw: bytes, status: int, code: str) -> None:
    async with serving(Settings(store=root, import_max_bytes=8000)) as client:
        await send(client, make_zip(good_entries()))
        answer = await send(client, raw)
        assert (await client.get("/api/conversations/count")).text == "1"
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "import-" not in answer.json()["detail"]
    assert not list((root / ".convstore").glob("import-*"))
