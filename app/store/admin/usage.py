"""Disk usage of a store, by conversation, workspace, status or month."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from app.files import disk_usage
from app.files.disk_usage import DiskUsage, SeenInodes
from app.files.trash import TRASH
from app.index import conversation_lookup
from app.index.conversation_lookup import Placement
from app.model.ids import dashed
from app.model.times import format_us
from app.model.transcript import name_conversation
from app.store.follow.full_sync import OnProgress, ignore_progress
from app.store.store import ConversationStore

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


async def measure(
    store: ConversationStore, by: By, limit: int, on_progress: OnProgress = ignore_progress
) -> StoreUsage:
    """Measure a store. `shares` has the `limit` largest groups (0: all). A file with several hard links counts once."""
    measurement = _Measurement(store.reader.root, by)
    async with store.index.read() as connection:
        total = (await conversation_lookup.count_totals(connection)).conversations
    after = ""
    done = 0
    while True:
        async with store.index.read() as connection:
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
            usage = disk_usage.measure(self._root / placement.directory, self._seen)
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
            usage.add(disk_usage.measure(path, self._seen))
        return usage


_NAMES: dict[By, Callable[[Placement], str]] = {
    By.CONVERSATION: lambda one: f"{dashed(one.id)}  {name_conversation(one.title, one.preview)}",
    By.WORKSPACE: lambda one: one.workspace or "(none)",
    By.STATUS: lambda one: one.status,
    By.MONTH: lambda one: format_us(one.updated_at)[:7],
}
