"""Importing: what is taken, what is refused, and what stands afterwards."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from app.errors import (
    ArchiveRefused,
    ArchiveTooLarge,
    ConversationExists,
    DiskFull,
    ImportRunning,
    StoreError,
    WriteFailed,
)
from app.files import durable, placing
from app.model.archive import FOREIGN_ARCHIVE, OWN_ARCHIVE, ExportFormat, Limits, OnClash
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId, dashed
from app.store.exporting import ExportReport, export, list_named
from app.store.importing import Action, Planned, import_conversations
from app.store.store import ConversationStore
from tests.builders import index_tables, make_conversation, make_event, make_id, make_meta, write_event
from tests.conftest import StoreOpener
from tests.files.archives import (
    ONE,
    Entry,
    file_line,
    good_entries,
    hostile_lines,
    hostile_zips,
    make_lines,
    make_zip,
)

LOSSLESS = [ExportFormat.ZIP, ExportFormat.JSONL]


async def exported(store: ConversationStore, kind: ExportFormat, *, with_secrets: bool = False) -> bytes:
    named = list_named(store, ConversationFilter())
    chunks = export(store.reader, named, kind, ExportReport(), with_secrets=with_secrets)
    return b"".join([chunk async for chunk in chunks])


def snapshot(root: Path) -> dict[str, bytes]:
    """Return every file of a store but convstore's own and locks, by its path."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.is_relative_to(root / ".convstore") and path.suffix != ".lock"
    }


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def written(archive: Path, raw: bytes) -> Path:
    archive.write_bytes(raw)
    return archive


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


async def imported(store: ConversationStore, archive: Path, **how: object) -> list[Planned]:
    return await import_conversations(store, [archive], OWN_ARCHIVE, **how)  # type: ignore[arg-type]


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


HOSTILE = {**hostile_zips(), **{f"lines: {what}": raw for what, raw in hostile_lines().items()}}


@pytest.mark.parametrize("what", HOSTILE)
async def test_a_hostile_archive_is_refused_before_anything_is_written(
    root: Path, tmp_path: Path, archive: Path, open_store: StoreOpener, what: str
) -> None:
    written(archive, HOSTILE[what])
    before = snapshot(tmp_path)
    async with open_store(root) as store:
        with pytest.raises((ArchiveRefused, ArchiveTooLarge)) as refused:
            await imported(store, archive)
        assert await store.count_conversations() == 0
    left = {name: raw for name, raw in snapshot(tmp_path).items() if "/.convstore/" not in name}
    assert left == {name: raw for name, raw in before.items() if "/.convstore/" not in name}
    assert "archive" in str(refused.value)


SMALL = Limits(file_bytes=1 << 20, total_bytes=3 << 20, files=10)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (make_zip([*good_entries(), (f"{ONE}/a", bytes(2 << 20))]), "larger than 1,048,576 bytes"),
        (make_zip([*good_entries(), *((f"{ONE}/{n}", bytes(1 << 20)) for n in range(3))]), "more than 3,145,728 bytes"),
        (make_zip([*good_entries(), *((f"{ONE}/a{n}", b"") for n in range(20))]), "more than 10 files"),
        (make_lines(make_event(), file_line("a", text="a" * (2 << 20))), "longer than"),
        (make_lines(make_event(), file_line("a", text="a" * ((1 << 20) + 1))), "larger than 1,048,576 bytes"),
        (make_lines(make_event(), *(file_line(f"a{n}") for n in range(20))), "more than 10 files"),
    ],
)  # fmt: skip
async def test_a_bomb_is_refused_by_what_comes_out_of_it(
    root: Path, archive: Path, open_store: StoreOpener, raw: bytes, told: str
) -> None:
    written(archive, raw)
    async with open_store(root) as store:
        with pytest.raises(ArchiveTooLarge, match=told):
            await import_conversations(store, [archive], SMALL)
    assert not (root / ONE).exists()


async def test_a_bomb_is_refused_by_its_ratio(root: Path, archive: Path, open_store: StoreOpener) -> None:
    written(archive, make_zip([*good_entries(), *((f"{ONE}/a{n}", bytes(30 << 20)) for n in range(3))]))
    async with open_store(root) as store:
        with pytest.raises(ArchiveTooLarge, match="more than 200 times its size"):
            await import_conversations(store, [archive], OWN_ARCHIVE)


async def test_only_one_imports_at_a_time(root: Path, archive: Path, open_store: StoreOpener) -> None:
    written(archive, make_zip(good_entries()))
    async with open_store(root) as store:
        with placing.importing(root), pytest.raises(ImportRunning):
            await imported(store, archive)
        assert len(await imported(store, archive)) == 1


