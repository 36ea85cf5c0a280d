"""File locks: one holder at a time, between processes too, and none left by a deleted file."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from app.errors import LockTimeout
from app.locks import SHARED, hold_lock, lock_file, try_lock_file

HOLDER = """
import sys
from app.locks import lock_file
lock_file(sys.argv[1], timeout_s=0)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lock_of_another_process_ends_when_that_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert try_lock_file(path) is None
    holder.kill()
    holder.communicate()
    descriptor = try_lock_file(path)
    assert descriptor is not None
    os.close(descriptor)


def test_shared_holders_keep_out_one_who_wants_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    first, second = try_lock_file(path, SHARED), try_lock_file(path, SHARED)
    assert first is not None
    assert second is not None
    assert try_lock_file(path) is None
    os.close(first)
    assert try_lock_file(path) is None
    os.close(second)
    alone = try_lock_file(path)
    assert alone is not None
    os.close(alone)


def test_who_waits_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    held = try_lock_file(path)
    assert held is not None
    threading.Timer(0.05, os.close, [held]).start()
    descriptor = lock_file(path, timeout_s=30)
    assert descriptor is not None
    os.close(descriptor)


def test_who_waits_for_too_long_is_told_which_lock(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    held = try_lock_file(tmp_path / "a.lock")
    assert held is not None
    began = time.monotonic()
    with pytest.raises(LockTimeout, match=r"a\.lock was held by another program for 0.1 s"):
        hold_lock("a.lock", 0.1, dir_fd=directory).__enter__()
    assert time.monotonic() - began >= 0.1
    os.close(held)
    with hold_lock("a.lock", 0, dir_fd=directory):
        assert try_lock_file(tmp_path / "a.lock") is None
    os.close(directory)


def test_a_lock_file_that_was_deleted_and_made_again_is_locked_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    held = try_lock_file(path)
    path.unlink()
    fresh = lock_file(path, timeout_s=0)
    assert fresh is not None
    assert os.fstat(fresh).st_ino == path.stat().st_ino
    for descriptor in (held, fresh):
        assert descriptor is not None
        os.close(descriptor)


def test_a_lock_file_that_got_another_name_is_locked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, tried = tmp_path / "a.lock", []

    def lock(descriptor: int, _: int) -> bool:
        tried.append(descriptor)
        if len(tried) == 1:
            path.rename(tmp_path / ".nfs1")  # as NFS does with a file that is open and deleted
        return True

    monkeypatch.setattr("app.locks.try_lock", lock)
    fresh = lock_file(path, timeout_s=30)
    assert fresh is not None
    assert os.fstat(fresh).st_ino == path.stat().st_ino
    os.close(fresh)


def test_a_directory_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        try_lock_file(tmp_path / "gone" / "a.lock")
    assert not (tmp_path / "gone").exists()
