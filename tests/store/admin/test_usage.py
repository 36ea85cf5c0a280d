"""Disk use: every byte of a store is counted once, in the group that it belongs to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.model.ids import ConversationId
from app.store.admin.usage import By, DiskUsage, SeenInodes, measure, measure_path
from tests.builders import make_conversation, make_id
from tests.conftest import StoreOpener


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        (By.WORKSPACE, {"/a": 2, "/b": 1}),
        (By.STATUS, {"finished": 2, "paused": 1}),
        (By.MONTH, {"2026-09": 1, "2026-10": 2}),
    ],
)
async def test_conversations_are_added_up_by_group(
    root: Path, open_store: StoreOpener, by: By, groups: dict[str, int]
) -> None:
    for number, (workspace, status, month) in enumerate(
        [("/a", "finished", 10), ("/a", "finished", 9), ("/b", "paused", 10)], start=1
    ):
        times = dict.fromkeys(("created_at", "updated_at"), f"2026-{month:02d}-01T13:00:00Z")
        state = {"workspace": {"kind": "LocalWorkspace", "working_dir": workspace}, "execution_status": status}
        make_conversation(root, number, meta=times, state=state, events=0)
    async with open_store(root) as store:
        used = await measure(store, by, 0)
    assert {share.name: share.conversations for share in used.shares} == groups
    assert used.conversations.conversations == 3
    assert sum(share.usage.disk_bytes for share in used.shares) == used.conversations.usage.disk_bytes


async def test_a_file_of_two_names_counts_once_and_the_trash_apart(root: Path, open_store: StoreOpener) -> None:
    first, second = make_conversation(root, 1), make_conversation(root, 2)
    (first / "large").write_bytes(os.urandom(1_000_000))
    (second / "large").hardlink_to(first / "large")
    (make_conversation(root, 3) / "large").write_bytes(os.urandom(2_000_000))
    (root / "notes.txt").write_bytes(os.urandom(500_000))
    async with open_store(root) as store:
        await store.delete(ConversationId(make_id(3)))
        used = await measure(store, By.CONVERSATION, 1)
    assert (len(used.shares), used.groups, used.conversations.conversations) == (1, 2, 2)
    megabytes = [one.disk_bytes // 1_000_000 for one in (used.conversations.usage, used.trash)]
    assert megabytes == [1, 2]
    assert used.other.disk_bytes >= 500_000
    assert used.index.disk_bytes > 0


def test_files_with_several_names_are_counted_once_and_links_not_followed(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one / "inner", other):
        path.mkdir(parents=True)
    (one / "inner" / "file").write_bytes(bytes(10_000))
    os.link(one / "inner" / "file", other / "same")
    (other / "link").symlink_to(one)
    seen: SeenInodes = set()
    first, second = measure_path(one, seen), measure_path(other, seen)
    assert (first.inodes, first.size_bytes) == (3, 10_000)
    assert first.disk_bytes >= 10_000
    assert (second.inodes, second.size_bytes) == (2, len(str(one)))
    assert measure_path(one / "inner" / "file", set()).size_bytes == 10_000
    second.add(first)
    assert (second.inodes, second.size_bytes) == (5, 10_000 + len(str(one)))


def test_what_is_not_there_takes_nothing(tmp_path: Path) -> None:
    assert measure_path(tmp_path / "nothing", set()) == DiskUsage()
