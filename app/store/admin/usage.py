"""Disk usage of a store, by conversation, workspace, status or month."""

from __future__ import annotations

import asyncio
import heapq
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from ...files.trash import TRASH
from ...index import conversation_lookup
from ...index.conversation_lookup import Placement
from ...model.ids import dashed
from ...model.times import format_us
from ...model.transcript import name_conversation
from ..follow.full_sync import OnProgress, ignore_progress
from ..read.reader import StoreReader

_BLOCK_BYTES = 512


@dataclass(slots=True)
class DiskUsage:
    """The number of inodes (files, directories, links), their size in bytes, and the bytes allocated on disk."""

    inodes: int = 0
    size_bytes: int = 0
    disk_bytes: int = 0

    def add(self, other: DiskUsage) -> None:
        """Add another usage to this one."""
        self.inodes += other.inodes
        self.size_bytes += other.size_bytes
        self.disk_bytes += other.disk_bytes


SeenInodes = set[tuple[int, int]]
"""(device, inode) of the files with several hard links that were already counted."""


def measure_path(path: Path, seen: SeenInodes) -> DiskUsage:
    """Return the usage of a file, or of a directory with its contents. Files deleted during the count are ignored."""
    usage = DiskUsage()
    pending = [str(path)]
    try:
        _count(os.lstat(path), usage, seen)
    except OSError:
        return usage
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    _count(status, usage, seen)
                    if stat.S_ISDIR(status.st_mode):
                        pending.append(entry.path)
        except OSError:
            continue
    return usage


def _count(status: os.stat_result, usage: DiskUsage, seen: SeenInodes) -> None:
    if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
        key = (status.st_dev, status.st_ino)
        if key in seen:
            return
        seen.add(key)
    usage.inodes += 1
    usage.size_bytes += 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    usage.disk_bytes += status.st_blocks * _BLOCK_BYTES


_PAGE = 200


class By(StrEnum):
    """How disk usage is grouped. A month is that of the last update, in UTC."""

    CONVERSATION = "conversation"
    WORKSPACE = "workspace"
    STATUS = "status"
    MONTH = "month"


@dataclass(slots=True)
class Share:
    """The disk usage of a group of conversations."""

    name: str
    conversations: int = 0
    usage: DiskUsage = field(default_factory=DiskUsage)


@dataclass(slots=True)
class StoreUsage:
    """The disk usage of a store: the largest groups, all conversations, the trash, the index, and everything else."""

    shares: list[Share]
    groups: int
    conversations: Share
    trash: DiskUsage
    index: DiskUsage
    other: DiskUsage


async def measure(store: StoreReader, by: By, limit: int, on_progress: OnProgress = ignore_progress) -> StoreUsage:
    """Measure a store. `shares` has the `limit` largest groups (0: all). A file with several hard links counts once."""
    measurement = _Measurement(store.reader.root, by)
    async with store.index.read(whole=True) as connection:
        total = (await conversation_lookup.count_totals(connection)).conversations
    after = ""
    done = 0
    while True:
        async with store.index.read(whole=True) as connection:
            page = await conversation_lookup.list_placements(connection, after, _PAGE)
        if not page:
            break
        await asyncio.to_thread(measurement.add, page)
        after = page[-1].id
        done += len(page)
        on_progress("measured", done, total)
    return await asyncio.to_thread(measurement.finish, store.settings.index_path, limit)


class _Measurement:
    """The sums over the conversations measured so far."""

    def __init__(self, root: Path, by: By) -> None:
        self._root = root
        self._name_of = _NAMES[by]
        self._seen: SeenInodes = set()
        self._shares: dict[str, Share] = {}
        self._all = Share("conversations")
        self._directories: set[str] = set()

    def add(self, page: list[Placement]) -> None:
        for placement in page:
            usage = measure_path(self._root / placement.directory, self._seen)
            name = self._name_of(placement)
            share = self._shares.setdefault(name, Share(name))
            for group in (share, self._all):
                group.conversations += 1
                group.usage.add(usage)
            self._directories.add(placement.directory)

    def finish(self, index: Path, limit: int) -> StoreUsage:
        shares = heapq.nlargest(
            limit or len(self._shares), self._shares.values(), key=lambda share: (share.usage.disk_bytes, share.name)
        )
        # If the index has its own directory inside the store, measure the directory, otherwise the files.
        own_directory = index.parent.parent == self._root
        trash = self._sum([self._root / TRASH])
        index_usage = self._sum([index.parent] if own_directory else index.parent.glob(f"{index.name}*"))
        measured = {*self._directories, TRASH}
        other = self._sum(path for path in self._root.iterdir() if path.name not in measured and path != index.parent)
        return StoreUsage(shares, len(self._shares), self._all, trash, index_usage, other)

    def _sum(self, paths: Iterable[Path]) -> DiskUsage:
        usage = DiskUsage()
        for path in paths:
            usage.add(measure_path(path, self._seen))
        return usage


_NAMES: dict[By, Callable[[Placement], str]] = {
    By.CONVERSATION: lambda one: f"{dashed(one.id)}  {name_conversation(one.title, one.preview)}",
    By.WORKSPACE: lambda one: one.workspace or "(none)",
    By.STATUS: lambda one: one.status,
    By.MONTH: lambda one: format_us(one.updated_at)[:7],
}
