"""The search of raw bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import raw_search
from app.raw_search import find_in_files, list_beside


def test_each_file_is_named_with_the_needles_that_it_has(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "one").write_bytes(b"\0\xffabc\0def")
    (tmp_path / "two").write_bytes(b"def")
    (tmp_path / "three").write_bytes(b"nothing")
    (tmp_path / "link").symlink_to("two")
    found = find_in_files([str(tmp_path), str(tmp_path / "missing")], [b"abc", b"def"])
    assert found == {str(tmp_path / "deep" / "er" / "one"): [0, 1], str(tmp_path / "two"): [1]}


def test_a_needle_across_two_pieces_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_search, "_PIECE_BYTES", 8)
    (tmp_path / "file").write_bytes(b"0123456789")
    for begin in range(7):
        assert find_in_files([str(tmp_path)], [b"0123456789"[begin : begin + 4]]) == {str(tmp_path / "file"): [0]}


def test_the_files_of_a_database_are_those_with_its_name(tmp_path: Path) -> None:
    for name in ("index.db", "index.db-wal", "index.db.1.backup", "api-key"):
        (tmp_path / name).touch()
    beside = list_beside(tmp_path / "index.db")
    assert beside == [str(tmp_path / name) for name in ("index.db", "index.db-wal", "index.db.1.backup")]
