"""Disk use of a store, by conversation, workspace, status or month."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterator
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
from app.store.follow.full_sync import OnProgress, ignore_progress
from app.store.store import ConversationStore

_PAGE = 200


class By(StrEnum):
    """What disk use is added up by. A month is that of the last update, in UTC."""

    CONVERSATION = "conversation"
    WORKSPACE = "workspace"
    STATUS = "status"
    MONTH = "month"


@dataclass(slots=True)
class Share:
    """What the conversations of one group take."""

    name: str
    conversations: int = 0
    usage: DiskUsage = field(default_factory=DiskUsage)


@dataclass(slots=True)
class StoreUsage:
    """What a store takes: the largest groups, all conversations, the trash, the index, and whatever else lies there."""

    shares: list[Share]
    groups: int
    conversations: Share
    trash: DiskUsage
    index: DiskUsage
    other: DiskUsage


async def measure(
    store: ConversationStore, by: By, limit: int, on_progress: OnProgress = ignore_progress
) -> StoreUsage:
    """Measure a whole store; the `limit` largest groups are named (0: all). A file with several names counts once."""
    measuring = _Measuring(store.reader.root, by)
    async with store.index.read() as connection:
        total = (await conversation_lookup.count_totals(connection)).conversations
    after = ""
    done = 0
    while True:
        async with store.index.read() as connection:
            page = await conversation_lookup.list_placements(connection, after, _PAGE)
        if not page:
            break
        await asyncio.to_thread(measuring.add, page)
        after = page[-1].id
        done += len(page)
        on_progress("measured", done, total)
    return await asyncio.to_thread(measuring.finish, store.settings.index_path, limit)


class _Measuring:
    """Adds up while it goes over the conversations."""

    def __init__(self, root: Path, by: By) -> None:
        self._root = root
        self._name = _NAMES[by]
        self._seen: SeenInodes = set()
        self._shares: dict[str, Share] = {}
        self._all = Share("conversations")
        self._directories: set[str] = set()

    def add(self, page: list[Placement]) -> None:
        for one in page:
            used = disk_usage.measure(self._root / one.directory, self._seen)
            name = self._name(one)
            share = self._shares.setdefault(name, Share(name))
            for counted in (share, self._all):
                counted.conversations += 1
                counted.usage.add(used)
            self._directories.add(one.directory)

    def finish(self, index: Path, limit: int) -> StoreUsage:
        shares = heapq.nlargest(limit or len(self._shares), self._shares.values(), key=_size)
        trash = disk_usage.measure(self._root / TRASH, self._seen)
        inside = DiskUsage()
        for path in self._index_files(index):
            inside.add(disk_usage.measure(path, self._seen))
        other = DiskUsage()
        for path in self._root.iterdir():
            if path.name not in self._directories and path.name != TRASH and path != index.parent:
                other.add(disk_usage.measure(path, self._seen))
        return StoreUsage(shares, len(self._shares), self._all, trash, inside, other)

    def _index_files(self, index: Path) -> Iterator[Path]:
        """Give what belongs to the index: its own directory when it has one in the store, else its files."""
        if index.parent.parent == self._root:
            yield index.parent
        else:
            yield from index.parent.glob(f"{index.name}*")


def _size(share: Share) -> tuple[int, str]:
    return share.usage.disk_bytes, share.name


_NAMES: dict[By, Callable[[Placement], str]] = {
    By.CONVERSATION: lambda one: f"{dashed(one.id)}  {one.title or '(no title)'}",
    By.WORKSPACE: lambda one: one.workspace or "(none)",
    By.STATUS: lambda one: one.status,
    By.MONTH: lambda one: format_us(one.updated_at)[:7],
}
