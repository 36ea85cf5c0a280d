"""The schema of an index in PostgreSQL and its migrations. They have the same revisions as those of SQLite.

Alembic is imported inside functions, because that takes 0.2 s and few starts migrate.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors
from psycopg import sql as pg
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from ...errors import IndexBusy, SchemaTooNew
from ..tables import metadata
from .db_errors import ERRORS, explain, explain_migration
from .own_tables import OTHERWISE_INDEXED, own_metadata
from .server import Server

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

HEAD = "0013"
"""The newest migration; a test checks that it is also the newest one of SQLite."""

VERSION_MIN = 140_000
"""The oldest PostgreSQL with which convstore works, as its server says its version."""

_PACKAGE = Path(__file__).resolve().parents[2]
_LOCK = 0x636F6E7673746F72
"""The advisory lock of migrations: "convstor" as a number."""


def read_revision(server: Server) -> str | None:
    """Return the index's revision, or None if it has no schema yet.

    Raises:
        IndexUnusable: the server does not answer.
    """
    try:
        with server.connect() as connection:
            return find_revision(connection)
    except ERRORS as error:
        raise explain(error, server.name) from error


def find_revision(connection: psycopg.Connection[tuple[Any, ...]]) -> str | None:
    """Return the index's revision, or None if it has no schema yet. Raises psycopg.Error."""
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except (errors.UndefinedTable, errors.InvalidSchemaName):
        return None
    return None if row is None else str(row[0])


def upgrade(server: Server, *, wait_s: float) -> None:
    """Create the schema, or migrate it to the newest revision. One process at a time does it.

    Raises:
        SchemaTooNew: the index is newer than this program.
        IndexBusy: another process was migrating for more than `wait_s` seconds.
        IndexUnusable: the server does not answer.
        MigrationFailed: a step failed; the index is as it was.
    """
    from alembic import command

    revision = read_revision(server)
    if revision is not None and revision not in {one.revision for one in _scripts().walk_revisions()}:
        raise SchemaTooNew(
            f"the index {server.name} has schema {revision}, which this convstore does not know (its newest is "
            f"{HEAD}): a newer convstore made it. Upgrade convstore, or use another schema: CONVSTORE_INDEX_SCHEMA"
        )
    with _connected(server) as connection:
        limit = pg.SQL("SET lock_timeout = {}").format(int(wait_s * 1000) or 1)
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)  # noqa: S101 - what create_engine was told to make
        try:
            driver.execute(limit)
            driver.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        except errors.LockNotAvailable as error:
            raise IndexBusy(f"another program is migrating the index {server.name}; try again later") from error
        driver.execute(pg.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(pg.Identifier(server.schema)))
        driver.commit()
        command.upgrade(_configure(connection), "head")


def drift(server: Server) -> list[str]:
    """Return the differences between the tables and this program's schema."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    now = read_revision(server)
    if now != HEAD:
        return [f"the schema is at {now or 'nothing'}, this program needs {HEAD}: run `convstore db upgrade`"]
    with _connected(server) as connection:
        both: Any = [metadata, own_metadata]
        options: dict[str, Any] = {"compare_type": True, "include_name": include_name, "include_object": include_object}
        context = MigrationContext.configure(connection, opts=options)
        found = compare_metadata(context, both)
        return [str(one) for one in found if not (isinstance(one, list) and one[0][0] == "modify_comment")]


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    """Whether Alembic compares an object with this name."""
    return not (kind == "index" and name is not None and (name in OTHERWISE_INDEXED or name.endswith("_trigrams")))


def include_object(_object: object, name: str | None, kind: str, reflected: bool, _other: object) -> bool:
    """Whether Alembic compares an object of the tables' definitions."""
    return reflected or include_name(name, kind, None)


def read_version(server: Server) -> str:
    """Return the version of the server.

    Raises:
        IndexUnusable: the server does not answer.
    """
    try:
        with server.connect() as connection:
            row = connection.execute("SHOW server_version").fetchone()
    except ERRORS as error:
        raise explain(error, server.name) from error
    return "" if row is None else str(row[0])


def history() -> list[tuple[str, str]]:
    """Return all migrations (revision, summary), newest first."""
    return [(one.revision, (one.doc or "").splitlines()[0]) for one in _scripts().walk_revisions()]


def has_trigrams(server: Server) -> bool:
    """Whether parts of titles are found in a database index, which needs the extension pg_trgm."""
    try:
        with server.connect() as connection:
            found = connection.execute("SELECT to_regclass('ix_conversation_title_trigrams')").fetchone()
    except ERRORS as error:
        raise explain(error, server.name) from error
    return found is not None and found[0] is not None


def _configure(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", _scripts().dir.replace("%", "%%"))
    config.attributes.update(connection=connection, package=__package__.partition(".")[0])
    return config


def _scripts() -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    inside = _PACKAGE / "migrations"
    return ScriptDirectory(str((inside if inside.is_dir() else _PACKAGE.parent / "migrations") / "postgres"))


@contextmanager
def _connected(server: Server) -> Iterator[Connection]:
    def connect() -> object:
        driver = server.connect(adapted=False)
        driver.autocommit = False
        return driver

    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    except (DBAPIError, *ERRORS) as error:
        raise explain_migration(getattr(error, "orig", None) or error, server.name) from error
    finally:
        engine.dispose()
