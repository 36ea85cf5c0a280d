"""Reading for the sync: what may be trusted not to change."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from app.model.ids import ConversationId
from tests.builders import make_conversation, make_id, opened_files
from tests.conftest import StoreOpener

ONE = ConversationId(make_id(1))


def refuse(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Let the disk fail whenever a file is opened."""
    real = os.open

    def fail(name: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if name == path.name and dir_fd is not None and os.path.samestat(os.fstat(dir_fd), path.parent.stat()):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(name, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", fail)


def replace_with_link(path: Path) -> None:
    path.rename(path.parent.parent / f"outside-{path.name}")
    path.symlink_to(path.parent.parent / f"outside-{path.name}")


def replace_with_file(path: Path) -> None:
    shutil.rmtree(path)
    path.touch()


def replace_with_socket(path: Path) -> None:
    path.unlink()
    here = Path.cwd()
    os.chdir(path.parent)  # a full path may be too long for a socket
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


ODD: dict[str, Callable[[Path], None]] = {
    "meta.json: cannot be opened (Too many levels of symbolic links)": lambda path: replace_with_link(
        path / "meta.json"
    ),
    "meta.json: cannot be opened (No such device or address)": lambda path: replace_with_socket(path / "meta.json"),
    "events/ cannot be listed (Not a directory)": lambda path: replace_with_link(path / "events"),
    "events/ cannot be listed (Not a directory) ": lambda path: replace_with_file(path / "events"),
    "": lambda path: replace_with_link(max((path / "events").iterdir())),
}


@pytest.mark.parametrize("reason", ODD)
async def test_a_link_and_what_is_no_file_are_read_once_and_agree_with_the_index(
    root: Path, open_store: StoreOpener, reason: str
) -> None:
    path = make_conversation(root)
    async with open_store(root) as store:
        ODD[reason](path)
        report = await store.sync()
        assert (report.changed, report.opened, report.untrusted) == (1, 1, [])
        with opened_files() as opened:
            assert (await store.sync()).opened == 0
            body = orjson.loads(await store.get_conversation(ONE))
        assert [name for name in opened if ".convstore" not in name] == []
        assert (body.get("unreadable") or "") == reason.strip()
        assert await store.verify() == []


async def test_what_the_operating_system_refused_is_read_again_by_the_next_sync(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    torn, refused = make_conversation(root, 1), make_conversation(root, 2)
    (torn / "meta.json").write_text("{")
    refuse(monkeypatch, refused / "meta.json")
    async with open_store(root) as store:
        report = await store.sync()
        assert (report.changed, report.opened, report.unreadable, report.untrusted) == (1, 1, 2, [])


async def test_a_lock_file_that_appears_changes_nothing_of_a_conversation_without_times(
    root: Path, open_store: StoreOpener
) -> None:
    path = make_conversation(root, events=1)
    for file in (path / "meta.json", path / "base_state.json"):
        file.unlink()
    for event in (path / "events").iterdir():
        event.write_text("")
    async with open_store(root) as store:
        (path / ".owner_lease.lock").touch()
        os.utime(path, (0, 0))
        assert (await store.sync()).opened == 0
        assert await store.verify() == []
        os.utime(path / "events", (1, 1))
        assert (await store.sync()).opened == 1
        assert orjson.loads(await store.get_conversation(ONE))["created_at"] == "1970-01-01T00:00:01Z"
        assert await store.verify() == []
