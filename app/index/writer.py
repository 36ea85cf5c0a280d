"""The connection of a process that writes.

Hops between threads, not SQL, are what a small transaction costs. So a whole one runs in the thread that asks for it;
one that has to wait in its middle for something else makes a hop to a thread of its own with every statement.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import ClauseElement, Connection, Table
from sqlalchemy.engine import URL

from app.index.places import Identity, require_in_place
from app.index.statements import Sql, compiled
from app.model.text import split

T = TypeVar("T")

Params = Mapping[str, object]
Hop = Callable[[Callable[[], Any]], Awaitable[Any]]
_NOTHING: Params = {}
_ROWS_MAX = 100
_PATIENCE_S = 5.0
_STEP_S = 0.1
"""The patience is rounded up to a multiple of this, so that the pragma is not run with every transaction."""
_BEGIN = "BEGIN IMMEDIATE"
"""Every transaction begins as a writer's, so that it cannot meet SQLITE_BUSY in its middle."""


class WriteConnection:
    """The connection inside one write transaction. `Index.write()` and `Index.transact()` commit it; nothing else."""

    __slots__ = ("_driver", "_hop")

    def __init__(self, driver: sqlite3.Connection, hop: Hop | None = None) -> None:
        """Without a `hop` to the connection's thread, statements run in the thread that waits for them."""
        self._driver = driver
        self._hop = hop

    async def execute(self, statement: ClauseElement) -> list[tuple[Any, ...]]:
        """Run one statement that is not worth keeping compiled, and return its rows, if it has any."""
        return await self.fetch_all(compiled(statement))

    async def fetch_all(self, sql: Sql, params: Params = _NOTHING) -> list[tuple[Any, ...]]:
        """Run one statement inside the transaction and return its rows."""
        if self._hop is None:
            return self._fetch_all(sql, params)
        rows: list[tuple[Any, ...]] = await self._hop(partial(self._fetch_all, sql, params))
        return rows

    def _fetch_all(self, sql: Sql, params: Params) -> list[tuple[Any, ...]]:
        return self._driver.execute(sql.text, sql.bind(params)).fetchall()

    async def execute_many(self, sql: Sql, rows: Iterable[Params]) -> int:
        """Run one statement for each of `rows` and return how many rows of tables it changed in all."""
        parameters = [sql.bind(row) for row in rows]
        if not parameters:
            return 0
        if self._hop is None:
            return self._execute_many(sql, parameters)
        number: int = await self._hop(partial(self._execute_many, sql, parameters))
        return number

    def _execute_many(self, sql: Sql, parameters: list[dict[str, object]]) -> int:
        return self._driver.executemany(sql.text, parameters).rowcount

    async def insert_many(self, table: Table, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Insert rows that give these columns, many with a statement.

        SQLite 3.40 has FTS5 write out what it holds before each statement that sets off a trigger, so that a
        statement for each row costs twice as much.
        """
        for begin in range(0, len(rows), _ROWS_MAX):
            some = rows[begin : begin + _ROWS_MAX]
            work = partial(self._insert, _insert_text(table, tuple(names), len(some)), some)
            await self._hop(work) if self._hop else work()

    def _insert(self, text: str, rows: Sequence[Sequence[object]]) -> None:
        self._driver.execute(text, [value for row in rows for value in row])


@lru_cache(maxsize=256)
def _insert_text(table: Table, names: tuple[str, ...], rows: int) -> str:
    """Return a statement whose parameters have no names: SQLite looks names up one by one."""
    one = f"({', '.join('?' * len(names))})"
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES {', '.join([one] * rows)}"  # noqa: S608


class Writer:
    """The writing connection and its thread; one transaction at a time, which the caller sees to."""

    def __init__(self, path: Path, opened: Identity | None) -> None:
        """Write to the file that the readers have open, `opened`, and to no other of this name."""
        self._path = path
        self._opened = opened
        self._thread = ThreadPoolExecutor(1, "index-writer")
        self._level = "NORMAL"
        self.patience_s = _PATIENCE_S
        """How long the next transaction waits for a program that has SQLite's own lock."""
        self._patient_s = _PATIENCE_S
        self._connected: sqlite3.Connection | None = None

    @asynccontextmanager
    async def transaction(self, *, durable: bool) -> AsyncIterator[WriteConnection]:
        """Give the connection in a transaction that commits when the block ends and is rolled back when it raises."""
        try:
            yield WriteConnection(await self._hop(partial(self._begin, durable=durable)), self._hop)
        except BaseException:
            await self._hop(partial(self._end, commit=False))
            raise
        await self._hop(partial(self._end, commit=True))

    def run(self, work: Callable[[WriteConnection], Coroutine[Any, Any, T]]) -> T:
        """Run a whole transaction in the calling thread. `work` may wait for its connection and for nothing else."""
        try:
            result = _drive(work(WriteConnection(self._begin(durable=False))))
        except BaseException:
            self._end(commit=False)
            raise
        self._end(commit=True)
        return result

    async def close(self) -> None:
        """Close the connection and end the thread."""
        if self._connected is not None:
            await self._hop(self._connected.close)
        self._thread.shutdown(wait=False)

    async def _hop(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Run a function in the thread, to its end also when the one who waits is cancelled."""
        running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise

    def _begin(self, *, durable: bool) -> sqlite3.Connection:
        if self._connected is None:
            self._connected = self._connect()
        level = "FULL" if durable else "NORMAL"
        if level != self._level:
            self._connected.execute(f"PRAGMA synchronous={level}")
            self._level = level
        patience_s = math.ceil(self.patience_s / _STEP_S) * _STEP_S
        if patience_s != self._patient_s:
            self._connected.execute(f"PRAGMA busy_timeout={patience_s * 1000:.0f}")
            self._patient_s = patience_s
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

    def _end(self, *, commit: bool) -> None:
        if self._connected is None:
            return
        try:
            if commit:
                self._connected.execute("COMMIT")
        finally:
            if self._connected.in_transaction:
                self._connected.execute("ROLLBACK")


def _drive(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never has to wait."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise RuntimeError("a transaction in one go waits for nothing but its own connection")


def sync_url(path: Path) -> URL:
    """Return the SQLAlchemy URL of an index."""
    return URL.create("sqlite", database=str(path))


def on_connect(driver: Any, _record: object) -> None:  # noqa: ANN401
    """Give a new writing connection its function and pragmas, and take BEGIN away from the driver."""
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
    """Begin a transaction of SQLAlchemy's, in which migrations run, as all others begin."""
    connection.exec_driver_sql(_BEGIN)
