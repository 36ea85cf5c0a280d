"""Short reads in the thread of the event loop. A hop to another thread and back takes longer than such a statement.

A statement is short if it reads a bounded number of rows in the order of a database index (`Sql.short`). Nothing here
waits for a lock. A statement that takes too many steps is stopped, and a connection with its own thread runs it. After
one that took long because its pages came from a slow disk, all statements go there for a while.
"""

from __future__ import annotations

import sqlite3
import time
from math import inf
from pathlib import Path
from typing import Any

from ..connections import NO_PARAMS, Lend, Params, SingleReads
from ..dialect import Sql
from .db_errors import ERRORS

_STEPS = 5_000
_CHECKS = 20
"""So many operations of SQLite are a check, and so many checks a short statement may take: about 5 ms."""

_SLOW_S = 0.05
_REST_S = 1.0


class LoopDriver:
    """A driver connection for the thread of the event loop."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        for pragma in ("query_only=ON", "mmap_size=0", "wal_autocheckpoint=0"):
            self.connection.execute(f"PRAGMA {pragma}")
        self.connection.set_progress_handler(self._is_long, _STEPS)
        self._checks_left = _CHECKS
        self._rests_until = -inf

    def _is_long(self) -> bool:
        self._checks_left -= 1
        return self._checks_left < 0

    def find_rows(self, sql: Sql, params: Params) -> list[tuple[Any, ...]] | None:
        """Run a short SELECT, and return its rows, or None if another connection must run it."""
        now = time.monotonic()
        if now < self._rests_until:
            return None
        self._checks_left = _CHECKS
        try:
            return self.connection.execute(sql.text, sql.bind(params)).fetchall()
        except ERRORS:
            return None  # it is long, or the index is locked or damaged; the other connection says which
        finally:
            if time.monotonic() - now > _SLOW_S:
                self._rests_until = time.monotonic() + _REST_S


class LoopReadConnection(SingleReads):
    """Runs short statements in the thread of the event loop, and others in a connection of the pool."""

    __slots__ = ("_driver",)

    plans_by_values = False

    def __init__(self, driver: LoopDriver | None, lend: Lend) -> None:
        super().__init__(lend)
        self._driver = driver

    async def fetch_all(self, sql: Sql, params: Params = NO_PARAMS) -> list[tuple[Any, ...]]:
        """Run one SELECT and return its rows."""
        if sql.short and self._driver is not None:
            rows = self._driver.find_rows(sql, params)
            if rows is not None:
                return rows
        return await super().fetch_all(sql, params)
