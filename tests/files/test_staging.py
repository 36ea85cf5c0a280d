"""Putting whole conversations in their places."""

from __future__ import annotations

import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.errors import ConversationExists
from app.files import layout, staging
from app.model.archive_format import ArchiveFile
from app.model.ids import ConversationId
from tests.builders import make_id

ONE = ConversationId(make_id(1))


def test_of_several_who_create_one_conversation_at_once_one_does_and_it_is_whole(tmp_path: Path) -> None:
    names = [*(f"events/event-{number:05d}-{number}.json" for number in range(20)), layout.STATE, layout.META]

    def create(number: int) -> int | None:
        try:
            staging.publish_new(
                tmp_path, ONE, [ArchiveFile(name, b"%d" % number) for name in names], staging_prefix=".new-"
            )
        except ConversationExists:
            return None
        return number

    with ThreadPoolExecutor(8) as executor:
        made = [number for number in executor.map(create, range(8)) if number is not None]
    assert len(made) == 1
    assert {(tmp_path / ONE / name).read_bytes() for name in names} == {b"%d" % made[0]}
    assert [path.name for path in tmp_path.iterdir()] == [ONE]


def test_what_is_left_half_built_goes_without_a_list_of_all_that_is_there(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / make_id(number)).mkdir()
    old, now = (f".new-{make_id(number)}-{make_id(3)}" for number in (1, 2))
    for name, built_s in ((old, 1000), (now, 3000), (".new-photos", 1000)):
        (tmp_path / name / "events").mkdir(parents=True)
        os.utime(tmp_path / name, (built_s, built_s))
    tracemalloc.start()
    try:
        staging.remove_leftovers(tmp_path, ".new-", 2000)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(list(tmp_path.iterdir())) == 2002
    assert {path.name for path in tmp_path.glob(".new-*")} == {now, ".new-photos"}
    assert most_bytes < 100_000


def test_the_system_walks_no_path_for_a_file_beside_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"events/event-{number:05d}-{make_id(number)}.json" for number in range(100)]
    names[50:50] = ["subagents/other/meta.json", "subagents/other/base_state.json", "note.txt"]
    walked: list[str] = []
    opened = os.open

    def count(path: str | Path, *more: int, dir_fd: int | None = None) -> int:
        if dir_fd is None:
            walked.append(str(path))
        return opened(path, *more, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", count)
    files = [ArchiveFile(name, name.encode()) for name in (*names, layout.STATE, layout.META)]
    staged = staging.stage(tmp_path, ONE, files)
    monkeypatch.undo()
    assert len(walked) == 6
    marker = "events/.eventlog-len-100.marker"
    written = {str(path.relative_to(staged.path)): path.read_bytes() for path in staged.path.rglob("*.*")}
    assert written == {file.name: file.raw for file in files} | {marker: b""}
    assert {Path(path) for path in staged.paths} == {staged.path, *staged.path.rglob("*")}


def test_a_file_is_whole_though_the_system_writes_a_part_of_it_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    staged = staging.stage(tmp_path, ONE, [ArchiveFile(layout.META, b"0123456789"), ArchiveFile(layout.STATE, b"")])
    assert (staged.path / layout.META).read_bytes() == b"0123456789"
    assert (staged.path / layout.STATE).read_bytes() == b""
