"""The write connection of a process.

A hop between threads costs 64 us, more than the SQL of a small transaction. So a transaction is a plain function that
runs from BEGIN to COMMIT in one thread: for an append, the thread that wrote the files; for a task, one hop away.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import ClauseElement, Connection, Table
from sqlalchemy.engine import URL

from ...model.text.tokenizer import split
from ..connections import NO_PARAMS, Params
from ..dialect import Sql, compiled
from .index_file import FileIdentity, require_in_place

_ROWS_MAX = 100
_PATIENCE_S = 5.0
_STEP_S = 0.1
"""Timeouts are rounded up to a multiple of this, so that few transactions have to set the pragma."""
_LAST_KEY = Sql("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'conversation'", {})
_BEGIN = "BEGIN IMMEDIATE"
"""Every transaction takes the write lock at once, so that it cannot get SQLITE_BUSY in the middle."""


class SqliteWriteConnection:
    """The connection inside one write transaction."""

    __slots__ = ("_driver",)

    def __init__(self, driver: sqlite3.Connection) -> None:
        self._driver = driver

    def words_of(self, text: str) -> str:
        """Return the words of a text, which FTS5's tokenizer separates."""
        return split(text)

    def reserve_keys(self, number: int) -> int:  # noqa: ARG002 - the rows with the keys are their reservation
        """Return the first of this number of successive new keys of conversations."""
        [[last]] = self.fetch_all(_LAST_KEY)
        return int(last) + 1

    def execute(self, statement: ClauseElement) -> list[tuple[Any, ...]]:
        """Run one statement without caching its compiled form, and return its rows, if any."""
        return self.fetch_all(compiled(statement))

    def fetch_all(self, sql: Sql, params: Params = NO_PARAMS) -> list[tuple[Any, ...]]:
        """Run one statement inside the transaction and return its rows."""
        parameters = {**sql.constants, **params} if sql.constants else params
        return self._driver.execute(sql.text, parameters).fetchall()

    def execute_many(self, sql: Sql, rows: Iterable[Params]) -> None:
        """Run one statement for each of `rows`."""
        self.count_changed(sql, rows)

    def count_changed(self, sql: Sql, rows: Iterable[Params]) -> int:
        """Run one statement for each of `rows` and return the total number of changed table rows."""
        parameters = [{**sql.constants, **row} for row in rows] if sql.constants else list(rows)
        return self._driver.executemany(sql.text, parameters).rowcount if parameters else 0

    def insert_many(self, table: Table, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Insert rows with values for these columns, several rows per statement.

        In SQLite 3.40, FTS5 flushes its buffer before each statement that fires a trigger, so one statement per row
        costs twice as much.
        """
        for begin in range(0, len(rows), _ROWS_MAX):
            some = rows[begin : begin + _ROWS_MAX]
            text = _insert_text(table, tuple(names), len(some))
            self._driver.execute(text, [value for row in some for value in row])


@lru_cache(maxsize=256)
def _insert_text(table: Table, names: tuple[str, ...], rows: int) -> str:
    """Return an INSERT with unnamed parameters, because SQLite looks up named ones one by one."""
    one = f"({', '.join('?' * len(names))})"
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES {', '.join([one] * rows)}"  # noqa: S608


class Writer:
    """The write connection of a process.

    Only one transaction may run at a time, in any thread; the caller ensures this.
    """

    def __init__(self, path: Path, opened: FileIdentity | None) -> None:
        """Write only to the file `opened`, which the readers have open, and not to another file with the same name."""
        self._path = path
        self._opened = opened
        self._level = "NORMAL"
        self._patience_s = _PATIENCE_S
        self._connected: sqlite3.Connection | None = None

    def transaction(self, *, patience_s: float, durable: bool) -> AbstractContextManager[SqliteWriteConnection]:
        """Run the block in a transaction in the calling thread. If the block raises, it is rolled back.

        Waits at most `patience_s` seconds for another program that holds SQLite's own lock.
        """
        return _Transaction(self, patience_s, durable=durable)

    def purge(self, *, patience_s: float) -> bool:
        """Write the database anew without the remains of deleted rows, and empty the write-ahead log.

        Return whether the log could be emptied. It cannot while a reader uses an older state of the database.
        """
        if self._connected is None:
            self._connected = self._connect()
        self._connected.execute("VACUUM")
        until = time.monotonic() + patience_s
        while True:
            [busy, _, _] = self._connected.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy or time.monotonic() > until:
                return not busy

    def close(self) -> None:
        """Close the connection."""
        if self._connected is not None:
            self._connected.close()

    def begin(self, patience_s: float, *, durable: bool) -> sqlite3.Connection:
        """Begin a transaction. `end` must follow, also if this raises."""
        if self._connected is None:
            self._connected = self._connect()
        level = "FULL" if durable else "NORMAL"
        if level != self._level:
            self._connected.execute(f"PRAGMA synchronous={level}")
            self._level = level
        patience_s = math.ceil(patience_s / _STEP_S) * _STEP_S
        if patience_s != self._patience_s:
            self._connected.execute(f"PRAGMA busy_timeout={patience_s * 1000:.0f}")
            self._patience_s = patience_s
        self._connected.execute(_BEGIN)
        return self._connected

    def _connect(self) -> sqlite3.Connection:
        require_in_place(self._path, self._opened)
        connection = sqlite3.connect(self._path, check_same_thread=False)
        try:
            on_connect(connection, None)
            require_in_place(self._path, self._opened)
        except BaseException:
            connection.close()
            raise
        return connection

    def end(self, *, commit: bool) -> None:
        """End the transaction, if one was begun. If it cannot be committed, it is rolled back."""
        if self._connected is None:
            return
        try:
            if commit:
                self._connected.execute("COMMIT")
        finally:
            if self._connected.in_transaction:
                self._connected.execute("ROLLBACK")


class _Transaction(AbstractContextManager[SqliteWriteConnection]):
    """A class, because an append needs one, and a generator takes longer than most statements."""

    __slots__ = ("_durable", "_patience_s", "_writer")

    def __init__(self, writer: Writer, patience_s: float, *, durable: bool) -> None:
        self._writer, self._patience_s, self._durable = writer, patience_s, durable

    def __enter__(self) -> SqliteWriteConnection:
        try:
            return SqliteWriteConnection(self._writer.begin(self._patience_s, durable=self._durable))
        except BaseException:
            self._writer.end(commit=False)
            raise

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._writer.end(commit=kind is None)


def sync_url(path: Path) -> URL:
    """Return the SQLAlchemy URL of an index."""
    return URL.create("sqlite", database=str(path))


def on_connect(driver: Any, _record: object) -> None:  # noqa: ANN401
    """Set up a new write connection: its SQL function and pragmas, and no BEGIN by the driver."""
    driver.isolation_level = None
    driver.create_function("split", 1, split, deterministic=True)
    cursor = driver.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
        "mmap_size=0",
        f"busy_timeout={_PATIENCE_S * 1000:.0f}",
        "secure_delete=FAST",
        "temp_store=MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def on_begin(connection: Connection) -> None:
    """Begin a transaction of SQLAlchemy with the same statement as all others. Migrations run in it."""
    connection.exec_driver_sql(_BEGIN)
