"""An open index. `Index.read()` lends a read-only connection, and `Index.write()` runs a write transaction.

The rules for SQLite 3.40, each of them measured: every write transaction takes SQLite's lock at once
(`app.index.sqlite.write_connection`), behind one file lock that all processes share; read connections have `query_only`
on and never checkpoint; there is no mmap; only SQLite opens the database file.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import aiosqlite

from ...errors import IndexBuilding, IndexBusy, IndexDamaged, IndexRebuilding, IndexUnusable, StoreUnavailable
from .. import state
from ..connections import ReadConnection, WriteConnection
from ..state import Building
from . import open_lock
from .db_errors import ERRORS, During, explain, is_damage
from .index_file import (
    FileIdentity,
    find_identity,
    make_directory,
    measure_files,
    pin_file,
    require_in_place,
    require_same,
)
from .read_connection import SqliteReadConnection, connect
from .write_connection import Writer
from .writer_lock import Asked, WriterQueue, try_lock_beside, writer_lock, writer_lock_of_task

Note = Callable[[str, float], None]
"""Called with the name of a finished task and its duration in seconds."""


def ignore_note(_what: str, _seconds: float) -> None:
    """Do nothing."""


log = logging.getLogger(__name__)

T = TypeVar("T")

_LEAST_S = 0.5
"""The minimum time that a writer waits for other processes, even after a long wait for its turn in this process."""

_HEAVY = 1
"""Heavy reads at a time in one process; others wait. Each takes a processor for itself, so more of them slow lists."""


LockName = Literal["duty", "sync"]


class HeldLock(NamedTuple):
    """A lock of an index that is held until `release` is called."""

    release: Callable[[], None]


class _Pool:
    """A pool of read connections."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.free = asyncio.Semaphore(size)
        self.connections: list[SqliteReadConnection] = []


