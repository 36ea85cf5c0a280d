"""The connection of a process that writes.

Hops between threads, not SQL, are what a small transaction costs. So a whole one runs in the thread that asks for it;
one that has to wait in its middle for something else makes a hop to a thread of its own with every statement.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Executable, create_engine, event
from sqlalchemy.engine import URL, Row
from sqlalchemy.pool import StaticPool

from app.index.statements import Sql
from app.model.text import split

T = TypeVar("T")

Params = Mapping[str, object]
Hop = Callable[[Callable[[], Any]], Awaitable[Any]]
_NOTHING: Params = {}


class WriteConnection:
    """The connection inside one write transaction. `Index.write()` and `Index.transact()` commit it; nothing else."""

    __slots__ = ("_connection", "_driver", "_hop")

    def __init__(self, connection: Connection, hop: Hop) -> None:
        self._connection = connection
        self._driver = cast(sqlite3.Connection, connection.connection.driver_connection)
        self._hop = hop

    async def execute(self, statement: Executable, params: Any = None) -> Sequence[Row[Any]]:  # noqa: ANN401
        """Run one statement and return its rows, if it has any."""
        rows: Sequence[Row[Any]] = await self._hop(partial(self._execute, statement, params))
        return rows

    def _execute(self, statement: Executable, params: Any) -> Sequence[Row[Any]]:  # noqa: ANN401
        result = self._connection.execute(statement, params)
        return result.all() if result.returns_rows else []

    async def fetch_all(self, sql: Sql, params: Params = _NOTHING) -> list[tuple[Any, ...]]:
        """Run one SELECT inside the transaction and return its rows."""
        rows: list[tuple[Any, ...]] = await self._hop(partial(self._fetch_all, sql, params))
        return rows

    def _fetch_all(self, sql: Sql, params: Params) -> list[tuple[Any, ...]]:
        return self._driver.execute(sql.text, sql.bind(params)).fetchall()

    async def execute_many(self, sql: Sql, rows: Iterable[Params]) -> int:
        """Run one statement for each of `rows` and return how many rows of tables it changed in all."""
        parameters = [sql.bind(row) for row in rows]
        if not parameters:
            return 0
        number: int = await self._hop(partial(self._execute_many, sql, parameters))
        return number

    def _execute_many(self, sql: Sql, parameters: list[Any]) -> int:
        return self._driver.executemany(sql.text, parameters).rowcount


class Writer:
    """The writing connection and its thread; one transaction at a time, which the caller sees to."""

    def __init__(self, path: Path) -> None:
        self._engine = create_engine(sync_url(path), poolclass=StaticPool, connect_args={"check_same_thread": False})
        event.listen(self._engine, "connect", on_connect)
        event.listen(self._engine, "begin", self._on_begin)
        self._thread = ThreadPoolExecutor(1, "index-writer")
        self._durable = False
        self._level = "NORMAL"
        self._begun: Connection | None = None

    @asynccontextmanager
    async def transaction(self, *, durable: bool) -> AsyncIterator[WriteConnection]:
        """Give the connection in a transaction that commits when the block ends and is rolled back when it raises."""
        self._durable = durable
        try:
            yield WriteConnection(await self._hop(self._begin), self._hop)
        except BaseException:
            await self._hop(partial(self._end, commit=False))
            raise
        await self._hop(partial(self._end, commit=True))

    def run(self, work: Callable[[WriteConnection], Coroutine[Any, Any, T]]) -> T:
        """Run a whole transaction in the calling thread. `work` may wait for its connection and for nothing else."""
        self._durable = False
        with self._engine.begin() as connection:
            return _drive(work(WriteConnection(connection, _at_once)))

    async def close(self) -> None:
        """Close the connection and end the thread."""
        await self._hop(self._engine.dispose)
        self._thread.shutdown(wait=False)

    async def _hop(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Run a function in the thread, to its end also when the one who waits is cancelled."""
        running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise

    def _begin(self) -> Connection:
        connection = self._begun = self._engine.connect()
        connection.begin()
        return connection

    def _end(self, *, commit: bool) -> None:
        connection, self._begun = self._begun, None
        if connection is not None:
            with connection:  # which rolls back what is not committed
                if commit:
                    connection.commit()

    def _on_begin(self, connection: Connection) -> None:
        level = "FULL" if self._durable else "NORMAL"
        if level != self._level:
            connection.exec_driver_sql(f"PRAGMA synchronous={level}")
            self._level = level
        on_begin(connection)


async def _at_once(work: Callable[[], Any]) -> Any:  # noqa: ANN401
    return work()


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
        "busy_timeout=5000",
        "secure_delete=FAST",
        "temp_store=MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def on_begin(connection: Connection) -> None:
    """Begin every transaction as a writer, so that it cannot meet SQLITE_BUSY in its middle."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
