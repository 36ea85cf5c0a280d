"""Deleting is one rename that can be undone."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import (
    ConversationExists,
    ConversationNotFound,
    DirectoryTaken,
    NotInTrash,
    StoreError,
    WriteFailed,
)
from app.files import layout, trash
from app.files.layout import Kind
from app.model.ids import ConversationId, dashed
from tests.builders import (
    FOREIGN,
    details_in,
    make_conversation,
    make_foreign,
    make_id,
    names_in,
    opened_files,
)


def tree(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_deleting_moves_and_restoring_moves_back(root: Path) -> None:
    path = make_conversation(root)
    before = tree(path)
    entry = trash.move_to_trash(root, path.name, 1_000_000)
    assert not path.exists()
    assert trash.list_trash(root) == [entry]
    assert (entry.id, entry.directory, entry.deleted_at_us) == (make_id(1), path.name, 1_000_000)
    assert trash.find_in_trash(root, entry.id) == entry
    assert trash.restore(root, entry) == path.name
    assert tree(path) == before
    assert trash.list_trash(root) == []


def test_deleting_opens_no_file_of_the_conversation(root: Path) -> None:
    path = make_conversation(root, events=50)
    with opened_files() as seen:
        trash.move_to_trash(root, path.name, 1)
    assert [name for name in seen if path.name in name] == []


def test_one_id_can_be_in_the_trash_twice_and_the_last_comes_back(root: Path) -> None:
    for number in (1, 2):
        trash.move_to_trash(root, make_conversation(root, meta={"title": str(number)}).name, number)
    entries = trash.list_trash(root)
    assert [one.deleted_at_us for one in entries] == [2, 1]
    assert trash.find_in_trash(root, entries[0].id) == entries[0]


def test_restoring_does_not_overwrite(root: Path) -> None:
    entry = trash.move_to_trash(root, make_conversation(root).name, 1)
    path = make_conversation(root, meta={"title": "again"})
    with pytest.raises(ConversationExists):
        trash.restore(root, entry)
    assert "again" in (path / "meta.json").read_text()
    assert trash.list_trash(root) == [entry]


def test_restoring_clears_what_locks_left(root: Path) -> None:
    path = make_conversation(root)
    entry = trash.move_to_trash(root, path.name, 1)
    (path / "events").mkdir(parents=True)
    (path / ".owner_lease.lock").touch()
    (path / "events" / ".eventlog.lock").touch()
    trash.restore(root, entry)
    assert (path / "meta.json").exists()
    assert names_in(root / ".trash") == []


def test_what_is_not_there_is_said(root: Path) -> None:
    with pytest.raises(ConversationNotFound):
        trash.move_to_trash(root, make_id(5), 1)
    entry = trash.move_to_trash(root, make_conversation(root).name, 1)
    trash.remove(root, entry)
    trash.remove(root, entry)
    with pytest.raises(NotInTrash):
        trash.restore(root, entry)


def test_emptying_removes_what_is_old_also_when_read_only(root: Path) -> None:
    path = make_conversation(root)
    for directory in (path / "events", path):
        directory.chmod(0o500)
    entries = [trash.move_to_trash(root, path.name, 10)]
    entries.append(trash.move_to_trash(root, make_conversation(root, 2).name, 20))
    assert list(trash.empty_trash(root, 20)) == [entries[0]]
    assert trash.list_trash(root) == [entries[1]]
    assert list(trash.empty_trash(root, 21)) == [entries[1]]
    assert names_in(root / ".trash") == []


def test_a_link_in_the_trash_is_not_followed(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    outside.chmod(0o500)
    path = make_conversation(root)
    (path / "link").symlink_to(outside)
    trash.remove(root, trash.move_to_trash(root, path.name, 1))
    assert (outside / "kept").exists()
    assert outside.stat().st_mode & 0o777 == 0o500


def test_other_names_in_the_trash_are_left_alone(root: Path) -> None:
    (root / ".trash").mkdir()
    (root / ".trash" / "notes.txt").touch()
    assert trash.list_trash(root) == []
    assert list(trash.empty_trash(root, 2**62)) == []
    assert (root / ".trash" / "notes.txt").exists()


def test_what_a_crash_left_of_a_removal_goes_with_the_next_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Crash(Exception):
        pass

    def crash(_path: Path) -> None:
        raise Crash

    entry = trash.move_to_trash(root, make_conversation(root).name, 1)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", crash)
        with pytest.raises(Crash):
            trash.remove(root, entry)
    assert trash.list_trash(root) == []
    assert len(names_in(root / ".trash")) == 1
    with pytest.raises(NotInTrash):
        trash.restore(root, entry)
    assert list(trash.empty_trash(root, 0)) == []
    assert names_in(root / ".trash") == []


def test_what_cannot_be_removed_is_told_and_holds_nothing_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_first(path: Path) -> None:
        monkeypatch.setattr(shutil, "rmtree", plain)
        raise OSError(errno.EPERM, "Operation not permitted", str(path))

    plain = shutil.rmtree
    entries = [trash.move_to_trash(root, make_conversation(root, number).name, number) for number in (1, 2)]
    monkeypatch.setattr(shutil, "rmtree", refuse_first)
    removed = trash.empty_trash(root, 10)
    assert [next(removed), trash.list_trash(root)] == [entries[1], []]
    with pytest.raises(WriteFailed, match="will be removed when the trash is emptied"):
        next(removed)
    assert list(trash.empty_trash(root, 10)) == []
    assert names_in(root / ".trash") == []


def test_a_trash_that_is_a_link_or_no_directory_gets_nothing_and_gives_nothing(root: Path, tmp_path: Path) -> None:
    entry = trash.move_to_trash(root, make_conversation(root, 1).name, 1)
    elsewhere = (root / ".trash").rename(tmp_path / "elsewhere")
    (elsewhere / f".removing-{'0' * 16}").mkdir()
    path = make_conversation(root, 2)
    before = tree(root), names_in(elsewhere)
    calls: list[Callable[[], object]] = [
        lambda: trash.move_to_trash(root, path.name, 2),
        lambda: trash.copy_to_trash(root, path.name, 2),
        lambda: trash.restore(root, entry),
        lambda: trash.remove(root, entry),
        lambda: trash.list_trash(root),
        lambda: list(trash.empty_trash(root, 2**62)),
    ]
    makers: list[Callable[[], object]] = [lambda: (root / ".trash").symlink_to(elsewhere), (root / ".trash").touch]
    for make in makers:
        make()
        for call in calls:
            with pytest.raises(StoreError, match="is not a directory; nothing was moved"):
                call()
        (root / ".trash").unlink()
        assert (tree(root), names_in(elsewhere)) == before


def test_a_copy_that_a_crash_left_unfinished_goes_after_a_day(root: Path) -> None:
    hour_us = 3_600_000_000
    old, young = (f".copy-{make_id(1)}.{time.time_ns() // 1000 - hours * hour_us}.{'0' * 8}" for hours in (25, 23))
    for name in (old, young, ".copy-of-mine"):
        (root / ".trash" / name / "events").mkdir(parents=True)
    assert list(trash.empty_trash(root, 0)) == []
    assert names_in(root / ".trash") == sorted([young, ".copy-of-mine"])


def test_what_comes_into_the_place_of_one_that_is_restored_stays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_conversation(root)
    entry = trash.move_to_trash(root, path.name, 1)
    require_room = trash.require_room

    def then_create(root: Path, entry: trash.TrashEntry) -> str | None:
        found = require_room(root, entry)
        make_conversation(root, meta={"title": "Another"})
        return found

    monkeypatch.setattr(trash, "require_room", then_create)
    with pytest.raises(ConversationExists):
        trash.restore(root, entry)
    assert "Another" in (path / "meta.json").read_text()
    assert trash.list_trash(root) == [entry]


def test_what_is_written_into_a_ghost_while_it_is_cleared_stays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / make_id(1)
    path.mkdir()
    find_kind = layout.find_kind

    def then_write(root: Path, name: str) -> Kind | None:
        kind = find_kind(root, name)
        (root / name / "base_state.json").write_text("{}")
        return kind

    monkeypatch.setattr(layout, "find_kind", then_write)
    assert not trash.clear_ghost(root, path.name)
    assert names_in(path) == ["base_state.json"]
    assert names_in(root / ".trash") == []


@pytest.mark.parametrize("what", FOREIGN)
def test_nothing_is_restored_over_something_else(root: Path, what: str) -> None:
    entry = trash.move_to_trash(root, make_conversation(root, directory=dashed(ConversationId(make_id(1)))).name, 1)
    make_foreign(root / entry.directory, what)
    before = details_in(root / entry.directory)
    with pytest.raises(DirectoryTaken, match=f"{entry.directory} already exists and is not a conversation"):
        trash.restore(root, entry)
    assert details_in(root / entry.directory) == before
    assert trash.list_trash(root) == [entry]


def test_what_was_written_into_a_ghost_that_a_crash_left_aside_is_kept(root: Path) -> None:
    for number, name in enumerate((".owner_lease.lock", "base_state.json")):
        path = root / ".trash" / f".ghost-{number:016}"
        path.mkdir(parents=True)
        (path / name).touch()
    assert list(trash.empty_trash(root, 1 << 62)) == []
    assert names_in(root / ".trash") == [f".ghost-{1:016}"]
