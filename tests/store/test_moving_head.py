"""HEAD in base_state.json: written over where it stands, or by a new file where that could harm."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.builders import make_conversation, make_event, names_in
from tests.conftest import StoreOpener
from tests.store.write.test_conversation_writer import ID, is_rebuilt_equal, log_of, state_of


async def test_head_moves_in_its_file_and_a_backup_of_hard_links_stays_as_it_was(
    root: Path, open_store: StoreOpener
) -> None:
    path = make_conversation(root)
    state, backup = path / "base_state.json", root.parent / "backup.json"
    async with open_store(root) as store, store.writer(ID) as conversation:
        await conversation.append(make_event(7))
        before, inode = state.read_bytes(), state.stat().st_ino
        await conversation.append(make_event(8))
        assert state.stat().st_ino == inode
        now = state.read_bytes()
        assert now == before.replace(make_event(7)["id"].encode(), make_event(8)["id"].encode()) != before
        backup.hardlink_to(state)
        await conversation.append(make_event(9))
        assert backup.read_bytes() == now
        assert (backup.stat().st_ino, state_of(path)["leaf_event_id"]) == (inode, make_event(9)["id"])
        assert state.stat().st_ino != inode


async def test_an_append_makes_one_file_and_syncs_three_times(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_conversation(root)
    synced: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    def inodes() -> set[int]:
        return {file.stat().st_ino for file in path.rglob("*")}

    async with open_store(root) as store, store.writer(ID) as conversation:
        await conversation.append(make_event(7))
        before = inodes()
        monkeypatch.setattr(os, "fsync", fsync)
        await conversation.append(make_event(8))
        event = path / "events" / f"event-00003-{make_event(8)['id']}.json"
        assert synced == [file.stat().st_ino for file in (event, path / "events", path / "base_state.json")]
        assert inodes() == before | {event.stat().st_ino}
        assert ".eventlog-len-4.marker" in names_in(path / "events")


async def test_after_an_error_head_goes_to_a_new_file(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_conversation(root)
    state = path / "base_state.json"
    real = os.fsync

    def refuse(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == inode:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    async with open_store(root) as store, store.writer(ID) as conversation:
        await conversation.append(make_event(7))
        inode = state.stat().st_ino
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            done = await conversation.append(make_event(8))
        assert "not what belongs to them" in (done.warning or "")
        done = await conversation.append(make_event(9))
        assert (done.warning, state_of(path)["leaf_event_id"]) == (None, make_event(9)["id"])
        assert state.stat().st_ino != inode
        assert log_of(path)[-1]["parent_id"] == make_event(8)["id"]
        assert await is_rebuilt_equal(store)
