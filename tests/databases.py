"""The databases of a run's tests in PostgreSQL, each with an index as the migrations leave it.

After a test, its database gets its first rows again and is lent to another one: that takes 5 ms, a new one 45. If the
test changed the tables themselves, the database is dropped.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from app.index.postgres import migrations
from app.index.postgres.own_tables import own_metadata
from app.index.postgres.server import Server
from app.index.tables import metadata

SCHEMA = "convstore"
_TABLES = [table.name for each in (own_metadata, metadata) for table in reversed(each.sorted_tables)]
"""The tables, each before those that it refers to."""
_OTHERS = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_SHAPE = """
    WITH one AS (SELECT oid, xmin FROM pg_class WHERE relnamespace = CAST(%(schema)s AS regnamespace))
    SELECT array_agg(oid || ' ' || xmin ORDER BY oid) FROM one
    UNION ALL
    SELECT array_agg(attrelid || ' ' || attnum || ' ' || pg_attribute.xmin ORDER BY attrelid, attnum)
    FROM pg_attribute JOIN one ON one.oid = attrelid
"""
"""The tables with their columns and indexes, and the transactions that changed their definitions last."""
_RESTART = "SELECT setval(pg_get_serial_sequence('conversation', 'id'), 1, false)"

_Connection = psycopg.Connection[Any]


class _Database(NamedTuple):
    name: str
    url: str
    connection: _Connection

    @property
    def shape(self) -> list[Any]:
        return self.connection.execute(_SHAPE, {"schema": SCHEMA}).fetchall()


class Databases:
    """The databases of one process that runs tests."""

    def __init__(self, url: str) -> None:
        """`url` is that of a server, on which databases are made and dropped."""
        self._url = url
        self._admin: _Connection = psycopg.connect(url, autocommit=True)
        self._first = self._make("template1")
        migrations.upgrade(Server(self._first.url, SCHEMA), wait_s=60)
        self._shape = self._first.shape
        self._reset = sql.SQL("; ").join(self._list_statements())
        self._first.connection.close()  # a database with a connection is not copied
        self._free: list[_Database] = []

    def close(self) -> None:
        """Drop all databases."""
        for one in (*self._free, self._first):
            self._drop(one)
        self._admin.close()

    @contextmanager
    def lend(self) -> Iterator[str]:
        """Yield the URL of a database that nobody else uses meanwhile."""
        one = self._free.pop() if self._free else self._make(self._first.name)
        try:
            yield one.url
        finally:
            if self._can_reset(one):
                self._free.append(one)
            else:
                self._drop(one)

    def _can_reset(self, one: _Database) -> bool:
        """Give a database its first rows again, and return whether it is as it was then."""
        try:
            one.connection.execute(_OTHERS)
            if one.shape != self._shape:
                return False
            one.connection.execute(self._reset)
        except psycopg.Error:
            return False
        return True

    def _list_statements(self) -> Iterator[sql.Composable]:
        """Yield what gives a database its first rows again."""
        for name in _TABLES:
            yield sql.SQL("DELETE FROM {}").format(sql.Identifier(name))
        for name in _TABLES:
            for row in self._first.connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(name))):
                values = sql.SQL(", ").join(map(sql.Literal, row))
                yield sql.SQL("INSERT INTO {} VALUES ({})").format(sql.Identifier(name), values)
        yield sql.SQL(_RESTART)

    def _make(self, template: str) -> _Database:
        name = f"test_{secrets.token_hex(8)}"
        made = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        self._admin.execute(made)
        url = urlsplit(self._url)._replace(path=f"/{name}").geturl()
        return _Database(name, url, psycopg.connect(url, autocommit=True, options=f"-csearch_path={SCHEMA}"))

    def _drop(self, one: _Database) -> None:
        one.connection.close()
        self._admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(one.name)))
