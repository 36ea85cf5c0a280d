"""The write connection of a process to PostgreSQL.

Every transaction begins by raising the number in the table `turn`, which locks its row until the commit. So one
transaction writes at a time in the whole cluster, nothing comes between its statements, and revisions rise in the order
of the commits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import sql as pg
from sqlalchemy import ClauseElement, Table

from ..connections import NO_PARAMS, Params
from ..dialect import Sql, compiled
from .server import Server
from .statements import translate
from .text_index import as_tsvector

_RESERVE = Sql(
    "SELECT setval(pg_get_serial_sequence('conversation', 'id'), nextval(pg_get_serial_sequence('conversation', 'id'))"
    " + :more)",
    {},
)


_LEVELS = {True: "SET LOCAL synchronous_commit = on", False: "SET LOCAL synchronous_commit = off"}
_WAITING_MAX = 2000
"""The number of statements that wait for the next one at most."""
_SILENT_S = 15.0
"""The seconds for which a process may say nothing inside its transaction, before the server ends it. Meanwhile no other
process can write, so a host that was stopped or cut off there would hold up all others."""
_TAKE_TURN = "UPDATE turn SET number = number + 1; SET LOCAL lock_timeout = 0"


class PostgresWriteConnection:
    """The connection inside one write transaction.

    Statements whose result nobody needs wait for the next one, and are sent with it in one pipeline.
    """

    __slots__ = ("_driver", "_number", "_waiting", "words_of")

    def __init__(self, driver: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._driver = driver
        self._waiting: list[tuple[pg.Composed | str, Sequence[Any]]] = []
        self._number = 0
        self.words_of = as_tsvector

    def reserve_keys(self, number: int) -> int:
        """Return the first of this number of successive new keys of conversations."""
        [[last]] = self.fetch_all(_RESERVE, {"more": number - 1})
        return int(last) - number + 1

    def execute(self, statement: ClauseElement) -> list[tuple[Any, ...]]:
        """Run one statement without caching its compiled form, and return its rows, if any."""
        return self.fetch_all(compiled(statement))

    def fetch_all(self, sql: Sql, params: Params = NO_PARAMS) -> list[tuple[Any, ...]]:
        """Run one statement inside the transaction and return its rows."""
        translated = translate(sql)
        cursor = self._run(translated.text, [translated.bind(params)])
        return cursor.fetchall() if cursor.description is not None else []

    def execute_many(self, sql: Sql, rows: Iterable[Params]) -> None:
        """Run one statement for each of `rows` with the next statement whose result is needed."""
        translated = translate(sql)
        self._wait_with(translated.text, [translated.bind(row) for row in rows])

    def count_changed(self, sql: Sql, rows: Iterable[Params]) -> int:
        """Run one statement for each of `rows` and return the total number of changed table rows."""
        translated = translate(sql)
        parameters = [translated.bind(row) for row in rows]
        return self._run(translated.text, parameters).rowcount if parameters else 0

    def commit(self) -> None:
        """Run what waits, and commit. Raises psycopg.Error if nothing was committed."""
        if self._run("COMMIT", [{}]).statusmessage != "COMMIT":  # after an error that somebody ignored, it is ROLLBACK
            raise psycopg.errors.InFailedSqlTransaction("a statement of the transaction failed")

    def _wait_with(self, statement: pg.Composed | str, parameters: Sequence[Any]) -> None:
        if parameters:
            self._waiting.append((statement, parameters))
            self._number += len(parameters)
        if self._number >= _WAITING_MAX:
            self._run("", [])

    def _run(self, statement: str, parameters: Sequence[Any]) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run what waits and then this statement, and return its cursor."""
        if not self._waiting and len(parameters) == 1:
            return self._driver.execute(statement, parameters[0])
        waiting, self._waiting, self._number = self._waiting, [], 0
        with self._driver.pipeline():
            for text, each in waiting:
                _execute(self._driver.cursor(), text, each)
            cursor = self._driver.cursor()
            _execute(cursor, statement, parameters)
        return cursor

    def insert_many(self, table: Table, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Insert rows with values for these columns."""
        statement = pg.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            pg.Identifier(table.name),
            pg.SQL(", ").join(map(pg.Identifier, names)),
            pg.SQL(", ").join(pg.Placeholder() * len(names)),
        )
        self._wait_with(statement, rows)


def _execute(cursor: psycopg.Cursor[tuple[Any, ...]], statement: pg.Composed | str, parameters: Sequence[Any]) -> None:
    if len(parameters) == 1:
        cursor.execute(statement, parameters[0])
    elif parameters:
        cursor.executemany(statement, parameters)


class Writer:
    """The write connection of a process. Only one transaction may run at a time; the caller ensures this."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connected: psycopg.Connection[tuple[Any, ...]] | None = None
        self._closed = False
        self.losses = 0
        """How often the connection was lost and made again."""

    @contextmanager
    def transaction(self, *, patience_s: float, durable: bool) -> Iterator[PostgresWriteConnection]:
        """Run the block in a transaction in the calling thread. If the block raises, it is rolled back.

        Waits at most `patience_s` seconds for the turn of another process. Without `durable`, a crash of the server may
        undo the commit, which the files repair.
        """
        driver = self._begin(patience_s, durable=durable)
        connection = PostgresWriteConnection(driver)
        try:
            yield connection
            connection.commit()
        except BaseException:
            with suppress(psycopg.Error):
                driver.execute("ROLLBACK")
            raise

    def _begin(self, patience_s: float, *, durable: bool) -> psycopg.Connection[tuple[Any, ...]]:
        begin = f"BEGIN; SET LOCAL lock_timeout = {max(int(patience_s * 1000), 1)}; {_LEVELS[durable]}; {_TAKE_TURN}"
        if self._connected is not None and not self._connected.closed:
            try:
                self._connected.execute(begin)
            except psycopg.OperationalError:
                if not self._connected.closed:
                    self._connected.execute("ROLLBACK")
                    raise
            except psycopg.Error:
                self._connected.execute("ROLLBACK")
                raise
            else:
                return self._connected
        was_connected = self._connected is not None
        self._connected = self._connect()
        self._connected.execute(f"SET idle_in_transaction_session_timeout = {int(_SILENT_S * 1000)}")
        self.losses += was_connected
        try:
            self._connected.execute(begin)
        except psycopg.Error:
            with suppress(psycopg.Error):
                self._connected.execute("ROLLBACK")
            raise
        return self._connected

    def vacuum(self, tables: Iterable[str]) -> None:
        """Remove the remains of deleted rows of these tables."""
        if self._connected is None or self._connected.closed:
            self._connected = self._connect()
        for table in tables:
            self._connected.execute(pg.SQL("VACUUM {}").format(pg.Identifier(table)))

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._closed:  # meanwhile, as a thread goes on after its task was cancelled
            raise psycopg.OperationalError("the index is closed")
        return self._server.connect()

    def open(self) -> None:
        """Let transactions begin again after `close`."""
        self._closed = False

    def close(self) -> None:
        """Close the connection. No transaction begins any more."""
        self._closed = True
        if self._connected is not None:
            self._connected.close()
