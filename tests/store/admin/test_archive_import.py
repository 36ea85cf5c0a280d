"""Importing: what is taken, under which ids, and what stands afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.errors import ConversationExists, DirectoryTaken
from app.model.archive_format import FOREIGN_ARCHIVE, OWN_ARCHIVE, ExportFormat, OnClash
from app.model.ids import ConversationId, dashed
from app.store.admin.archive_import import Action, import_conversations
from tests.builders import (
    FOREIGN,
    details_in,
    index_tables,
    make_conversation,
    make_event,
    make_foreign,
    make_id,
    make_meta,
    names_in,
    write_event,
)
from tests.conftest import StoreOpener
from tests.files.archives import (
    ONE,
    Entry,
    good_entries,
    make_zip,
)
from tests.store.admin.importing import exported, imported, snapshot, written

LOSSLESS = [ExportFormat.ZIP, ExportFormat.JSONL]


@pytest.mark.parametrize("kind", LOSSLESS)
async def test_the_whole_corpus_comes_back_by_every_byte(
    corpus: Path, tmp_path: Path, archive: Path, open_store: StoreOpener, kind: ExportFormat
) -> None:
    (tmp_path / "other").mkdir()
    async with open_store(corpus) as store, open_store(tmp_path / "other") as other:
        first = await exported(store, kind, with_secrets=True)
        plan = await import_conversations(other, [written(archive, first)], OWN_ARCHIVE)
        assert await exported(other, kind, with_secrets=True) == first
        masked = await exported(store, kind)
        assert await exported(other, kind) == masked
    assert {one.action for one in plan} == {Action.IMPORT}
    assert snapshot(tmp_path / "other") == snapshot(corpus)
    before, after = (index_tables(path / ".convstore" / "index.db") for path in (corpus, tmp_path / "other"))
    assert after == before


@pytest.mark.parametrize("kind", LOSSLESS)
async def test_damaged_conversations_come_back_as_they_are(
    root: Path, tmp_path: Path, archive: Path, open_store: StoreOpener, kind: ExportFormat
) -> None:
    gap = make_conversation(root, 1, events=3)
    next((gap / "events").glob("event-00001-*")).unlink()
    torn = make_conversation(root, 2)
    write_event(torn, 2).write_text('{"torn')
    write_event(torn, 3).write_text("")
    (make_conversation(root, 3) / "meta.json").unlink()
    (make_conversation(root, 4) / "base_state.json").write_text("{")
    pretty = make_conversation(root, 5)
    (pretty / "meta.json").write_text(json.dumps(make_meta(make_id(5)), indent=2))
    (pretty / "observations").mkdir()
    (pretty / "observations" / "é.bin").write_bytes(bytes(range(256)))
    twice = make_conversation(root, 6)
    write_event(twice, 1, make_event(7))
    (tmp_path / "other").mkdir()
    async with open_store(root) as store, open_store(tmp_path / "other") as other:
        first = await exported(store, kind, with_secrets=True)
        await import_conversations(other, [written(archive, first)], OWN_ARCHIVE)
        assert await exported(other, kind, with_secrets=True) == first
    ours = {name: raw for name, raw in snapshot(tmp_path / "other").items() if not name.endswith(".marker")}
    assert ours == snapshot(root)


async def test_a_log_without_gaps_gets_the_marker_that_agent_server_trusts(
    root: Path, archive: Path, open_store: StoreOpener
) -> None:
    entries: list[Entry] = [*good_entries(), (f"{ONE}/events/.eventlog-len-9.marker", b"")]
    async with open_store(root) as store:
        await import_conversations(store, [written(archive, make_zip(entries))], OWN_ARCHIVE)
    assert [path.name for path in (root / ONE / "events").glob(".*")] == [".eventlog-len-2.marker"]


async def test_a_zip_of_a_whole_store_brings_back_what_it_has_and_not_its_trash(
    root: Path, tmp_path: Path, open_store: StoreOpener
) -> None:
    path = make_conversation(root, 1)
    make_conversation(root, 2)
    (path / "meta.json").write_text("torn")
    (tmp_path / "other").mkdir()
    async with open_store(root) as store, open_store(tmp_path / "other") as other:
        await store.repair(ConversationId(ONE))  # a copy of it is in the trash
        await store.delete(ConversationId(make_id(2)))
        raw = Path(shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path, "conversations"))
        assert [one.id for one in await import_conversations(other, [raw], FOREIGN_ARCHIVE)] == [ONE]
        assert await other.count_conversations() == 1


async def test_agent_servers_download_is_taken(root: Path, archive: Path, open_store: StoreOpener) -> None:
    """It has entries for directories, and holds locks, a lease and markers."""
    raw = make_zip(
        [
            (f"{ONE}/", b""), (f"{ONE}/events/", b""), *good_entries(),
            (f"{ONE}/owner_lease.json", b"{}"), (f"{ONE}/.owner_lease.lock", b""),
            (f"{ONE}/events/.eventlog.lock", b""), (f"{ONE}/events/.eventlog-len-2.marker", b""),
            (f"{ONE}/observations/a.txt", b"long output"),
        ]
    )  # fmt: skip
    async with open_store(root) as store:
        [planned] = await import_conversations(store, [written(archive, raw)], FOREIGN_ARCHIVE)
        assert json.loads(await store.get_conversation(ConversationId(ONE)))["event_count"] == 2
    assert planned.files == 5
    assert not (root / ONE / "owner_lease.json").exists()
    assert (root / ONE / "observations" / "a.txt").read_text() == "long output"


@pytest.mark.parametrize("prefix", ["", "a/folder/", "conversations/" + ONE + "/", "my talk/"])
async def test_the_conversation_is_found_wherever_it_lies_in_a_zip(
    root: Path, archive: Path, open_store: StoreOpener, prefix: str
) -> None:
    raw = make_zip([*good_entries(prefix=prefix), ("__MACOSX/x", b"")] if prefix else good_entries(prefix=""))
    async with open_store(root) as store:
        [planned] = await import_conversations(store, [written(archive, raw)], OWN_ARCHIVE)
    assert (planned.id, planned.files) == (ONE, 4)


@pytest.mark.parametrize("what", ["the directory", "its parent", "a parent of archives"])
async def test_directories_are_taken_also_those_of_the_cli(
    root: Path, tmp_path: Path, open_store: StoreOpener, what: str
) -> None:
    path = make_conversation(tmp_path / "from", directory="00000000-0000-4000-8000-000000000001")
    (path / "meta.json").unlink()
    (path / "linked").symlink_to("/etc")
    given = {"the directory": path, "its parent": path.parent, "a parent of archives": tmp_path / "zips"}[what]
    (tmp_path / "zips").mkdir()
    (tmp_path / "zips" / "a.zip").write_bytes(make_zip(good_entries()))
    async with open_store(root) as store:
        [planned] = await import_conversations(store, [given], OWN_ARCHIVE)
        assert await store.count_conversations() == 1
    assert planned.id == ONE
    assert not (root / ONE / "linked").exists()


async def test_an_import_may_be_repeated(root: Path, archive: Path, open_store: StoreOpener) -> None:
    written(archive, make_zip([*good_entries(), *good_entries(make_id(2))]))
    async with open_store(root) as store:
        first = await imported(store, archive)
        before = snapshot(root)
        again = await imported(store, archive)
        copies = [await imported(store, archive, new_ids=True) for _ in range(2)]
        assert await store.count_conversations() == 4
    assert [one.action for one in (*first, *again)] == [Action.IMPORT] * 2 + [Action.UNCHANGED] * 2
    assert [[one.action for one in plan] for plan in copies] == [[Action.IMPORT] * 2, [Action.UNCHANGED] * 2]
    assert before.items() <= snapshot(root).items()


SAID = "2026-10-20T08:00:00"
TO_COME = "2126-01-01T00:00:00Z"
SOURCES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "meta.json is older": ({}, ["2026-10-01T12:00:00", SAID]),
    "and the log began later": ({}, [SAID]),
    "an event of a time to come": ({}, [SAID, TO_COME]),
    "a meta.json of a time to come": ({"updated_at": TO_COME}, [SAID]),
}


@pytest.mark.parametrize("kind", [ExportFormat.ZIP, ExportFormat.JSONL, None], ids=str)
@pytest.mark.parametrize("case", SOURCES)
async def test_what_was_imported_is_listed_at_the_same_time(
    root: Path, archive: Path, tmp_path: Path, open_store: StoreOpener, kind: ExportFormat | None, case: str
) -> None:
    meta, times = SOURCES[case]
    make_conversation(root, meta=meta, events=[make_event(i, timestamp=told) for i, told in enumerate(times)])
    (tmp_path / "other").mkdir()
    async with open_store(root, timezone="UTC") as store, open_store(tmp_path / "other", timezone="UTC") as other:
        listed = orjson.loads(await store.get_conversation(ConversationId(ONE)))["updated_at"]
        source = root / make_id(1) if kind is None else written(archive, await exported(store, kind))
        for action in (Action.IMPORT, Action.UNCHANGED):
            assert [one.action for one in await imported(other, source)] == [action]
            assert orjson.loads(await other.get_conversation(ConversationId(ONE)))["updated_at"] == listed
        assert [one.action for one in await imported(store, source)] == [Action.UNCHANGED]
        assert await other.verify() == []


async def test_a_masked_export_of_what_stands_there_is_unchanged(
    root: Path, archive: Path, open_store: StoreOpener
) -> None:
    make_conversation(root, meta={"secrets": {"A": "planted"}})
    async with open_store(root) as store:
        written(archive, await exported(store, ExportFormat.ZIP))
        [planned] = await imported(store, archive)
    assert planned.action is Action.UNCHANGED


@pytest.mark.parametrize("on_clash", list(OnClash))
async def test_a_taken_id(root: Path, archive: Path, open_store: StoreOpener, on_clash: OnClash) -> None:
    make_conversation(root, meta={"title": "mine"})
    written(archive, make_zip([*good_entries(), *good_entries(make_id(2))]))
    mine = snapshot(root)
    async with open_store(root) as store:
        if on_clash is OnClash.FAIL:
            with pytest.raises(ConversationExists, match=r"1 of 2 conversations exist with other content .* new-id"):
                await imported(store, archive)
            assert snapshot(root) == mine
            return
        plan = await imported(store, archive, on_clash=on_clash)
        again = await imported(store, archive, on_clash=on_clash)
    assert mine.items() <= snapshot(root).items()
    if on_clash is OnClash.SKIP:
        assert [one.action for one in plan] == [Action.SKIP, Action.IMPORT]
    else:
        assert [one.action for one in plan] == [Action.IMPORT] * 2
        assert [one.action for one in again] == [Action.UNCHANGED] * 2
        assert plan[0].target not in (ONE, make_id(2))


async def test_new_ids_are_written_into_the_files_and_every_other_byte_stays(
    root: Path, archive: Path, open_store: StoreOpener
) -> None:
    child = make_meta(make_id(2), parent_conversation_id=ONE, forked_from_conversation_id=make_id(9))
    entries = [*good_entries(), (f"{make_id(2)}/meta.json", json.dumps(child, indent=3).encode())]
    written(archive, make_zip(entries))
    async with open_store(root) as store:
        parent, second = await imported(store, archive, new_ids=True)
        info = json.loads(await store.get_conversation(parent.target))
    text = (root / second.target / "meta.json").read_text()
    assert text == json.dumps(child | {"id": second.target, "parent_conversation_id": parent.target}, indent=3)
    assert json.loads((root / parent.target / "base_state.json").read_bytes())["id"] == info["id"]
    assert info["sub_conversation_ids"] == [dashed(second.target)]


async def test_a_dry_run_writes_nothing(root: Path, archive: Path, open_store: StoreOpener) -> None:
    written(archive, make_zip(good_entries()))
    async with open_store(root) as store:
        before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if "index.db" not in path.name}
        [planned] = await imported(store, archive, dry_run=True)
        assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if "index.db" not in path.name} == before
    assert (planned.action, planned.target) == (Action.IMPORT, ONE)


async def test_a_ghost_that_only_locks_hold_is_in_nobodys_way(
    root: Path, archive: Path, open_store: StoreOpener
) -> None:
    (root / ONE / "events").mkdir(parents=True)
    (root / ONE / ".owner_lease.lock").touch()
    written(archive, make_zip(good_entries()))
    async with open_store(root) as store:
        [planned] = await imported(store, archive)
    assert planned.action is Action.IMPORT
    assert (root / ONE / "meta.json").exists()


@pytest.mark.parametrize("what", FOREIGN)
async def test_nothing_is_imported_into_the_place_of_something_else(
    root: Path, archive: Path, open_store: StoreOpener, what: str
) -> None:
    make_foreign(root / ONE, what)
    before = details_in(root / ONE)
    written(archive, make_zip([*good_entries(make_id(2)), *good_entries(ONE)]))
    async with open_store(root) as store:
        for dry_run in (True, False):
            with pytest.raises(DirectoryTaken, match=f"{ONE} already exists and is not a conversation"):
                await imported(store, archive, dry_run=dry_run)
        assert not (root / make_id(2)).exists()
        skipped = await imported(store, archive, on_clash=OnClash.SKIP)
        assert [one.action for one in skipped] == [Action.SKIP, Action.IMPORT]
        renamed, _ = await imported(store, archive, on_clash=OnClash.NEW_ID, dry_run=True)
        make_foreign(root / renamed.target, what)
        with pytest.raises(DirectoryTaken, match=renamed.target):
            await imported(store, archive, on_clash=OnClash.NEW_ID)
    assert details_in(root / ONE) == before
    assert [name for name in names_in(root) if name.startswith(".import-")] == []


async def test_moving_a_store_needs_nothing_but_the_new_path(
    corpus: Path, tmp_path: Path, open_store: StoreOpener
) -> None:
    async with open_store(corpus) as store:
        before = await exported(store, ExportFormat.ZIP)
    moved = tmp_path / "moved"
    shutil.move(corpus, moved)
    async with open_store(moved) as store:
        assert await exported(store, ExportFormat.ZIP) == before
