"""A read-only connection to PostgreSQL. It connects at its first statement, and again after the server was away."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import Any

import orjson
import psycopg
from psycopg.errors import QueryCanceled

from ..connections import NO_PARAMS, Params, require_time
from ..dialect import Sql
from .db_errors import ERRORS, explain
from .loop_driver import LoopDriver
from .server import Server
from .statements import translate

_STEP_S = 0.1
"""Time limits are rounded up to a multiple of this, so that few statements have to set one."""
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_TURN = Sql("SELECT number FROM turn", {})


class PostgresReadConnection:
    """A connection that cannot write: it has no such methods, and `default_transaction_read_only` is on."""

    __slots__ = ("_driver", "_in_snapshot", "_kept", "_limit_ms", "_server", "_turn", "deadline")

    plans_by_values = True

    def __init__(self, server: Server) -> None:
        self._server = server
        self._driver: LoopDriver | None = None
        self._in_snapshot = False
        self._limit_ms = 0
        self._turn: object = None
        self._kept: dict[Sql, list[tuple[Any, ...]]] = {}
        self.deadline = inf

    async def fetch_all(self, sql: Sql, params: Params = NO_PARAMS) -> list[tuple[Any, ...]]:
        """Run one SELECT. If the connection was lost before it, it is made again once."""
        return await self._fetch_surely(sql, params)

    async def guess_rows(self, sql: Sql, params: Params = NO_PARAMS) -> int | None:
        """Return how many rows the planner expects of a SELECT, according to its statistics."""
        [[plans]] = await self._fetch_surely(sql, params, explained=True)
        return int(orjson.loads(plans)[0]["Plan"]["Plan Rows"])

    async def _fetch_surely(self, sql: Sql, params: Params, *, explained: bool = False) -> list[tuple[Any, ...]]:
        try:
            try:
                return await self._fetch(sql, params, explained=explained)
            except psycopg.OperationalError:
                if self._in_snapshot or self._driver is None or not self._driver.closed:
                    raise
                return await self._fetch(sql, params, explained=explained)
        except ERRORS as error:
            if isinstance(error, QueryCanceled):
                require_time(self.deadline)
            raise explain(error, self._server.name) from error

    async def _fetch(self, sql: Sql, params: Params, *, explained: bool) -> list[tuple[Any, ...]]:
        driver = await self._connected()
        await self._limit(driver)
        translated = translate(sql)
        text = translated.limited_text(params)
        if explained:
            text = f"EXPLAIN (FORMAT JSON) {text}"
        return await driver.fetch(text, translated.bind(params), prepare=translated.prepare)

    async def _connected(self) -> LoopDriver:
        """Return the connection. One that a cancelled caller left inside a statement or a transaction is made again."""
        if self._driver is None or not (self._in_snapshot or self._driver.at_rest):
            await self.close()
            self._driver = LoopDriver(await self._server.connect_to_read())
            self._limit_ms = 0
            self._turn, self._kept = None, {}
        return self._driver

    async def _limit(self, driver: LoopDriver) -> None:
        """Let the server stop the next statement at the deadline."""
        if self.deadline == inf:
            limit_ms = 0
        else:
            require_time(self.deadline)
            steps = math.ceil((self.deadline - time.monotonic()) / _STEP_S)
            limit_ms = int(1000 * _STEP_S * max(steps, 1))  # 0 would be no limit
        if limit_ms != self._limit_ms:
            await driver.fetch(f"SET statement_timeout = {limit_ms}", NO_PARAMS, prepare=False)
            self._limit_ms = limit_ms

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        """Show one state of the index to all statements in the block."""
        try:
            driver = await self._connected()
            await self._limit(driver)
            limit_ms = self._limit_ms
            await driver.fetch(_BEGIN, NO_PARAMS)
        except ERRORS as error:
            raise explain(error, self._server.name) from error
        self._in_snapshot = True
        try:
            yield
        finally:
            self._in_snapshot = False
            self._limit_ms = limit_ms  # a rollback undoes SET
            with suppress(psycopg.Error):  # a lost connection is made again by the next statement
                await driver.fetch("ROLLBACK", NO_PARAMS)

    async def fetch_kept(self, sql: Sql) -> list[tuple[Any, ...]]:
        """Run one SELECT, or return its earlier rows if nobody has written since."""
        [[turn]] = await self.fetch_all(_TURN)
        if turn != self._turn:
            self._turn, self._kept = turn, {}
        if sql not in self._kept:
            self._kept[sql] = await self.fetch_all(sql)
        return self._kept[sql]

    async def fetch_one(self, sql: Sql, params: Params = NO_PARAMS) -> tuple[Any, ...] | None:
        """Run one SELECT and return its first row, or None."""
        rows = await self.fetch_all(sql, params)
        return rows[0] if rows else None

    async def require_connected(self) -> None:
        """Connect if it is not connected. Raises IndexUnusable if the server does not answer."""
        try:
            await self._connected()
        except ERRORS as error:
            raise explain(error, self._server.name) from error

    async def close(self) -> None:
        """Close the connection."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None
