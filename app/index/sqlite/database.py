"""An open index in an SQLite file.

The rules for SQLite 3.40, each of them measured: every write transaction takes SQLite's lock at once
(`app.index.sqlite.write_connection`), behind one file lock that all processes share; read connections have `query_only`
on and never checkpoint; there is no mmap; only SQLite opens the database file.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiosqlite

from ...errors import IndexBusy, IndexDamaged, IndexUnusable, QueryTooSlow
from ...raw_search import list_beside
from .. import engine
from ..connections import WriteConnection
from ..engine import HeldLock, Identity, LockName, Note, ignore_note
from . import integrity, migrations, open_lock, text_index
from .db_errors import ERRORS, During, explain, is_damage
from .index_file import (
    FileIdentity,
    exists,
    find_identity,
    make_directory,
    measure_files,
    pin_file,
    require_in_place,
    require_same,
    unusable_directory,
)
from .loop_connection import LoopDriver, LoopReadConnection
from .migrations import HEAD, read_revision
from .read_connection import SqliteReadConnection, connect
from .replace_index import is_marked_damaged, replace_damaged
from .schema_shape import require_shape
from .write_connection import Writer
from .writer_lock import try_lock_beside, writer_lock, writer_lock_of_task

log = logging.getLogger(__name__)

T = TypeVar("T")

_OPENINGS = 3
_COUNT_S = 5.0
"""The time limit for counting the merge steps, in seconds."""


class Index(engine.Index):
    """An index file with its connections. `migrations.upgrade` must create or upgrade the file before `open`."""

    def __init__(self, path: Path, *, readers: int, busy_timeout_s: float, note: Note = ignore_note) -> None:
        super().__init__(str(path), readers=readers, busy_timeout_s=busy_timeout_s, note=note)
        self.path = path
        self._drivers: list[aiosqlite.Connection] = []
        self._here: LoopDriver | None = None
        self._seen: tuple[int, str] | None = None
        self._writer: Writer | None = None
        self._presence: int | None = None
        self._opened: FileIdentity | None = None
        self._log: FileIdentity | None = None
        self._pin: int | None = None

    @property
    def opened(self) -> FileIdentity | None:
        """The identity of the file that was opened last."""
        return self._opened

    async def make_ready(self, timeout_s: float) -> None:
        """Make or upgrade the index, and open it. A damaged one is set aside, and an empty one takes its place."""
        await asyncio.to_thread(make_directory, self.path)
        damaged = find_identity(self.path)
        try:
            if is_marked_damaged(self.path):
                await replace_damaged(self.path, damaged)
            await self._open_migrated(timeout_s)
            await self.refresh_rebuilding()
        except IndexDamaged as error:
            log.warning("%s", error)
            await self.close()
            await replace_damaged(self.path, damaged)
            await self.open()
            await self.refresh_rebuilding()

    async def _open_migrated(self, wait_s: float) -> None:
        """Migrate the index to the schema of this program if it has an older one, and open it."""
        for _ in range(_OPENINGS):
            if await asyncio.to_thread(read_revision, self.path) != HEAD:
                emptied = await asyncio.to_thread(_is_emptied, self.path)
                await asyncio.to_thread(migrations.upgrade, self.path, wait_s=wait_s)
                if emptied:
                    await asyncio.to_thread(migrations.mark_recovering, self.path)
            await self.open()
            if await asyncio.to_thread(read_revision, self.path) == HEAD:
                async with self.read() as connection:
                    await require_shape(connection, self.path)
                return
            await self.close()
        raise IndexBusy(
            f"the schema of the index {self.path} keeps changing, so another program is migrating it; try again later"
        )

    async def open(self) -> None:
        """Open the read connections. The first write opens the write connection."""
        self._presence = await asyncio.to_thread(open_lock.hold_open, self.path)
        self._let_go()
        self._pin = pin_file(self.path)
        self._opened = find_identity(self.path)
        try:
            require_in_place(self.path, self.opened)
            for pool in (self._light, self._heavy):
                for _ in range(pool.size):
                    driver = await connect(self.path)
                    self._drivers.append(driver)
                    pool.connections.append(await SqliteReadConnection.open(driver))
            self._here = LoopDriver(self.path)
            self._log = find_identity(self._log_path)
            require_in_place(self.path, self.opened)
            self._damaged = False
        except IndexUnusable:
            await self.close()
            raise
        except ERRORS as error:
            await self.close()
            self._damaged = self._damaged or is_damage(error)
            raise explain(During.OPENING, error, self.path) from error

    async def close(self) -> None:
        """Close all connections."""
        await self._disconnect()
        self._let_go()

    async def _disconnect(self) -> None:
        """Close the readers first. The last connection to close checkpoints, and this must be the writer."""
        for driver in self._drivers:
            await driver.close()
        self._drivers.clear()
        if self._here is not None:
            self._here.connection.close()
            self._here = None
        for pool in (self._light, self._heavy):
            pool.connections.clear()
        if self._writer is not None:
            writer, self._writer = self._writer, None
            await asyncio.to_thread(self._close_writer, writer)
        open_lock.release(self._presence)
        self._presence = None

    def _close_writer(self, writer: Writer) -> None:
        try:
            with writer_lock(self.path, self._busy_timeout_s):  # closing may checkpoint, which needs the writer lock
                writer.close()
        except (IndexBusy, IndexUnusable):
            writer.close()  # another process has the index open, or the disk fails; nothing else can be done

    def _let_go(self) -> None:
        if self._pin is not None:
            os.close(self._pin)
            self._pin = None

    @property
    def _log_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}-wal")

    def is_out_of_place(self) -> bool:
        """Whether the open file or its write-ahead log was deleted or replaced. Costs two stats."""
        if not self._drivers or find_identity(self.path) != self.opened:
            return True
        return self._log is not None and find_identity(self._log_path) != self._log

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """Close all connections of this process during the block, and then open the file again.

        Afterwards the index counts as `rebuilding` until `refresh_rebuilding` is called.

        Raises:
            IndexUnusable: the file cannot be opened again; the index stays closed.
        """
        async with self._queue.turn_of_task():
            lent = [pool.free for pool in (self._light, self._heavy) for _ in range(pool.size)]
            for free in lent:
                await free.acquire()
            try:
                await self._disconnect()
                yield
                self._rebuilding = True  # otherwise a reader that waits for a connection would read an empty index
                self._seen = None
                await self.open()
            finally:
                for free in lent:
                    free.release()

    def measure_files(self) -> dict[str, int]:
        """Return the sizes of the index's files: `index_bytes` and `wal_bytes`, 0 for a missing file."""
        return measure_files(self.path)

    def require_exists(self) -> None:
        """Check that the file is still there."""
        if not exists(self.path):
            raise IndexUnusable(
                f"the index {self.path} is missing; a server builds it again soon, if the conversations are there"
            )

    def is_unusable(self) -> bool:
        """Whether the index is damaged, or its file was deleted or replaced."""
        return is_marked_damaged(self.path) or self.is_out_of_place()

    async def replace(self) -> None:
        """Close the index, replace it by an empty one if it is damaged or missing, and open it again."""
        damaged = self.opened
        async with self.closed():
            if self.opened == damaged:  # otherwise another task of this process was faster
                await replace_damaged(self.path, damaged)
        await self.refresh_rebuilding()

    def has_place(self) -> bool:
        """Whether the directory of the index exists."""
        return self.path.parent.is_dir()

    def make_directory(self) -> None:
        """Make the index's directory if it is missing, but not the directory of a store that is gone.

        Raises:
            IndexUnusable: the directory cannot be made or written to, or is on a network file system.
        """
        make_directory(self.path, parents=False)

    async def find_state(self) -> str | None:
        """Return a text that differs after every change, or None if it is unknown.

        Every list request calls this on the event loop. If no process has committed, it costs one pragma: 6 us of
        shared memory and no disk access; a read in a connection's thread would cost 100 us. It never waits for a lock.
        """
        if self._here is None or self._absence is not None:
            return None
        try:
            [version] = self._here.connection.execute("PRAGMA data_version").fetchone()
            if self._seen is None or self._seen[0] != version:
                [text] = self._here.connection.execute("SELECT epoch || '.' || revision FROM revision").fetchone()
                self._seen = version, text
        except (*ERRORS, TypeError):
            return None
        return self._seen[1]

    def read_here(self, *, whole: bool = False) -> LoopReadConnection:
        """Return a connection for single statements, of which the short ones run in the calling event loop's thread."""
        if whole:
            self._require_whole()
        return LoopReadConnection(self._here, partial(self.read, whole=whole))

    def _transact(
        self, work: Callable[[WriteConnection], T], asked_at: float, *, durable: bool, read_from: Identity | None
    ) -> T:
        with writer_lock(self.path, self._left_s(asked_at)):
            begun_at = time.monotonic()
            self.note("lock_wait", begun_at - asked_at)
            if read_from is not None:
                require_same(self.path, read_from, self.opened)
            if self._writer is None:
                self._writer = Writer(self.path, self.opened)
            try:
                with self._writer.transaction(patience_s=self._left_s(asked_at), durable=durable) as connection:
                    result = work(connection)
            except ERRORS as error:
                self._damaged = self._damaged or is_damage(error)
                raise explain(During.USE, error) from error
            self.note("commit", time.monotonic() - begun_at)
            return result

    async def purge(self) -> bool:
        """Remove the remains of deleted rows from the files: free pages, parts of pages, and the write-ahead log.

        Needs as much free space as the index has bytes. Return whether the log could be emptied. It cannot while
        another process keeps reading an older state.

        Raises:
            IndexBusy: another writer held the index for too long.
            IndexUnusable: the database is damaged, or the disk is full or fails.
        """
        await self.write(text_index.merge_all_words)
        return await asyncio.to_thread(self._purge)

    def _purge(self) -> bool:
        asked = self._queue.ask()
        with self._queue.turn(asked), writer_lock(self.path, self._left_s(asked.at)):
            if self._writer is None:
                self._writer = Writer(self.path, self.opened)
            try:
                return self._writer.purge(patience_s=self._busy_timeout_s)
            except ERRORS as error:
                self._damaged = self._damaged or is_damage(error)
                raise explain(During.USE, error) from error

    def try_lock(self, name: LockName) -> HeldLock | None:
        """Take a named lock of the index, or return None if another process or object holds it.

        All processes that use the index share the lock. The operating system releases it when its process ends.

        Raises:
            IndexUnusable: the directory of the index is missing or not writable.
        """
        descriptor = try_lock_beside(self.path, f"{name}.lock")
        if descriptor is None:
            return None
        self._held.add(name)
        return HeldLock(partial(self._unlock, name, descriptor))

    def _unlock(self, name: LockName, descriptor: int) -> None:
        self._held.discard(name)
        os.close(descriptor)

    async def merge_words(self, *, always: bool) -> AsyncIterator[tuple[int, int]]:
        """Merge the text index if it is much larger than necessary, or with `always`."""
        try:
            async with self.read(within_s=_COUNT_S) as connection:
                total = await text_index.count_merges(connection, always=always)
        except QueryTooSlow:
            return
        done, more = 0, total > 0
        while more:
            yield done, max(done, total)
            more = await self.write(partial(text_index.merge_words, begin=done == 0))
            done += 1

    async def list_damage(self, *, whole: bool) -> list[str]:
        """Return the faults that SQLite's own check finds."""
        async with self.read() as connection:
            return await integrity.list_damaged(connection, whole=whole)

    async def list_unsound_words(self) -> list[str]:
        """Return which text indexes differ from their sources. They are checked on a copy of the file."""
        return await asyncio.to_thread(integrity.list_unsound_text_indexes, self.path)

    def rebuild_words(self, connection: WriteConnection, name: str) -> None:
        """Rebuild the text index of "words" from the messages, or that of "title parts" from the titles."""
        integrity.rebuild_text_index(connection, name)

    def list_files(self) -> list[str]:
        """Return the paths of the index's files, of its backups, and of damaged ones that were set aside."""
        return list_beside(self.path)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Exclude all other writers during the block, which may replace the whole contents."""
        async with self._queue.turn_of_task(), writer_lock_of_task(self.path, self._busy_timeout_s):
            yield


def _is_emptied(path: Path) -> bool:
    """Whether an index file was truncated to 0 bytes. False if another process is just creating it."""
    try:
        if path.exists() and path.stat().st_size == 0:
            with open_lock.hold_alone(path, 0):
                return path.stat().st_size == 0
    except IndexBusy:
        pass  # another process is creating it
    except OSError as error:
        raise unusable_directory(path, error) from error
    return False
