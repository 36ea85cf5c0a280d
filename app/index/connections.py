"""The methods that the index's modules use of a connection, whichever database is behind it.

These are types alone: the connections of a database have these methods themselves, so nothing is called twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from sqlalchemy import ClauseElement, Table

from app.errors import QueryTooSlow
from app.index.dialect import Sql

Params = Mapping[str, object]
NO_PARAMS: Params = {}


class ReadConnection(Protocol):
    """A connection that cannot write."""

    deadline: float
    """A time of the monotonic clock at which a statement is stopped, and what is made of its rows."""

    async def fetch_all(self, sql: Sql, params: Params = NO_PARAMS) -> list[tuple[Any, ...]]:
        """Run one SELECT and return its rows.

        Raises:
            QueryTooSlow: it was not done in the time for which the connection was lent.
            IndexBusy: another program holds the index.
            IndexUnusable: the database is damaged or the disk fails.
        """

    async def fetch_one(self, sql: Sql, params: Params = NO_PARAMS) -> tuple[Any, ...] | None:
        """Run one SELECT and return its first row, or None."""

    async def fetch_kept(self, sql: Sql) -> list[tuple[Any, ...]]:
        """Run one SELECT without parameters, or return the rows that it had if nobody has committed since."""

    def snapshot(self) -> AbstractAsyncContextManager[None]:
        """Have all statements of the block see one state of the index, whatever is written or put in its place."""


class WriteConnection(Protocol):
    """The connection inside one write transaction. `Index.write` commits it; nothing else does."""

    def execute(self, statement: ClauseElement) -> list[tuple[Any, ...]]:
        """Run one statement that is not worth keeping compiled, and return its rows, if it has any."""

    def fetch_all(self, sql: Sql, params: Params = NO_PARAMS) -> list[tuple[Any, ...]]:
        """Run one statement inside the transaction and return its rows."""

    def execute_many(self, sql: Sql, rows: Iterable[Params]) -> int:
        """Run one statement for each of `rows` and return how many rows of tables it changed in all."""

    def insert_many(self, table: Table, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Insert rows that give these columns, many with a statement."""


def require_time(deadline: float) -> None:
    """Go on until a time of the monotonic clock.

    Raises:
        QueryTooSlow: it is over.
    """
    if time.monotonic() > deadline:
        raise QueryTooSlow("this takes too long to find; look for more words or rarer ones, or set filters")
