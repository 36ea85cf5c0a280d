"""The place of an index in a PostgreSQL server, and how its connections begin."""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

import psycopg
from psycopg import conninfo, sql

from ...errors import InvalidSettings
from .adapters import set_up

CONNECT_S = 5
"""The seconds within which a connection must be made."""


class Server(NamedTuple):
    """A database and the schema in it that has the tables. `url` may contain a password."""

    url: str
    schema: str

    @property
    def name(self) -> str:
        """The place without the password, for messages."""
        parts = conninfo.conninfo_to_dict(self.url)
        host, port, name = (parts.get(one) for one in ("host", "port", "dbname"))
        return f"{host or 'local'}{f':{port}' if port else ''}/{name or parts.get('user') or ''}/{self.schema}"

    def begin(self, *, reading: bool) -> sql.Composed:
        """Return what a new connection executes first."""
        begin = sql.SQL("SET search_path TO {}, public; SET TIME ZONE 'UTC'; SET jit = off").format(
            sql.Identifier(self.schema)
        )
        return begin + sql.SQL("; SET default_transaction_read_only = on") if reading else begin

    def connect(self, *, adapted: bool = True, patience_s: float | None = None) -> psycopg.Connection[tuple[Any, ...]]:
        """Open a connection that can write. Unless `adapted`, values are converted as usual.

        A server that does not acknowledge what was sent for `patience_s` seconds ends the connection.

        Raises:
            psycopg.Error: the server cannot be reached, or refuses.
        """
        options = _OPTIONS if patience_s is None else {**_OPTIONS, "tcp_user_timeout": int(patience_s * 1000)}
        connection = psycopg.connect(self.url, autocommit=True, **options)
        try:
            if adapted:
                set_up(connection.adapters)
            connection.execute(self.begin(reading=False))
        except BaseException:
            connection.close()
            raise
        return connection

    def shares_sessions(self, one: psycopg.Connection[tuple[Any, ...]]) -> bool:
        """Whether another connection has the session of this one, as behind a pooler that lends it for a transaction.

        Raises:
            psycopg.Error: the server cannot be reached, or refuses.
        """
        mark = secrets.token_hex(8)
        one.execute("SELECT set_config('convstore.session', %s, false)", (mark,))
        with self.connect() as two:
            found = two.execute("SELECT current_setting('convstore.session', true)").fetchone()
        return found is not None and found[0] == mark

    async def connect_to_read(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        """Open a connection that cannot write. Raises psycopg.Error."""
        connection = await psycopg.AsyncConnection.connect(self.url, autocommit=True, **_OPTIONS)
        try:
            set_up(connection.adapters)
            await connection.execute(self.begin(reading=True))
        except BaseException:
            await connection.close()
            raise
        return connection


_OPTIONS: dict[str, Any] = {
    "connect_timeout": CONNECT_S,
    "application_name": "convstore",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 20_000,
}


def parse_server(url: str, schema: str) -> Server:
    """Return the place that a URL names.

    Raises:
        InvalidSettings: the URL is not one of PostgreSQL.
    """
    try:
        conninfo.conninfo_to_dict(url)
    except psycopg.Error as error:
        raise InvalidSettings(f"CONVSTORE_INDEX_URL is no URL of a PostgreSQL database: {error}") from None
    return Server(url, schema)