async def test_what_a_killed_import_left_is_removed_and_the_rest_is_imported(
    root: Path, archive: Path, open_store: StoreOpener
) -> None:
    written(archive, make_zip([*good_entries(), *good_entries(make_id(2))]))
    async with open_store(root) as store:
        await imported(store, archive)
        (root / make_id(2)).rename(root / f".import-{make_id(2)}")
        next((root / f".import-{make_id(2)}" / "events").glob("event-*")).write_text("half")
        plan = await imported(store, archive)
        assert [one.action for one in plan] == [Action.UNCHANGED, Action.IMPORT]
    assert not list(root.glob(".import-*"))


class Failing:
    """Lets some writes pass and fails then."""

    def __init__(self, error: Exception, after: int) -> None:
        self.error = error
        self.left = after
        self.plain = durable.write_all

    def __call__(self, descriptor: int, data: bytes) -> None:
        if self.left == 0:
            raise self.error
        self.left -= 1
        self.plain(descriptor, data)


@pytest.mark.parametrize(
    ("error", "raised"), [(OSError(28, "No space left on device"), DiskFull), (OSError(5, "I/O error"), WriteFailed)]
)
@pytest.mark.parametrize("after", [0, 3, 7])
async def test_a_disk_that_fails_leaves_whole_conversations_and_the_next_import_goes_on(
    root: Path,
    archive: Path,
    open_store: StoreOpener,
    monkeypatch: pytest.MonkeyPatch,
    error: OSError,
    raised: type[StoreError],
    after: int,
) -> None:
    written(archive, make_zip([*good_entries(), *good_entries(make_id(2))]))
    async with open_store(root) as store:
        with monkeypatch.context() as patch:
            patch.setattr(durable, "write_all", Failing(error, after))
            with pytest.raises(raised):
                await imported(store, archive)
        stands = [path.name for path in sorted(root.iterdir()) if path.name != ".convstore"]
        assert stands == ([ONE] if after == 7 else [])
        assert await store.count_conversations() == len(stands)
        plan = await imported(store, archive)
        assert await store.count_conversations() == 2
    assert [one.action for one in plan][1] is Action.IMPORT


@pytest.mark.parametrize("error", [None, OSError(5, "I/O error")])
async def test_many_files_are_durable_before_any_conversation_stands(
    root: Path, archive: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch, error: OSError | None
) -> None:
    def seen(fd: int) -> None:
        stood.append([path.parent.name[:8] for path in root.glob("*/meta.json")])
        if error:
            raise error
        plain(fd)

    stood: list[list[str]] = []
    plain = durable.sync_file_system
    monkeypatch.setattr(durable, "sync_file_system", seen)
    written(archive, make_zip([entry for number in range(1, 21) for entry in good_entries(make_id(number))]))
    async with open_store(root) as store:
        if error:
            with pytest.raises(WriteFailed, match="conversations could not be written"):
                await imported(store, archive)
        else:
            await imported(store, archive)
        assert await store.count_conversations() == (0 if error else 20)
    assert stood == [[".import-"] * 20]
    assert list(root.glob(".import-*")) == []


async def test_what_cannot_fit_is_refused_at_once(
    root: Path, archive: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(archive, make_zip(good_entries()))
    monkeypatch.setattr(placing, "_SPARE_BYTES", 1 << 62)
    async with open_store(root) as store:
        with pytest.raises(DiskFull, match=r"the import needs [\d,]+ bytes"):
            await imported(store, archive)
    assert not (root / ONE).exists()


async def test_bytes_that_read_back_otherwise_are_noticed(
    root: Path, archive: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(archive, make_zip(good_entries()))
    plain = durable.write_all
    monkeypatch.setattr(durable, "write_all", lambda fd, data: plain(fd, data.replace(b"message 1", b"message 2")))
    async with open_store(root) as store:
        with pytest.raises(WriteFailed, match="reads back otherwise"):
            await imported(store, archive)
    assert not (root / ONE).exists()


async def test_an_archive_that_changes_meanwhile_is_noticed(
    root: Path, archive: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(archive, make_lines(make_event(0)))
    monkeypatch.setattr(placing, "require_space", lambda *_: archive.write_bytes(make_lines(make_event(1))))
    async with open_store(root) as store:
        with pytest.raises(WriteFailed, match="changed while it was imported"):
            await imported(store, archive)
    assert not (root / ONE).exists()


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


async def test_moving_a_store_needs_nothing_but_the_new_path(
    corpus: Path, tmp_path: Path, open_store: StoreOpener
) -> None:
    async with open_store(corpus) as store:
        before = await exported(store, ExportFormat.ZIP)
    moved = tmp_path / "moved"
    shutil.move(corpus, moved)
    async with open_store(moved) as store:
        assert await exported(store, ExportFormat.ZIP) == before


def test_the_archives_of_these_tests_are_archives(tmp_path: Path) -> None:
    """So that what refuses them is what is wrong with them."""
    path = written(tmp_path / "a", make_zip(good_entries()))
    assert zipfile.is_zipfile(path)
