"""Durable writes: whole or not at all, and nothing left after an error."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import DiskFull, OutputRefused, WriteFailed
from app.files import durable, layout
from app.files.durable import new_file
from tests.builders import names_in


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    with layout.open_directory(tmp_path) as descriptor:
        yield descriptor


def test_a_new_file_is_whole_private_and_alone(fd: int, tmp_path: Path) -> None:
    status = durable.replace(fd, "a", b"x" * 100_000)
    assert (tmp_path / "a").read_bytes() == b"x" * 100_000
    assert names_in(tmp_path) == ["a"]
    assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o600, (tmp_path / "a").stat().st_mtime_ns)


def test_replacing_keeps_the_mode(fd: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("first")
    (tmp_path / "a").chmod(0o664)
    durable.replace(fd, "a", b"second")
    assert (tmp_path / "a").read_text() == "second"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o664


def test_the_file_is_synced_before_it_has_its_name_and_the_name_after(
    fd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, bool]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        seen.append((descriptor == fd, (tmp_path / "a").exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    durable.replace(fd, "a", b"2")
    assert seen == [(False, False), (True, True)]


def test_a_file_may_be_made_in_a_directory_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with new_file(tmp_path / "link" / "a", replace=False) as file:
        file.write(b"1")
    assert (tmp_path / "real" / "a").read_bytes() == b"1"


def test_a_disk_without_modes_is_written_to(fd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "fchmod", refuse)
    durable.replace(fd, "a", b"1")
    assert (tmp_path / "a").read_bytes() == b"1"


@pytest.mark.parametrize(("number", "expected"), [(errno.ENOSPC, DiskFull), (errno.EIO, WriteFailed)])
@pytest.mark.parametrize("call", ["write", "fsync", "open"])
def test_what_the_system_refuses_is_said_and_leaves_nothing(
    fd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception], call: str
) -> None:
    (tmp_path / "a").write_text("first")

    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(expected, match=os.strerror(number)):
            durable.replace(fd, "a", b"second")
        with pytest.raises(expected, match="b could not be written"):
            durable.replace(fd, "b", b"second")
    assert (tmp_path / "a").read_text() == "first"
    assert names_in(tmp_path) == ["a"]


def test_bytes_of_a_file_are_written_over_where_it_stands(fd: int, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"." * 1000)
    before = path.stat()
    status = durable.overwrite(fd, "a", 500, b"x" * 12, lambda now: now == before)
    assert status == path.stat()
    assert (before.st_ino, before.st_size) == (path.stat().st_ino, 1000)
    assert before.st_mtime_ns < path.stat().st_mtime_ns
    assert path.read_bytes() == b"." * 500 + b"x" * 12 + b"." * 488


@pytest.mark.parametrize(
    ("at", "second_name", "known"),
    [(501, False, True), (500, True, True), (500, False, False)],
    ids=["two sectors", "two names", "another file"],
)
def test_bytes_are_not_written_over_where_they_could_be_torn_or_are_others(
    fd: int, tmp_path: Path, at: int, second_name: bool, known: bool
) -> None:
    (tmp_path / "a").write_bytes(b"." * 1000)
    if second_name:
        (tmp_path / "backup").hardlink_to(tmp_path / "a")
    assert durable.overwrite(fd, "a", at, b"x" * 12, lambda _: known) is None
    assert (tmp_path / "a").read_bytes() == b"." * 1000


def test_bytes_of_a_file_on_a_network_are_not_written_over(
    fd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(bytes(512))
    monkeypatch.setattr("app.files.durable.is_network_device", lambda _: True)
    assert durable.overwrite(fd, "a", 0, b"x", lambda _: True) is None
    assert (tmp_path / "a").read_bytes() == bytes(512)


@pytest.mark.parametrize(("ahead_s", "follows"), [(5, True), (3600, False)])
def test_a_file_is_newer_than_the_one_that_a_host_with_another_clock_wrote(
    fd: int, tmp_path: Path, ahead_s: int, follows: bool
) -> None:
    (tmp_path / "a").write_bytes(b"before")
    old_ns = time.time_ns() + ahead_s * 1_000_000_000
    os.utime(tmp_path / "a", ns=(old_ns, old_ns))
    assert (durable.replace(fd, "a", b"after").st_mtime_ns > old_ns) == follows
    os.utime(tmp_path / "a", ns=(old_ns, old_ns))
    status = durable.overwrite(fd, "a", 0, b"x", lambda _: True)
    assert status is not None
    assert (status.st_mtime_ns > old_ns) == follows


def test_what_is_no_regular_file_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link", "."):
        with pytest.raises(OutputRefused, match="not a regular file"), new_file(tmp_path / name, replace=True):
            pass
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link").is_symlink()
