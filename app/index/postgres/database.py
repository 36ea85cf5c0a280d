"""An open index in PostgreSQL, for one or several hosts.

A commit of an append is asynchronous in PostgreSQL, because the files are the truth. So after any lost connection the
index counts as another one (`opened` differs): the leader then raises the revision far, and compares all files.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from ...errors import IndexUnusable, StoreUnavailable
from ...exclusive_rename import rename_exclusively
from .. import engine, messages
from ..connections import WriteConnection
from ..dialect import Sql
from ..engine import HeldLock, Identity, LockName, Note, ignore_note
from ..hosts import COMMITTED
from . import migrations
from .db_errors import ERRORS, explain
from .duties import Duties
from .migrations import HEAD, VERSION_MIN, find_revision, read_revision
from .own_host import PostgresHosts
from .read_connection import PostgresReadConnection
from .server import Server
from .write_connection import Writer

log = logging.getLogger(__name__)

T = TypeVar("T")

_STATE = Sql("SELECT epoch || '.' || revision FROM revision", {})
_STARTED = Sql("SELECT CAST(extract(epoch FROM pg_postmaster_start_time()) * 1000000 AS BIGINT)", {})
_WORDLESS = Sql(
    "SELECT message.id FROM message LEFT JOIN message_words ON message_words.id = message.id"
    " WHERE message_words.id IS NULL LIMIT 1",
    {},
)
_TEXTS = Sql("SELECT id, text, tool_text FROM message WHERE id > :after ORDER BY id LIMIT 1000", {})
_CLEAR_WORDS = Sql("DELETE FROM message_words", {})
_ERASED_FROM = (
    "message_words", "message", "event", "edit", "conversation_info", "shared_info", "conversation",
)  # fmt: skip
_TOKEN = "store-id"  # noqa: S105 - a name of a file


class Index(engine.Index):
    """An index in PostgreSQL with its connections."""

    def __init__(
        self, server: Server, root: Path, *, readers: int, busy_timeout_s: float, note: Note = ignore_note
    ) -> None:
        """`root` is the conversations directory that the index is of."""
        super().__init__(server.name, readers=readers, busy_timeout_s=busy_timeout_s, note=note)
        self._server = server
        self._root = root
        self._writer = Writer(server)
        self._watch = PostgresReadConnection(server)
        self._watch_lock = asyncio.Lock()
        self._state: str | None = None
        """The answer to the last of the questions that `_asked` counts."""
        self._asked = 0
        self._duties = Duties(server)
        self._hosts = PostgresHosts(server)
        self._started_us = 0

    @property
    def opened(self) -> Identity | None:
        """The start of the database server, and how often the connection to it was lost."""
        return (self._started_us, self._writer.losses) if self._started_us else None

    async def make_ready(self, timeout_s: float) -> None:
        """Make or upgrade the schema, and open the index."""
        await asyncio.to_thread(self._prepare, timeout_s)
        await self.open()
        await self.refresh_rebuilding()

    def _prepare(self, timeout_s: float) -> None:
        """Check that the server will do and that the index is of this directory. Make or upgrade the schema."""
        token = _read_token(self._root)
        try:
            with self._server.connect() as connection:
                self._require_usable(connection)
                if find_revision(connection) != HEAD:
                    migrations.upgrade(self._server, wait_s=timeout_s)
                connection.execute("INSERT INTO store (id, token) VALUES (1, %s) ON CONFLICT DO NOTHING", (token,))
                found = connection.execute("SELECT token FROM store").fetchone()
        except ERRORS as error:
            raise explain(error, self.name) from error
        if found is None or found[0] != token:
            raise IndexUnusable(
                f"the index {self.name} is of another conversations directory; give {self._root} a schema of its own "
                "with CONVSTORE_INDEX_SCHEMA"
            )

    def _require_usable(self, connection: psycopg.Connection[Any]) -> None:
        """Check the server's version, and that each connection has a session of its own.

        A session has the schema, and gets messages of other hosts.
        """
        version = connection.info.server_version
        if version < VERSION_MIN:
            raise IndexUnusable(
                f"the PostgreSQL server of the index {self.name} has version {version // 10_000}; "
                f"convstore needs {VERSION_MIN // 10_000} or newer"
            )
        if self._server.shares_sessions(connection):
            raise IndexUnusable(
                f"the index {self.name} is behind a pooler that shares sessions between connections, with which "
                "convstore cannot work; set its mode to session, or name the server itself in CONVSTORE_INDEX_URL"
            )

    async def open(self) -> None:
        """Open the read connections."""
        first = PostgresReadConnection(self._server)
        try:
            [[self._started_us]] = await first.fetch_all(_STARTED)
        except BaseException:
            await first.close()
            raise
        for pool in (self._light, self._heavy):
            pool.connections = [PostgresReadConnection(self._server) for _ in range(pool.size)]
        self._light.connections[-1] = first  # the next read takes the last one
        self._duties.open()
        self._writer.open()

    @property
    def hosts(self) -> PostgresHosts:
        """The hosts that share the index."""
        return self._hosts

    async def close(self) -> None:
        """Close all connections."""
        await self._hosts.close()
        await self._close_connections()

    async def _close_connections(self) -> None:
        for pool in (self._light, self._heavy):
            for connection in pool.connections:
                assert isinstance(connection, PostgresReadConnection)  # noqa: S101 - `open` made them
                await connection.close()
            pool.connections.clear()
        await self._watch.close()
        await asyncio.to_thread(self._duties.close)
        await asyncio.to_thread(self._close_writer)

    def _close_writer(self) -> None:
        """Close the write connection after the transaction that is under way, which may have no caller any more."""
        with self._queue.turn(self._queue.ask()):
            self._writer.close()

    def require_exists(self) -> None:
        """Do nothing: each statement says whether the server answers."""

    def is_unusable(self) -> bool:
        """Whether the index is not open yet. Afterwards, each connection is made again when it is needed."""
        return not self._started_us

    async def replace(self) -> None:
        """Make or upgrade the schema, and open the index again."""
        await self._close_connections()
        await self.make_ready(self._busy_timeout_s)
        self._damaged = False

    def _require_opened(self) -> None:
        """Check that `make_ready` found the schema to be this store's."""
        if not self._started_us:
            raise IndexUnusable(self._closed_because, away=True)

    def has_place(self) -> bool:
        """Whether the server answers."""
        try:
            read_revision(self._server)
        except IndexUnusable:
            return False
        return True

    def measure_files(self) -> dict[str, int]:
        """Return the size of the tables with their indexes. The write-ahead log belongs to the server."""
        size = 0
        with suppress(*ERRORS), self._server.connect() as connection:
            row = connection.execute(
                "SELECT CAST(coalesce(sum(pg_total_relation_size(oid)), 0) AS BIGINT) FROM pg_class"
                " WHERE relkind = 'r' AND relnamespace = CAST(%s AS regnamespace)",
                (f'"{self._server.schema}"',),
            ).fetchone()
            size = 0 if row is None else int(row[0])
        return {"index_bytes": size, "wal_bytes": 0}

    def make_directory(self) -> None:
        """Make the directory for the server's own files."""
        _make_directory(self._root)

    async def find_state(self) -> str | None:
        """Return a text that differs after every change, or None if it is unknown. It is asked, never remembered.

        Those that come while a question is under way share the next one, which sees all that was committed before.
        """
        if self._absence is not None or not self._started_us:
            return None
        before = self._asked
        async with self._watch_lock:
            if self._asked == before:
                self._state, self._asked = None, before + 1
                with suppress(IndexUnusable):
                    row = await self._watch.fetch_one(_STATE)
                    self._state = None if row is None else str(row[0])
            return self._state

    def _transact(
        self, work: Callable[[WriteConnection], T], asked_at: float, *, durable: bool, read_from: Identity | None
    ) -> T:
        self._require_opened()
        if read_from is not None and read_from != self.opened:
            raise IndexUnusable(f"the connection to the index {self.name} was lost during the request; try again")
        begun_at = time.monotonic()
        self.note("lock_wait", begun_at - asked_at)
        try:
            with self._writer.transaction(patience_s=self._left_s(asked_at), durable=durable) as connection:
                result = work(connection)
        except ERRORS as error:
            raise explain(error, self.name) from error
        self.note("commit", time.monotonic() - begun_at)
        self._hosts.send(COMMITTED)
        return result

    def try_lock(self, name: LockName) -> HeldLock | None:
        """Take a named lock of the index, or return None if another process or object holds it."""
        self._require_opened()
        if not self._duties.take(name):
            return None
        self._held.add(name)
        return HeldLock(partial(self._unlock, name))

    def _unlock(self, name: LockName) -> None:
        self._held.discard(name)
        self._duties.release(name)

    async def merge_words(self, *, always: bool) -> AsyncIterator[tuple[int, int]]:  # noqa: ARG002
        """Do nothing: PostgreSQL keeps its indexes small by itself."""
        steps: tuple[tuple[int, int], ...] = ()
        for step in steps:
            yield step

    async def list_damage(self, *, whole: bool) -> list[str]:  # noqa: ARG002
        """Return nothing: PostgreSQL has no such check for a user without special rights."""
        async with self.read() as connection:
            await connection.fetch_one(_STATE)
        return []

    async def list_unsound_words(self) -> list[str]:
        """Return "words" if a message has none."""
        async with self.read(heavy=True) as connection:
            return ["words"] if await connection.fetch_one(_WORDLESS) else []

    def rebuild_words(self, connection: WriteConnection, name: str) -> None:  # noqa: ARG002 - there is one
        """Make the words of all messages again."""
        connection.execute_many(_CLEAR_WORDS, [{}])
        after = -1
        while rows := connection.fetch_all(_TEXTS, {"after": after}):
            messages.add_words(connection, rows)
            after = rows[-1][0]

    async def purge(self) -> bool:
        """Remove the remains of deleted rows from the tables, as far as no transaction still sees them."""
        await asyncio.to_thread(self._purge)
        return True

    def _purge(self) -> None:
        with self._queue.turn(self._queue.ask()):
            try:
                self._writer.vacuum(_ERASED_FROM)
            except ERRORS as error:
                raise explain(error, self.name) from error

    def list_files(self) -> list[str]:
        """Return nothing: the database's files belong to its server."""
        return []


def _make_directory(root: Path) -> Path:
    directory = root / ".convstore"
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"{directory} cannot be made ({error.strerror}); make {root} writable") from error
    return directory


def _read_token(root: Path) -> str:
    """Return the id of a conversations directory, which is made at its first use."""
    path = _make_directory(root) / _TOKEN
    try:
        if not path.exists():
            own = path.with_name(f"{_TOKEN}.{secrets.token_hex(4)}")
            own.write_text(secrets.token_hex(16))
            with suppress(FileExistsError):
                rename_exclusively(own, path)
            own.unlink(missing_ok=True)
        return path.read_text().strip()
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be read or made ({error.strerror}); make it writable") from error
