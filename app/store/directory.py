"""IndexedDirectory: one conversations directory with its index, opened, closed, and kept in step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Self
from zoneinfo import ZoneInfo

from app.errors import IndexBusy, IndexDamaged, IndexUnusable, StoreUnavailable
from app.files import layout
from app.files.metadata_reader import Reader
from app.index import state
from app.index.sqlite.database import Index
from app.logs import Note, ignore_note
from app.settings import Settings
from app.store.follow.derivation import adopt_index_settings
from app.store.follow.full_sync import OnProgress, SyncReport, ignore_progress, sync
from app.store.follow.index_repair import open_index, replace_unusable
from app.store.follow.leader import has_leader_elsewhere
from app.store.follow.verify import Difference, OnVerified, ignore_verified, verify
from app.store.read.freshness import Freshness
from app.store.read.subscriptions import Subscriptions


def make_reader(settings: Settings) -> Reader:
    """Return how the files of a store are read."""
    zone = ZoneInfo(settings.timezone) if settings.timezone else None
    return Reader(settings.root, zone, settings.sync_processes or 0, settings.search_tools)


async def find_sync_reader(index: Index, settings: Settings) -> Reader:
    """Return how all files are to be read: as the settings say, or as another process does that looks after the index.

    Raises:
        IndexBusy: how that one does is not known here.
    """
    reader = make_reader(settings)
    if await asyncio.to_thread(has_leader_elsewhere, index):
        await adopt_index_settings(index, reader)
    return reader


def require_directory(settings: Settings) -> None:
    """Make sure that there is a directory of conversations.

    Raises:
        StoreUnavailable: there is none, or the disk does not say.
    """
    try:
        there = settings.root.is_dir()
    except OSError as error:
        raise layout.store_unavailable(settings.root, error) from error
    if not there:
        raise StoreUnavailable(
            f"{settings.root} is no directory; give the one that holds the conversation directories, "
            "for agent-server workspace/conversations"
        )


class IndexedDirectory:
    """A conversations directory and its index, with what keeps the two in step; `StoreReader` adds the questions."""

    def __init__(self, settings: Settings, note: Note = ignore_note) -> None:
        self.settings = settings
        self.reader = make_reader(settings)
        self.index = Index(
            settings.index_path, readers=settings.readers, busy_timeout_s=settings.busy_timeout_s, note=note
        )
        self._note = note
        self.followers = Subscriptions(settings.followers)
        self._opening = Freshness(self.index, self.reader)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, note: Note = ignore_note) -> AsyncIterator[Self]:
        """Open a store, making or upgrading its index; the rows come with `sync`. `note` is told how long work took.

        Raises:
            StoreUnavailable: the directory is missing.
            SchemaTooNew: a newer convstore made the index.
            IndexUnusable: the index cannot be made or opened.
        """
        await asyncio.to_thread(require_directory, settings)
        store = cls(settings, note)
        await open_index(store.index, settings.busy_timeout_s)
        try:
            with suppress(IndexBusy):
                await adopt_index_settings(store.index, store.reader)
            yield store
        finally:
            await store.close()

    async def close(self) -> None:
        """Close what is open; `open` does it."""
        await self.index.close()

    async def sync(self, *, on_progress: OnProgress = ignore_progress, allow_empty: bool = False) -> SyncReport:
        """Bring the index up to date with the files; see `app.store.follow.full_sync`. A damaged one is built anew.

        It is read as the settings say, all of it where that differs from before; beside a server as that one does.
        """
        reader = await find_sync_reader(self.index, self.settings)
        work = partial(sync, self.index, reader, on_progress=on_progress, allow_empty=allow_empty)
        try:
            report = await work()
        except IndexDamaged:
            await replace_unusable(self.index, self.reader.root)
            report = await work()
        await self.index.refresh_rebuilding()
        await adopt_index_settings(self.index, self.reader)
        self._note("sync", report.seconds)
        return report

    async def verify(
        self, *, fix: bool = False, sample: int | None = None, on_verified: OnVerified = ignore_verified
    ) -> list[Difference]:
        """Compare the index with the files, mend with `fix` what differs, and return it."""
        await adopt_index_settings(self.index, self.reader)
        found = verify(self.index, self.reader, on_verified, fix=fix, sample=sample)
        differences = [difference async for difference in found]
        if self.index.rebuilding and fix:
            await self.sync()
        return differences

    async def require_ready(self) -> None:
        """Make sure that the directory is there and that the index answers.

        Raises:
            StoreUnavailable: the directory is gone.
            IndexUnusable: the index does not answer, or its file was deleted under this process.
        """
        await asyncio.to_thread(require_files, self.settings.root, self.index.path)
        async with self.index.read() as connection:
            await state.get_state(connection)


def require_files(root: Path, index_path: Path) -> None:
    """Make sure that the conversations directory and the index's file are there.

    Raises:
        StoreUnavailable: the directory is gone.
        IndexUnusable: the index was deleted under this process.
    """
    if not root.is_dir():
        raise StoreUnavailable(f"the conversations directory {root} is gone; mount or restore it")
    if not index_path.exists():
        raise IndexUnusable(
            f"the index {index_path} is gone; a server builds it again soon, when the conversations are there"
        )
