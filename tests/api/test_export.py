"""Downloads of a conversation."""

from __future__ import annotations

import errno
import json
import os
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from app import Settings
from app.files.archive import export_reader as files
from tests.builders import make_conversation, make_id
from tests.conftest import serving


@pytest.mark.parametrize(
    ("query", "media_type", "suffix"),
    [
        ("", "application/zip", "zip"),
        ("?format=zip", "application/zip", "zip"),
        ("?format=jsonl", "application/x-ndjson", "jsonl"),
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
    assert answer.json()["detail"].endswith(" is not exported: it cannot be read (Permission denied)")
