"""What closing writes: `updated_at` of a conversation that was written to, as agent-server saves it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from app import ConversationStore
from app.errors import IndexBusy
from app.files import durable
from app.index import conversation_rows
from app.model.archive_format import ExportFormat
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId
from app.store.admin import prune
from tests.builders import index_tables, make_conversation, make_event, make_id, names_in, opened_files, write_event
from tests.conftest import StoreOpener
from tests.store.admin.importing import exported, imported, written

ID = ConversationId(make_id(1))
LATER = make_event(5, timestamp="2026-10-02T08:00:00")
SAVED = "2026-10-02T08:00:00Z"


def make_old(root: Path, **meta: Any) -> Path:
    """Make a conversation whose files are an hour old."""
    path = make_conversation(root, meta=meta)
    for file in (*path.rglob("*"), path):
        os.utime(file, (time.time() - 3600,) * 2)
    return path


async def append(store: ConversationStore, **fields: Any) -> None:
    async with store.writer(ID) as conversation:
        await conversation.append(LATER | fields)


async def listed(store: ConversationStore) -> Any:
    return orjson.loads(await store.get_conversation(ID))["updated_at"]


def look(path: Path) -> tuple[bytes, int, int]:
    """Return what of a meta.json would differ if it were written."""
    status = (path / "meta.json").stat()
    return (path / "meta.json").read_bytes(), status.st_mtime_ns, status.st_ino


def meta_of(path: Path) -> Any:
    return json.loads((path / "meta.json").read_text())


@asynccontextmanager
async def opened(open_store: StoreOpener, root: Path, **settings: Any) -> AsyncIterator[ConversationStore]:
    async with open_store(root, timezone="UTC", **settings) as store:
        yield store


async def test_the_time_that_lists_show_is_saved_and_all_else_stays(root: Path, open_store: StoreOpener) -> None:
    path = make_old(root, api_key="gAAAA", **{"fields unknown": [1.50, None]})
    before = (path / "meta.json").read_bytes()
    async with opened(open_store, root) as store:
        await append(store)
        assert (path / "meta.json").read_bytes() == before
        shown = await store.get_conversation(ID)
        place = await store.get_place()
    assert (path / "meta.json").read_bytes() == before.replace(b"2026-10-01T13:00:00Z", SAVED.encode())
    async with opened(open_store, root, synced=False) as store:
        assert (await store.list_changes(place)).items == []
        with opened_files() as seen:
            assert (await store.sync()).opened == 0
        assert not [name for name in seen if "meta.json" in name]
        assert await store.get_conversation(ID) == shown
        assert await store.verify() == []


async def test_who_exports_and_imports_keeps_it_and_so_it_is_pruned_at_its_age(
    root: Path, tmp_path: Path, open_store: StoreOpener
) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    make_old(root)
    (tmp_path / "other").mkdir()
    async with opened(open_store, root) as store:
        await append(store, timestamp=yesterday.isoformat())
        shown = await listed(store)
    async with opened(open_store, root) as store, opened(open_store, tmp_path / "other") as other:
        await imported(other, written(tmp_path / "archive", await exported(store, ExportFormat.ZIP)))
        assert await listed(other) == shown
        for days, found in ((2, []), (0, [ID])):
            before_us = int((datetime.now(UTC) - timedelta(days=days)).timestamp() * 1e6)
            asked = prune.quiet_since(ConversationFilter(), before_us)
            old = await prune.find_candidates(other, asked)
            assert [one.id for one in old] == found


async def test_who_wrote_nothing_saves_nothing(root: Path, open_store: StoreOpener) -> None:
    path = make_old(root)
    write_event(path, 2, LATER)
    before = look(path)
    async with opened(open_store, root) as store:
        assert await listed(store) == SAVED
        async with store.writer(ID):
            pass
    assert look(path) == before


@pytest.mark.parametrize("saved", ["2026-10-03T00:00:00Z", SAVED, None, "yesterday"])
async def test_what_is_not_behind_stays(root: Path, open_store: StoreOpener, saved: str | None) -> None:
    path = make_old(root, updated_at=saved)
    before = look(path)
    async with opened(open_store, root) as store:
        await append(store)
    assert look(path) == before


async def test_one_without_a_meta_json_gets_none(root: Path, open_store: StoreOpener) -> None:
    path = make_old(root)
    (path / "meta.json").unlink()
    async with opened(open_store, root) as store:
        await append(store)
        assert await listed(store) == SAVED
    assert "meta.json" not in names_in(path)


async def test_a_time_to_come_is_not_made_to_last(root: Path, open_store: StoreOpener) -> None:
    path = make_old(root)
    async with opened(open_store, root) as store:
        before = datetime.now(UTC)
        await append(store, timestamp="2126-01-01T00:00:00")
        shown = await listed(store)
        assert before <= datetime.fromisoformat(shown) <= datetime.now(UTC)
    assert meta_of(path)["updated_at"] == shown
    async with opened(open_store, root) as store:
        assert await store.verify() == []


async def test_what_another_program_changed_meanwhile_is_left_to_it(root: Path, open_store: StoreOpener) -> None:
    path = make_old(root)
    async with opened(open_store, root) as store:
        await append(store)
        (path / "meta.json").write_text(json.dumps(meta_of(path) | {"title": "another"}))
    assert meta_of(path)["updated_at"] == "2026-10-01T13:00:00Z"
    async with opened(open_store, root) as store:
        assert await store.verify() == []


async def test_an_error_keeps_no_lease(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = make_old(root)
    real = durable.write_temporary

    def fail(dir_fd: int, name: str, *more: Any, **how: Any) -> Any:
        if name == "meta.json":
            raise OSError(5, "Input/output error")
        return real(dir_fd, name, *more, **how)

    monkeypatch.setattr(durable, "write_temporary", fail)
    async with opened(open_store, root) as store:
        await append(store)
    assert json.loads((path / "owner_lease.json").read_text())["expires_at"] == 0
    assert "updated_at could not be written to meta.json" in caplog.text
    async with opened(open_store, root) as store:
        assert await listed(store) == SAVED
        assert await store.verify() == []


async def test_one_that_a_client_owned_is_saved_when_it_gives_it_back(root: Path, open_store: StoreOpener) -> None:
    path = make_old(root)
    async with opened(open_store, root) as store:
        held = await store.claim(ID, "a client", ttl_s=60)
        async with store.writer(ID, held=held) as conversation:
            await conversation.append(LATER)
        await store.release(ID, held)
        assert meta_of(path)["updated_at"] == SAVED


@pytest.mark.long
async def test_an_idle_one_is_closed_once_its_new_row_can_be_trusted(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.files.fingerprint.time_ns", time.time_ns)
    path = make_old(root)
    async with opened(open_store, root, idle_s=0.5) as store:
        await append(store)
        revision = (await store.get_status())[0].revision
        async with asyncio.timeout(60):
            while store._writers.has_open(ID) or store._writers._closing:
                await asyncio.sleep(0.05)
        assert meta_of(path)["updated_at"] == SAVED
        assert json.loads((path / "owner_lease.json").read_text())["expires_at"] == 0
        before = index_tables(store.settings.index_path)
        assert (await store.sync()).opened == 0
        assert index_tables(store.settings.index_path) == before
        assert (await store.get_status())[0].revision == revision


async def test_an_index_that_cannot_be_written_follows_later(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_old(root)

    def busy(*_: Any, **__: Any) -> None:
        raise IndexBusy("the index is busy")

    async with opened(open_store, root) as store:
        await append(store)
        monkeypatch.setattr(conversation_rows, "upsert_rows", busy)
    monkeypatch.undo()
    assert meta_of(path)["updated_at"] == SAVED
    assert json.loads((path / "owner_lease.json").read_text())["expires_at"] == 0
    async with opened(open_store, root) as store:
        assert await listed(store) == SAVED
        assert await store.verify() == []
