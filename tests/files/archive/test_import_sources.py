"""Directories that are to be imported, and what every source is checked for."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pytest

from app.errors import ArchiveRefused, ArchiveTooLarge, StoreUnavailable
from app.files.archive.import_sources import DirectorySource, Meter, check_files, find_stated_id
from app.model.archive_format import RATIO_FROM_BYTES, ArchiveFile, Limits
from app.model.ids import dashed
from tests.builders import make_conversation, make_foreign, make_id

LIMITS = Limits(file_bytes=1000, total_bytes=10_000, files=10)


def test_a_store_and_a_single_conversation_are_taken(tmp_path: Path) -> None:
    paths = [make_conversation(tmp_path, 2), make_conversation(tmp_path, 1, directory=dashed(make_id(1)).upper())]
    make_foreign(tmp_path / make_id(3), "older OpenHands")
    found = [one.id for one in DirectorySource(tmp_path, LIMITS, UTC).read()]
    assert found == [make_id(1), make_id(2)]
    single = paths[0].rename(tmp_path / "talk")
    [one] = DirectorySource(single, LIMITS, UTC).read()
    assert (one.id, len(list(one.files))) == (make_id(2), 4)


def test_directories_are_looked_into_but_for_what_a_store_threw_away(tmp_path: Path) -> None:
    store = tmp_path / "monday" / ".openhands"
    paths = [make_conversation(store, 1), make_conversation(tmp_path / "tuesday", 2)]
    make_conversation(paths[0] / "subagents", 3)
    for number, other in enumerate((".trash", ".convstore", ".convstore/deeper"), 4):
        make_conversation(store / other, number)
    (tmp_path / "link").symlink_to(store)
    found = [one.id for one in DirectorySource(tmp_path, LIMITS, UTC).read()]
    assert found == [make_id(1), make_id(2)]


@pytest.mark.parametrize("link", ["a link", make_id(2)])
def test_a_conversation_behind_a_link_is_taken(tmp_path: Path, link: str) -> None:
    path = make_conversation(tmp_path, 1)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / link).symlink_to(path)
    [one] = DirectorySource(tmp_path / "links" / link, LIMITS, UTC).read()
    assert (one.id, len(list(one.files))) == (make_id(2) if link == make_id(2) else make_id(1), 4)


def test_a_directory_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        list(DirectorySource(tmp_path / "nothing", LIMITS, UTC).read())


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["../a"], "leads out"),
        (["meta.json", "META.json"], "differs from another path only in case"),
        (["meta.json/x"], "below a file"),
        (["notes.txt"], "has neither meta.json"),
    ],
)
def test_a_name_that_must_not_be_written_is_refused(names: list[str], problem: str) -> None:
    files = [ArchiveFile(name, b"") for name in names]
    with pytest.raises(ArchiveRefused, match=problem):
        list(check_files("a.zip", files, Meter("a.zip", LIMITS)))


def test_locks_and_leases_are_not_taken() -> None:
    files = [ArchiveFile(name, b"") for name in ("owner_lease.json", "meta.json", "events/.eventlog.lock")]
    assert [one.name for one in check_files("a.zip", files, Meter("a.zip", LIMITS))] == ["meta.json"]


def test_too_much_is_refused() -> None:
    meter = Meter("a.zip", Limits(1 << 30, 1 << 30, 2, ratio=10), packed_bytes=RATIO_FROM_BYTES)
    meter.file()
    meter.file()
    with pytest.raises(ArchiveTooLarge, match="more than 2 files"):
        meter.file()
    meter.unpacked("a", 1, RATIO_FROM_BYTES * 10)
    with pytest.raises(ArchiveTooLarge, match="is it a bomb"):
        meter.unpacked("a", 1, 1)


@pytest.mark.parametrize(
    ("prefix", "core", "expected"),
    [
        (f"a/{dashed(make_id(1))}/", b"{}", make_id(1)),
        ("talk/", b'{"id":"%b"}' % make_id(2).encode(), make_id(2)),
        ("", b"torn", None),
    ],
)
def test_an_id_is_that_of_the_directory_or_of_the_files(prefix: str, core: bytes, expected: str | None) -> None:
    if expected is not None:
        assert find_stated_id("a.zip", prefix, [b"[]", core]) == expected
        return
    with pytest.raises(ArchiveRefused, match="the id of conversation"):
        find_stated_id("a.zip", prefix, [core])