class Index:
    """An index file with its connections. `migrations.upgrade` must create or upgrade the file before `open`."""

    def __init__(self, path: Path, *, readers: int, busy_timeout_s: float, note: Note = ignore_note) -> None:
        self.path = path
        self._note = note
        self._busy_timeout_s = busy_timeout_s
        self._light, self._heavy = _Pool(readers), _Pool(min(readers, _HEAVY))
        self._drivers: list[aiosqlite.Connection] = []
        self._watch: sqlite3.Connection | None = None
        self._seen: tuple[int, str] | None = None
        self._queue = WriterQueue()
        self._thread = ThreadPoolExecutor(1, "index-writer")
        self._writer: Writer | None = None
        self._presence: int | None = None
        self._held: set[LockName] = set()
        self._damaged = False
        self._rebuilding = False
        self._absence: str | None = None
        self._building: Building | None = None
        self.opened: FileIdentity | None = None
        """The identity of the file that was opened last."""
        self._log: FileIdentity | None = None
        self._pin: int | None = None

    async def open(self) -> None:
        """Open the read connections. The first write opens the write connection.

        Raises:
            IndexBusy: the index is being migrated.
            IndexDamaged: the file is damaged or not a database.
            IndexUnusable: the file cannot be opened.
        """
        self._presence = await asyncio.to_thread(open_lock.hold_open, self.path)
        self._let_go()
        self._pin = pin_file(self.path)
        self.opened = find_identity(self.path)
        try:
            require_in_place(self.path, self.opened)
            for pool in (self._light, self._heavy):
                for _ in range(pool.size):
                    driver = await connect(self.path)
                    self._drivers.append(driver)
                    pool.connections.append(await SqliteReadConnection.open(driver))
            self._watch = sqlite3.connect(self.path, timeout=0, isolation_level=None)
            self._watch.execute("PRAGMA query_only=ON")
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
        if self._watch is not None:
            self._watch.close()
            self._watch = None
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

    @property
    def damaged(self) -> bool:
        """Whether damage was found since the index was opened."""
        return self._damaged

    def note_damage(self) -> None:
        """Record that the index is damaged. `app.store.follow.index_repair` then replaces it."""
        self._damaged = True

    @property
    def rebuilding(self) -> bool:
        """Whether the index replaced a damaged one and is still incomplete, according to the last refresh."""
        return self._rebuilding

    async def refresh_rebuilding(self) -> None:
        """Read from the index whether it is still being rebuilt."""
        async with self.read() as connection:
            progress = await state.get_state(connection)
        self._rebuilding = progress.derived_by == state.RECOVERING
        self._building = None if progress.is_whole else Building(progress.done, progress.total or None)

    @property
    def building(self) -> Building | None:
        """The progress of the first build, as of the last refresh; None if all conversations are listed."""
        return self._building

    def require_built(self) -> None:
        """Check that all conversations are listed.

        Raises:
            IndexBuilding: the first build has not listed all conversations yet.
        """
        if self._building is not None:
            raise IndexBuilding(
                f"the index is being built for the first time; phase metadata: {self._building} conversations are "
                "listed. GET /ready?wait=30 waits for the others; GET /api/index/status has the progress"
            )

    def note_absence(self, absence: str | None) -> None:
        """Set the reason why the conversations are not on disk now, or None if they are."""
        self._absence = absence

    def require_present(self) -> None:
        """Check that the conversations are on disk, as of the last `note_absence`.

        Raises:
            StoreUnavailable: they are not.
        """
        if self._absence is not None:
            raise StoreUnavailable(self._absence)

    def _require_whole(self) -> None:
        self.require_present()
        if self._rebuilding:
            raise IndexRebuilding(
                "the index was damaged and is being built again from the files, so its list of conversations is still"
                " incomplete; a conversation can be read by its id. See GET /api/index/status, and try again soon"
            )

    def measure_files(self) -> dict[str, int]:
        """Return the sizes of the index's files: `index_bytes` and `wal_bytes`, 0 for a missing file."""
        return measure_files(self.path)

    def make_directory(self) -> None:
        """Make the index's directory if it is missing, but not the directory of a store that is gone.

        Raises:
            IndexUnusable: the directory cannot be made or written to, or is on a network file system.
        """
        make_directory(self.path, parents=False)

    def find_state(self) -> str | None:
        """Return a text that differs after every change (the index's epoch and revision), or None if it is unknown.

        It is also None while the conversations are not on disk, so that no cached answer is sent.

        Every list request calls this on the event loop. If no process has committed, it costs one pragma: 6 us of
        shared memory and no disk access; a read in a connection's thread would cost 100 us. It never waits for a lock.
        """
        if self._watch is None or self._absence is not None:
            return None
        try:
            [version] = self._watch.execute("PRAGMA data_version").fetchone()
            if self._seen is None or self._seen[0] != version:
                [text] = self._watch.execute("SELECT epoch || '.' || revision FROM revision").fetchone()
                self._seen = version, text
        except (*ERRORS, TypeError):
            return None
        return self._seen[1]

    @asynccontextmanager
    async def read(
        self, *, heavy: bool = False, within_s: float = inf, whole: bool = False
    ) -> AsyncIterator[ReadConnection]:
        """Lend one of the read connections.

        Pass `heavy` for statements that read many rows, and `within_s` for one that is stopped after this time. Both
        get a connection from another pool, so that no list, no single conversation and no write waits for them.
        `whole` refuses an index that is being rebuilt, or whose conversations are not on disk.

        Raises:
            StoreUnavailable: the conversations are not on disk.
            IndexRebuilding: the index does not have all conversations yet.
            IndexUnusable: the index is closed now.
        """
        pool = self._heavy if heavy or within_s < inf else self._light
        async with pool.free:
            if whole:
                self._require_whole()
            if not pool.connections:
                raise IndexUnusable("the index is closed while it is rebuilt from the files; try again soon")
            connection = pool.connections.pop()
            connection.deadline = time.monotonic() + within_s
            try:
                yield connection
            except IndexDamaged:
                self.note_damage()
                raise
            finally:
                pool.connections.append(connection)

    async def write(
        self, work: Callable[[WriteConnection], T], *, durable: bool = False, read_from: FileIdentity | None = None
    ) -> T:
        """Run `work` in a transaction in a thread, and return its result. If `work` raises, everything is rolled back.

        `work` must not wait for another write to the index. A power cut may undo the last commits, which a sync repairs
        from the files, but it never undoes a `durable` one. If the changes depend on an earlier read, pass the value of
        `opened` at that time as `read_from`. A transaction that has started runs to its end, even if the caller is
        cancelled.

        Raises:
            IndexBusy: another writer held the index for too long.
            IndexUnusable: the database is damaged, the disk is full or fails, or the file is not `read_from`.
        """
        asked = self._queue.ask()
        in_turn = partial(self.write_in_thread, work, durable=durable, read_from=read_from, asked=asked)
        running = asyncio.get_running_loop().run_in_executor(self._thread, in_turn)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            asked.turn.cancel()
            await asyncio.wait([running])
            if (failed := running.exception()) is not None and not asked.turn.cancelled():
                log.warning("a write to the index failed after its caller was cancelled: %s", failed)
            raise

    def write_in_thread(
        self,
        work: Callable[[WriteConnection], T],
        *,
        durable: bool = False,
        read_from: FileIdentity | None = None,
        asked: Asked | None = None,
    ) -> T:
        """Do the same as `write` in the calling thread, which must not run the event loop.

        `asked` is a turn that the caller already requested.

        Raises:
            IndexBusy, IndexUnusable: as for `write`.
        """
        asked = asked or self._queue.ask()
        with self._queue.turn(asked), writer_lock(self.path, self._left_s(asked.at)):
            begun_at = time.monotonic()
            self._note("lock_wait", begun_at - asked.at)
            if read_from is not None:
                require_same(self.path, read_from, self.opened)
            if self._writer is None:
                self._writer = Writer(self.path, self.opened)
            try:
                with self._writer.transaction(patience_s=self._left_s(asked.at), durable=durable) as connection:
                    result = work(connection)
            except ERRORS as error:
                self._damaged = self._damaged or is_damage(error)
                raise explain(During.USE, error) from error
            self._note("commit", time.monotonic() - begun_at)
            return result

    async def purge(self) -> bool:
        """Remove the remains of deleted rows from the files: free pages, parts of pages, and the write-ahead log.

        Needs as much free space as the index has bytes. Return whether the log could be emptied. It cannot while
        another process keeps reading an older state.

        Raises:
            IndexBusy: another writer held the index for too long.
            IndexUnusable: the database is damaged, or the disk is full or fails.
        """
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

    def _left_s(self, asked_at: float) -> float:
        """Return the seconds that a writer may still wait for another process.

        The timeout starts when the writer asks for its turn (`asked_at`), not when its turn comes. Otherwise, while
        another process holds the index, the tenth writer in the queue would wait for ten timeouts.
        """
        return max(self._busy_timeout_s - (time.monotonic() - asked_at), min(self._busy_timeout_s, _LEAST_S))

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

    def holds_lock(self, name: LockName) -> bool:
        """Whether this object holds the named lock."""
        return name in self._held

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Exclude all other writers during the block, which may replace the whole contents."""
        async with self._queue.turn_of_task(), writer_lock_of_task(self.path, self._busy_timeout_s):
            yield
