"""An open index, whatever its database. `Index.read()` lends a read connection; `Index.write()` runs a transaction.

`app.index.sqlite.database` and `app.index.postgres.database` implement it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from typing import Literal, NamedTuple, Protocol, TypeVar

from ..errors import IndexBuilding, IndexDamaged, IndexRebuilding, IndexUnusable, StoreUnavailable
from . import state
from .connections import ReadConnection, Reads, SingleReads, WriteConnection
from .hosts import Hosts
from .state import Building
from .writer_queue import Asked, WriterQueue


class Note(Protocol):
    """Is called with a piece of work and its seconds, or with something countable and its amount."""

    def __call__(self, what: str, amount: float, /, **labels: str) -> None: ...  # noqa: D102


def ignore_note(_what: str, _amount: float, /, **_labels: str) -> None:
    """Do nothing."""


log = logging.getLogger(__name__)

T = TypeVar("T")

_LEAST_S = 0.5
"""The minimum time that a writer waits for other processes, even after a long wait for its turn in this process."""

_HEAVY = 1
"""Heavy reads at a time in one process; others wait. Each takes a processor for itself, so more of them slow lists."""


LockName = Literal["duty", "sync"]

Identity = tuple[int, int]
"""What tells an index from another one that took its place later: for a file, its device and inode."""


class HeldLock(NamedTuple):
    """A lock of an index that is held until `release` is called."""

    release: Callable[[], None]


class Pool:
    """A pool of read connections."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.free = asyncio.Semaphore(size)
        self.connections: list[ReadConnection] = []


