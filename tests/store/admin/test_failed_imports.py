"""Importing: what is refused, and what stands when a disk fails, a limit is reached or a process is killed."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from app.errors import ArchiveRefused, ArchiveTooLarge, DiskFull, ImportRunning, StoreError, WriteFailed
from app.files import durable, staging
from app.model.archive_format import OWN_ARCHIVE, Limits
from app.store.admin.archive_import import Action, import_conversations
from tests.builders import make_event, make_id
from tests.conftest import StoreOpener
from tests.files.archives import ONE, file_line, good_entries, hostile_lines, hostile_zips, make_lines, make_zip
from tests.store.admin.importing import imported, snapshot, written

HOSTILE = {**hostile_zips(), **{f"lines: {what}": raw for what, raw in hostile_lines().items()}}


@pytest.mark.long
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


@pytest.mark.long
async def test_a_bomb_is_refused_by_its_ratio(root: Path, archive: Path, open_store: StoreOpener) -> None:
    written(archive, make_zip([*good_entries(), *((f"{ONE}/a{n}", bytes(30 << 20)) for n in range(3))]))
    async with open_store(root) as store:
        with pytest.raises(ArchiveTooLarge, match="more than 200 times its size"):
            await import_conversations(store, [archive], OWN_ARCHIVE)


async def test_only_one_imports_at_a_time(root: Path, archive: Path, open_store: StoreOpener) -> None:
    written(archive, make_zip(good_entries()))
    async with open_store(root) as store:
        with staging.import_lock(root), pytest.raises(ImportRunning):
            await imported(store, archive)
        assert len(await imported(store, archive)) == 1


async def test_what_a_killed_import_left_is_removed_and_the_rest_is_imported(
    root: Path, archive: Path, open_store: StoreOpener
) -> None:
    written(archive, make_zip([*good_entries(), *good_entries(make_id(2))]))
    async with open_store(root) as store:
        await imported(store, archive)
        (root / ".import-photos").mkdir()
        (root / make_id(2)).rename(root / f".import-{make_id(2)}")
        next((root / f".import-{make_id(2)}" / "events").glob("event-*")).write_text("half")
        plan = await imported(store, archive)
        assert [one.action for one in plan] == [Action.UNCHANGED, Action.IMPORT]
    assert list(root.glob(".import-*")) == [root / ".import-photos"]


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
    monkeypatch.setattr(staging, "_SPARE_BYTES", 1 << 62)
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
        with pytest.raises(WriteFailed, match="differs from what was written"):
            await imported(store, archive)
    assert not (root / ONE).exists()


async def test_an_archive_that_changes_meanwhile_is_noticed(
    root: Path, archive: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(archive, make_lines(make_event(0)))
    monkeypatch.setattr(staging, "require_space", lambda *_: archive.write_bytes(make_lines(make_event(1))))
    async with open_store(root) as store:
        with pytest.raises(WriteFailed, match="changed during the import"):
            await imported(store, archive)
    assert not (root / ONE).exists()


def test_the_archives_of_these_tests_are_archives(tmp_path: Path) -> None:
    """So that what refuses them is what is wrong with them."""
    path = written(tmp_path / "a", make_zip(good_entries()))
    assert zipfile.is_zipfile(path)
