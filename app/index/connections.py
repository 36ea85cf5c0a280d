"""The interface that the index's modules use, independent of the database.

Most are only types. The connections of a database have these methods themselves, so there is no extra call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from math import inf
from typing import Any, Protocol

from sqlalchemy import ClauseElement, Table

from ..errors import QueryTooSlow
from .dialect import Sql

Params = Mapping[str, object]
NO_PARAMS: Params = {}


class Reads(Protocol):
    """Runs single statements that cannot write."""

    deadline: float
    """The time on the monotonic clock at which a statement, or work on its rows, is stopped."""

    @property
    def plans_by_values(self) -> bool:
        """Whether the database knows how many rows have a value, and plans by that. PostgreSQL does."""

    async def fetch_all(self, sql: Sql, params: Params = NO_PARAMS) -> list[tuple[Any, ...]]:
        """Run one SELECT and return its rows.

        Raises:
            QueryTooSlow: the time limit of the connection was reached.
            IndexBusy: another program has locked the index.
            IndexUnusable: the database is damaged or the disk fails.
        """

    async def fetch_one(self, sql: Sql, params: Params = NO_PARAMS) -> tuple[Any, ...] | None:
        """Run one SELECT and return its first row, or None."""

    async def fetch_kept(self, sql: Sql) -> list[tuple[Any, ...]]:
        """Run one SELECT without parameters.

        If nobody has committed since the last call, return the same rows again.
        """


class ReadConnection(Reads, Protocol):
    """A connection that cannot write."""

    async def guess_rows(self, sql: Sql, params: Params = NO_PARAMS) -> int | None:
        """Return how many rows the database expects of a SELECT, without running it, or None if it does not guess."""

    def snapshot(self) -> AbstractAsyncContextManager[None]:
        """Show one state of the index to all statements in the block, even if it is changed or replaced meanwhile."""


Lend = Callable[[], AbstractAsyncContextManager[ReadConnection]]
"""Lends a read connection of a pool."""


class SingleReads:
    """Runs each statement in a connection of a pool, which is lent for this statement alone."""

    __slots__ = ("_lend", "deadline")

    plans_by_values = True

    def __init__(self, lend: Lend) -> None:
        self._lend = lend
        self.deadline = inf

    async def fetch_all(self, sql: Sql, params: Params = NO_PARAMS) -> list[tuple[Any, ...]]:
        """Run one SELECT and return its rows."""
        async with self._lend() as connection:
            return await connection.fetch_all(sql, params)

    async def fetch_one(self, sql: Sql, params: Params = NO_PARAMS) -> tuple[Any, ...] | None:
        """Run one SELECT and return its first row, or None."""
        rows = await self.fetch_all(sql, params)
        return rows[0] if rows else None

    async def fetch_kept(self, sql: Sql) -> list[tuple[Any, ...]]:
        """Run one SELECT without parameters. The connection may have kept its rows."""
        async with self._lend() as connection:
            return await connection.fetch_kept(sql)


class WriteConnection(Protocol):
    """The connection inside a write transaction. Only `Index.write` commits."""

    def words_of(self, text: str) -> str:
        """Return the words of a text as the text index of this database stores them."""

    def reserve_keys(self, number: int) -> int:
        """Return the first of this number of successive new keys of conversations. No key is used twice."""

    def execute(self, statement: ClauseElement) -> list[tuple[Any, ...]]:
        """Run one statement without caching its compiled form, and return its rows, if any."""

    def fetch_all(self, sql: Sql, params: Params = NO_PARAMS) -> list[tuple[Any, ...]]:
        """Run one statement inside the transaction and return its rows."""

    def execute_many(self, sql: Sql, rows: Iterable[Params]) -> None:
        """Run one statement for each of `rows`.

        They may be sent together with the next statement whose result is needed, or with the commit, which then raises
        their error.
        """

    def count_changed(self, sql: Sql, rows: Iterable[Params]) -> int:
        """Run one statement for each of `rows` and return the total number of changed table rows."""

    def insert_many(self, table: Table, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Insert rows with values for these columns, several rows per statement."""


def require_time(deadline: float) -> None:
    """Check a deadline on the monotonic clock.

    Raises:
        QueryTooSlow: the deadline has passed.
    """
    if time.monotonic() > deadline:
        raise QueryTooSlow("the search takes too long; search for more words or rarer ones, or add filters")