class Index(ABC):
    """An index with its connections. `make_ready` creates or upgrades its tables and opens it."""

    def __init__(self, name: str, *, readers: int, busy_timeout_s: float, note: Note = ignore_note) -> None:
        self.name = name
        """The place of the index, for messages."""
        self.note = note
        self._busy_timeout_s = busy_timeout_s
        self._light, self._heavy = Pool(readers), Pool(min(readers, _HEAVY))
        self._queue = WriterQueue()
        self._thread = ThreadPoolExecutor(1, "index-writer")
        self._held: set[LockName] = set()
        self._damaged = False
        self._rebuilding = False
        self._absence: str | None = None
        self._building: Building | None = None
        self._closed_because = "the index is closed while it is rebuilt from the files; try again soon"

    @property
    def hosts(self) -> Hosts | None:
        """The hosts that share the index, or None if it belongs to one machine."""
        return None

    @property
    @abstractmethod
    def opened(self) -> Identity | None:
        """The identity of the index that was opened last."""

    @abstractmethod
    async def make_ready(self, timeout_s: float) -> None:
        """Create or upgrade the index, and open it. A damaged one is replaced by an empty one.

        Raises:
            SchemaTooNew: a newer convstore made the index.
            IndexBusy: another program is migrating it, or has it open, for more than `timeout_s` seconds.
            IndexUnusable: the index cannot be made or opened.
        """

    def note_away(self, error: IndexUnusable) -> None:
        """Record that the server of the index did not answer when it was to be opened. Reads are refused until then."""
        self._closed_because = str(error)

    @abstractmethod
    async def open(self) -> None:
        """Open the read connections. The first write opens the write connection.

        Raises:
            IndexBusy: the index is being migrated.
            IndexDamaged: the database is damaged.
            IndexUnusable: the database cannot be opened.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close all connections."""

    @abstractmethod
    def require_exists(self) -> None:
        """Check, while the index is open, that its database is still there. Raises IndexUnusable if it is not."""

    @abstractmethod
    def is_unusable(self) -> bool:
        """Whether the open index must be replaced or opened again."""

    @abstractmethod
    async def replace(self) -> None:
        """Close the index, replace it by an empty one if it is damaged or missing, and open it again.

        Raises:
            IndexUnusable: the index cannot be replaced now.
        """

    @abstractmethod
    def has_place(self) -> bool:
        """Whether the place of the index exists, even if the index itself was deleted."""

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

    @abstractmethod
    def measure_files(self) -> dict[str, int]:
        """Return the sizes of the index's files: `index_bytes` and `wal_bytes`, 0 for a missing file."""

    @abstractmethod
    def make_directory(self) -> None:
        """Make the directory for the server's files beside the index, but not that of a store that is gone.

        Raises:
            IndexUnusable: the directory cannot be made or written to.
        """

    @abstractmethod
    async def find_state(self) -> str | None:
        """Return a text that differs after every change (the index's epoch and revision), or None if it is unknown.

        It is also None while the conversations are not on disk, so that no cached answer is sent.
        """

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
                raise IndexUnusable(self._closed_because)
            connection = pool.connections.pop()
            connection.deadline = time.monotonic() + within_s
            try:
                yield connection
            except IndexDamaged:
                self.note_damage()
                raise
            finally:
                pool.connections.append(connection)

    def read_here(self, *, whole: bool = False) -> Reads:
        """Return an object for single statements, which waits for no other thread where it can.

        Raises:
            StoreUnavailable, IndexRebuilding: as for `read`.
        """
        if whole:
            self._require_whole()
        return SingleReads(partial(self.read, whole=whole))

    async def write(
        self, work: Callable[[WriteConnection], T], *, durable: bool = False, read_from: Identity | None = None
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
        read_from: Identity | None = None,
        asked: Asked | None = None,
    ) -> T:
        """Do the same as `write` in the calling thread, which must not run the event loop.

        `asked` is a turn that the caller already requested.

        Raises:
            IndexBusy, IndexUnusable: as for `write`.
        """
        asked = asked or self._queue.ask()
        with self._queue.turn(asked):
            return self._transact(work, asked.at, durable=durable, read_from=read_from)

    @abstractmethod
    def _transact(
        self, work: Callable[[WriteConnection], T], asked_at: float, *, durable: bool, read_from: Identity | None
    ) -> T:
        """Run `work` in a transaction. It is the turn of this thread, which asked for it at `asked_at`."""

    def _left_s(self, asked_at: float) -> float:
        """Return the seconds that a writer may still wait for another process.

        The timeout starts when the writer asks for its turn (`asked_at`), not when its turn comes. Otherwise, while
        another process holds the index, the tenth writer in the queue would wait for ten timeouts.
        """
        return max(self._busy_timeout_s - (time.monotonic() - asked_at), min(self._busy_timeout_s, _LEAST_S))

    @abstractmethod
    def try_lock(self, name: LockName) -> HeldLock | None:
        """Take a named lock of the index, or return None if another process or object holds it.

        All processes that use the index share the lock. It is released when its process ends.

        Raises:
            IndexUnusable: the lock cannot be taken now.
        """

    def holds_lock(self, name: LockName) -> bool:
        """Whether this object holds the named lock."""
        return name in self._held

    @abstractmethod
    def merge_words(self, *, always: bool) -> AsyncIterator[tuple[int, int]]:
        """Merge the text index if it is much larger than necessary, or with `always`.

        Yields (steps done, approximate number of steps) before each step.
        """

    @abstractmethod
    async def list_damage(self, *, whole: bool) -> list[str]:
        """Return the faults that the database finds in itself. Without `whole`, database indexes are not compared."""

    @abstractmethod
    async def list_unsound_words(self) -> list[str]:
        """Return which text indexes differ from their sources: "words" from messages, "title parts" from titles."""

    @abstractmethod
    def rebuild_words(self, connection: WriteConnection, name: str) -> None:
        """Rebuild the text index of "words" from the messages, or that of "title parts" from the titles."""

    @abstractmethod
    async def purge(self) -> bool:
        """Remove the remains of deleted rows from the database's files. Return whether none is left.

        Raises:
            IndexBusy: another writer held the index for too long.
            IndexUnusable: the database is damaged, or the disk is full or fails.
        """

    @abstractmethod
    def list_files(self) -> list[str]:
        """Return the paths of the files that may contain texts of the index, with backups."""
