"""Choosing the database of an index by the settings, and what commands ask of one in PostgreSQL.

Only this module imports `app.index.postgres`, and only inside functions, because psycopg is an extra.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import InvalidSettings
from ..settings import Settings
from .engine import Index, Note, ignore_note
from .sqlite import database

if TYPE_CHECKING:
    from .postgres.server import Server


def make_index(settings: Settings, *, readers: int | None = None, note: Note = ignore_note) -> Index:
    """Return the index of a store, which is not open yet. `note` is called with durations of work.

    `readers` is the number of its read connections; None takes the one in the settings.

    Raises:
        InvalidSettings: CONVSTORE_INDEX_URL is not valid, or psycopg is not installed.
    """
    given: dict[str, Any] = {"busy_timeout_s": settings.busy_timeout_s, "note": note}
    if settings.index_server is None:
        return database.Index(settings.index_path, readers=readers or settings.readers, **given)
    with _psycopg():
        from .postgres import database as postgres  # noqa: PLC0415
    server = _server(settings)
    return postgres.Index(server, settings.root, readers=readers or settings.index_pool, **given)


class Schema(NamedTuple):
    """The schema of an index in PostgreSQL. `revision` is None if there is none; `history` is newest first.

    `faults` are the differences from this program's schema. `hosts` are those that live. `clock_ahead_s` is how far the
    server's clock is ahead of this machine's. `shares_sessions` is true behind a pooler with which convstore cannot
    work.
    """

    place: str
    version: str
    revision: str | None
    head: str
    history: list[tuple[str, str]]
    faults: list[str]
    has_trigrams: bool
    hosts: list[str]
    clock_ahead_s: float
    shares_sessions: bool


def examine_schema(settings: Settings) -> Schema:
    """Return the schema of an index in PostgreSQL. Creates nothing.

    Raises:
        InvalidSettings: psycopg is not installed, or the URL is not valid.
        IndexUnusable: the server does not answer.
    """
    server = _server(settings)
    from .postgres import migrations, own_host  # noqa: PLC0415
    from .postgres.db_errors import ERRORS, explain  # noqa: PLC0415

    try:
        with server.connect() as connection:
            shares_sessions = server.shares_sessions(connection)
        clock_ahead_s = own_host.measure_clock(server)
    except ERRORS as error:
        raise explain(error, server.name) from error
    revision = migrations.read_revision(server)
    is_current = revision == migrations.HEAD
    return Schema(
        place=server.name,
        version=migrations.read_version(server),
        revision=revision,
        head=migrations.HEAD,
        history=migrations.history(),
        faults=migrations.drift(server),
        has_trigrams=is_current and migrations.has_trigrams(server),
        hosts=own_host.list_living(server) if is_current else [],
        clock_ahead_s=clock_ahead_s,
        shares_sessions=shares_sessions,
    )


def upgrade_schema(settings: Settings) -> None:
    """Create the schema of an index in PostgreSQL, or migrate it to the newest revision.

    Raises:
        SchemaTooNew: a newer convstore made the index.
        IndexBusy, IndexUnusable, MigrationFailed: see `app.index.postgres.migrations.upgrade`.
    """
    server = _server(settings)
    from .postgres import migrations  # noqa: PLC0415

    migrations.upgrade(server, wait_s=settings.busy_timeout_s)


def _server(settings: Settings) -> Server:
    with _psycopg():
        from .postgres.server import parse_server  # noqa: PLC0415
    return parse_server(settings.index_server or "", settings.index_schema)


@contextmanager
def _psycopg() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise InvalidSettings(
            f"an index in PostgreSQL needs psycopg ({error}); install it with `pip install 'convstore[postgres]'`"
        ) from error
