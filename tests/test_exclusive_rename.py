"""A file gets a name that must be free, also where there are no hard links, and no renameat2."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import exclusive_rename
from app.exclusive_rename import Way, find_way, rename_exclusively
from tests.builders import names_in


def refusing(number: int) -> Callable[..., Any]:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def make(way: Way, monkeypatch: pytest.MonkeyPatch, number: int = errno.EPERM) -> None:
    """Let only this way and those after it work."""
    if way is not Way.LINK:
        monkeypatch.setattr(os, "link", refusing(number))
    if way is Way.RENAME:
        monkeypatch.setattr(exclusive_rename, "_rename_noreplace", refusing(errno.EINVAL))


@pytest.mark.parametrize("way", Way)
def test_a_free_name_is_taken_and_a_taken_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    make(way, monkeypatch)
    asked: list[str] = []
    (tmp_path / "one").write_text("1")
    assert rename_exclusively(tmp_path / "one", tmp_path / "it", before_rename=lambda: asked.append("asked")) is way
    assert asked == ([] if way is Way.LINK else ["asked"])
    assert names_in(tmp_path) == ["it"]
    (tmp_path / "two").write_text("2")
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(FileExistsError):
        rename_exclusively("two", "it", dir_fd=fd)
    assert ((tmp_path / "it").read_text(), names_in(tmp_path)) == ("1", ["it", "two"])
    assert rename_exclusively("two", "other", dir_fd=fd) is way
    os.close(fd)
    assert find_way(tmp_path) is way
    assert names_in(tmp_path) == ["it", "other"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EXDEV, errno.EOPNOTSUPP, 524])
@pytest.mark.parametrize("also", [errno.EINVAL, errno.ENOSYS, errno.EPERM, 524])
def test_other_ways_are_tried_whatever_number_the_system_refuses_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, also: int
) -> None:
    monkeypatch.setattr(os, "link", refusing(number))
    monkeypatch.setattr(exclusive_rename, "_rename_noreplace", refusing(also))
    (tmp_path / "one").write_text("1")
    assert rename_exclusively(tmp_path / "one", tmp_path / "it") is Way.RENAME
    assert names_in(tmp_path) == ["it"]


def test_a_name_that_is_taken_by_the_same_file_is_a_success_without_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def link_twice(*names: Any, **how: Any) -> None:
        link(*names, **how)
        link(*names, **how)

    monkeypatch.setattr(os, "link", link_twice)  # as an NFS client does that did not get the first answer
    (tmp_path / "one").write_text("1")
    assert rename_exclusively(tmp_path / "one", tmp_path / "it") is Way.LINK
    assert names_in(tmp_path) == ["it"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def test_every_refusal_of_a_hard_link_leads_to_a_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    make(Way.EXCLUSIVE_RENAME, monkeypatch, number)
    assert find_way(tmp_path) is Way.EXCLUSIVE_RENAME


def test_an_error_of_the_disk_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", refusing(errno.EIO))
    (tmp_path / "one").touch()
    with pytest.raises(OSError, match="Input/output error"):
        rename_exclusively(tmp_path / "one", tmp_path / "it")
    assert names_in(tmp_path) == ["one"]


def test_python_has_no_such_rename_and_libc_has() -> None:
    assert not hasattr(os, "renameat2")
    assert hasattr(ctypes.CDLL(None), "renameat2")
