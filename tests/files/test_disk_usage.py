"""How much room directories take."""

from __future__ import annotations

import os
from pathlib import Path

from app.files.disk_usage import DiskUsage, SeenInodes, measure


def test_files_with_several_names_are_counted_once_and_links_not_followed(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one / "inner", other):
        path.mkdir(parents=True)
    (one / "inner" / "file").write_bytes(bytes(10_000))
    os.link(one / "inner" / "file", other / "same")
    (other / "link").symlink_to(one)
    seen: SeenInodes = set()
    first, second = measure(one, seen), measure(other, seen)
    assert (first.inodes, first.size_bytes) == (3, 10_000)
    assert first.disk_bytes >= 10_000
    assert (second.inodes, second.size_bytes) == (2, len(str(one)))
    assert measure(one / "inner" / "file", set()).size_bytes == 10_000
    second.add(first)
    assert (second.inodes, second.size_bytes) == (5, 10_000 + len(str(one)))


def test_what_is_not_there_takes_nothing(tmp_path: Path) -> None:
    assert measure(tmp_path / "nothing", set()) == DiskUsage()
