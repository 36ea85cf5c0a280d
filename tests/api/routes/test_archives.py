"""Exports of a conversation, and imports of archives."""

from __future__ import annotations

import errno
import json
import os
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest

from app import Settings
from app.files.archive import export_reader as files
from tests.builders import make_conversation, make_event, make_id, make_message_event, write_event
from tests.conftest import serving
from tests.files.archives import ONE, good_entries, make_lines, make_zip


@pytest.mark.parametrize(
    ("query", "media_type", "suffix"),
    [
        ("", "application/zip", "zip"),
        ("?format=zip", "application/zip", "zip"),
        ("?format=jsonl", "application/x-ndjson", "jsonl"),
        ("?format=html", "text/html; charset=utf-8", "html"),
        ("?format=markdown", "text/markdown; charset=utf-8", "md"),
    ],
)
async def test_a_conversation_is_downloaded(root: Path, query: str, media_type: str, suffix: str) -> None:
    make_conversation(root, state={"agent": {"kind": "Agent", "llm": {"model": "m", "api_key": "planted"}}})
    async with serving(Settings(store=root)) as client:
        answer = await client.get(f"/api/conversations/{make_id(1)}/export{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert answer.headers["content-disposition"] == f'attachment; filename="{make_id(1)}.{suffix}"'
    assert b"planted" not in answer.content
    if suffix == "zip":
        with zipfile.ZipFile(BytesIO(answer.content)) as archive:
            state = json.loads(archive.read(f"{make_id(1)}/base_state.json"))
        assert state["agent"]["llm"]["api_key"] == "**********"
    else:
        assert b"message 0" in answer.content


@pytest.mark.parametrize("kind", ["zip", "jsonl", "html", "markdown"])
async def test_a_short_download_has_a_length_and_an_etag(root: Path, kind: str) -> None:
    directory = make_conversation(root)
    path = f"/api/conversations/{make_id(1)}/export?format={kind}"
    async with serving(Settings(store=root)) as client:
        answer = await client.get(path)
        etag = {"If-None-Match": answer.headers["etag"]}
        again = await client.get(path, headers=etag)
        write_event(directory, 0, make_message_event(0, "other words"))
        changed = await client.get(path, headers=etag)
    assert answer.headers["content-length"] == str(len(answer.content))
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", answer.headers["etag"])
    assert changed.status_code == 200
    assert changed.headers["etag"] != answer.headers["etag"]


async def test_a_long_download_is_sent_while_it_is_made(root: Path) -> None:
    events = [make_message_event(seq, f"{seq} {os.urandom(100_000).hex()}") for seq in range(8)]
    make_conversation(root, events=events)
    async with serving(Settings(store=root)) as client:
        answer = await client.get(f"/api/conversations/{make_id(1)}/export?format=jsonl")
    assert {"etag", "content-length"}.isdisjoint(answer.headers)
    assert all(json.dumps(event["id"]) in answer.text for event in events)


async def test_only_what_exists_can_be_downloaded_in_a_known_format(root: Path) -> None:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        unknown = await client.get(f"/api/conversations/{make_id(2)}/export")
        badly = await client.get(f"/api/conversations/{make_id(1)}/export?format=tar")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "conversation_not_found")
    assert (badly.status_code, badly.json()["code"]) == (422, "invalid_parameter")


async def test_what_may_not_be_read_is_no_empty_download(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Iterator[None]:
        yield from ()
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    make_conversation(root)
    monkeypatch.setattr(files, "read_files", refuse)
    async with serving(Settings(store=root)) as client:
        answer = await client.get(f"/api/conversations/{make_id(1)}/export")
    assert (answer.status_code, answer.json()["code"]) == (409, "unreadable_file")
    assert answer.json()["detail"].endswith(" cannot be exported: it cannot be read (Permission denied)")


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


async def test_the_downloads_of_agent_server_are_the_export(root: Path) -> None:
    make_conversation(root, state={"agent": {"kind": "Agent", "llm": {"model": "m", "api_key": "planted"}}})
    paths = [
        f"/api/file/download-trajectory/{make_id(1)}",
        f"/api/conversations/{make_id(1)}/file/download-trajectory/{make_id(1)}",
    ]
    async with serving(Settings(store=root)) as client:
        for path in paths:
            answer = await client.get(path)
            assert answer.headers["content-disposition"] == f'attachment; filename="{make_id(1)}.zip"'
            with zipfile.ZipFile(BytesIO(answer.content)) as archive:
                names = archive.namelist()
                state = json.loads(archive.read(f"{make_id(1)}/base_state.json"))
            assert sum("/events/event-" in name for name in names) == 2
            assert state["agent"]["llm"]["api_key"] == "**********"
            assert (await client.get(path.replace(make_id(1), make_id(9)))).status_code == 404
