"""The kind of a file that somebody wants to import."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from app.errors import ArchiveRefused
from app.files.archive.file_kind import find_format
from app.model.archive_format import ExportFormat
from tests.files.archives import good_entries, make_lines, make_zip


def tar() -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return raw.getvalue()


def database(tmp_path: Path) -> bytes:
    with closing(sqlite3.connect(tmp_path / "db")) as db:
        db.execute("CREATE TABLE a (b)")
    return (tmp_path / "db").read_bytes()


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\n", b"\xef\xbb\xbf\r\n\r\n"])
def test_json_lines_may_have_a_byte_order_mark_and_blank_lines_before(tmp_path: Path, before: bytes) -> None:
    (tmp_path / "a").write_bytes(before + make_lines())
    assert find_format(tmp_path / "a", "a") is ExportFormat.JSONL


@pytest.mark.parametrize("before", [b"", b"#!/bin/sh\n"])
def test_a_zip_is_one_also_behind_a_program(tmp_path: Path, before: bytes) -> None:
    (tmp_path / "a").write_bytes(before + make_zip(good_entries()))
    assert find_format(tmp_path / "a", "a") is ExportFormat.ZIP


OTHERS = {
    "empty": b"",
    "full of NULs": bytes(100),
    "other text": "é".encode() * 300,
    "of an unknown kind": b"\x89PNG\r\n\x1a\n\0",
    "a JSON array": b" [{}]",
    "a tar archive": tar(),
    "a gzip file": gzip.compress(tar()),
    "a bzip2 file": bz2.compress(tar()),
    "an xz file": lzma.compress(tar()),
    "text in UTF-16": make_lines().decode().encode("utf-16"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_anything_else_is_called_what_it_is(tmp_path: Path, what: str) -> None:
    (tmp_path / "a").write_bytes(OTHERS[what])
    with pytest.raises(ArchiveRefused, match=f"^it is {what}, and neither a zip nor JSON Lines of an export; [a-z]"):
        find_format(tmp_path / "a", "it")


def test_an_index_is_called_a_database(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(database(tmp_path))
    with pytest.raises(ArchiveRefused, match="a is a SQLite database"):
        find_format(tmp_path / "a", "a")
