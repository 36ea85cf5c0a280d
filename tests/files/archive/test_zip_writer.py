"""The bytes of a zip."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from app.files.archive.zip_writer import ZipWriter

FILES = {
    "a/meta.json": b"{}",
    "a/empty": b"",
    "a/\N{GREEK SMALL LETTER PI}.txt": b"words " * 1000,
    "a/random": os.urandom(5000),
    "a/large": b"0123456789" * 200_000,
}


def packed(files: dict[str, bytes]) -> bytes:
    writer = ZipWriter()
    return b"".join([*(writer.add(path, raw) for path, raw in files.items()), *writer.end()])


def test_zipfile_reads_names_and_bytes_in_their_order() -> None:
    with zipfile.ZipFile(BytesIO(packed(FILES))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == FILES
        assert {(one.date_time, one.external_attr >> 16) for one in archive.infolist()} == {
            ((1980, 1, 1, 0, 0, 0), 0o100600)
        }


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_unzip_finds_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(packed(FILES))
    done = subprocess.run(["unzip", "-t", path], capture_output=True, text=True, check=False)
    assert (done.returncode, "No errors detected" in done.stdout) == (0, True)


def test_a_zip_without_files_is_a_zip() -> None:
    with zipfile.ZipFile(BytesIO(packed({}))) as archive:
        assert archive.namelist() == []


@pytest.mark.long
def test_more_than_65535_files_have_a_number_of_64_bits() -> None:
    many = {f"a/{number}": b"x" for number in range(65_536)}
    with zipfile.ZipFile(BytesIO(packed(many))) as archive:
        assert len(archive.namelist()) == 65_536


def test_places_behind_4_gib_have_numbers_of_64_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = ZipWriter()
    monkeypatch.setattr(writer, "_offset", 5 << 30)  # as if so much were before it, which zipfile then finds missing
    raw = b"".join([*(writer.add(path, raw) for path, raw in FILES.items()), *writer.end()])
    with zipfile.ZipFile(BytesIO(raw)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == FILES
