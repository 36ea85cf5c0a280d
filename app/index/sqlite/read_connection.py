"""A read-only connection with its own thread. Each statement costs one hop to that thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path
from typing import Any

import aiosqlite

from ..connections import NO_PARAMS, Params, require_time
from ..dialect import Sql
from .db_errors import ERRORS, During, explain, is_damage

_DATA_VERSION = Sql("PRAGMA data_version", {})
_BEGIN = Sql("BEGIN", {})

_OPERATIONS = 20_000
"""The number of SQLite's operations between two checks of the deadline: about a millisecond."""


async def connect(path: Path) -> aiosqlite.Connection:
    """Open a driver connection. Its thread is a daemon, so that a program can end without closing the connection."""
    connecting = aiosqlite.connect(path, isolation_level=None)
    connecting._thread.daemon = True  # noqa: SLF001 - aiosqlite has no other way
    return await connecting


class SqliteReadConnection:
    """A connection that cannot write: it has no such methods, and `PRAGMA query_only` is set."""

    __slots__ = ("_driver", "_kept", "_version", "deadline")

    plans_by_values = False

    def __init__(self, driver: aiosqlite.Connection) -> None:
        self._driver = driver
        self._version: object = None
        self._kept: dict[str, list[tuple[Any, ...]]] = {}
        self.deadline = inf

    @classmethod
    async def open(cls, driver: aiosqlite.Connection) -> SqliteReadConnection:
        """Set up a driver connection so that it cannot write and can be stopped at a deadline."""
        for pragma in ("query_only=ON", "mmap_size=0", "wal_autocheckpoint=0", "busy_timeout=5000"):
            await driver.execute(f"PRAGMA {pragma}")
        await driver.execute_fetchall("SELECT count(*) FROM sqlite_master")
        connection = cls(driver)
        await driver.set_progress_handler(connection._is_late, _OPERATIONS)
        return connection

    def _is_late(self) -> bool:
        return time.monotonic() > self.deadline

    async def fetch_all(self, sql: Sql, params: Params = NO_PARAMS) -> list[tuple[Any, ...]]:
        """Run one SELECT in one hop to the connection's thread."""
        try:
            return await self._driver.execute_fetchall(sql.text, sql.bind(params))  # type: ignore[return-value]
        except asyncio.CancelledError:
            await self._driver.interrupt()  # otherwise the next user of the connection would wait for this statement
            raise
        except ERRORS as error:
            if not is_damage(error):
                require_time(self.deadline)  # SQLite may report an interrupted statement as another error
            raise explain(During.USE, error) from error

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        """Show one state of the index to all statements in the block."""
        try:
            await self.fetch_all(_BEGIN)
            yield
        finally:
            await self._driver.rollback()  # needed also if the caller was cancelled while its BEGIN was still queued

    async def fetch_kept(self, sql: Sql) -> list[tuple[Any, ...]]:
        """Run one SELECT, or return its earlier rows if `data_version` has not changed since."""
        [[version]] = await self.fetch_all(_DATA_VERSION)
        if version != self._version:
            self._version, self._kept = version, {}
        if sql.text not in self._kept:
            self._kept[sql.text] = await self.fetch_all(sql)
        return self._kept[sql.text]

    async def guess_rows(self, sql: Sql, params: Params = NO_PARAMS) -> int | None:  # noqa: ARG002
        """Return None: SQLite does not guess how many messages have a word."""
        return None

    async def fetch_one(self, sql: Sql, params: Params = NO_PARAMS) -> tuple[Any, ...] | None:
        """Run one SELECT and return its first row, or None."""
        rows = await self.fetch_all(sql, params)
        return rows[0] if rows else None
