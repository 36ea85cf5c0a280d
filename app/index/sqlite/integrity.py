"""Checks of a database: SQLite's own check, foreign keys, the text indexes, and the pragmas."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...model.text.tokenizer import split
from ..connections import ReadConnection, WriteConnection
from ..dialect import Sql
from .db_errors import ERRORS, During, explain, is_damage

LOST_BY_NOBODY = ("conversation", "conversation_info", "conversation_tag", "event", "message")
"""The tables from which no migration may lose a row."""

_NO_COUNTS: Mapping[str, int] = {}


def count_rows(database: sqlite3.Connection) -> dict[str, int]:
    """Return the number of rows of each table in `LOST_BY_NOBODY` that exists."""
    there = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    counted = {}
    for name in LOST_BY_NOBODY:
        if name in there:
            [counted[name]] = database.execute(f"SELECT count(*) FROM {name}").fetchone()  # noqa: S608
    return counted


def find_faults(
    database: sqlite3.Connection, before: Mapping[str, int] = _NO_COUNTS, *, whole: bool = False
) -> list[str]:
    """Return the faults of a database; an empty list if it is sound.

    `before` is the result of `count_rows` before a change. Without `whole`, database indexes are not compared with
    tables.
    """
    faults = _not_ok(database.execute(_check_text(whole=whole, most=5)))
    faults += [
        f"a row of {row[0]} belongs to a missing row of {row[2]}"
        for row in database.execute("PRAGMA foreign_key_check").fetchmany(5)
    ]
    after = count_rows(database)
    faults += [
        f"{name} had {number:,} rows and has {after[name]:,}"
        for name, number in before.items()
        if name in after and after[name] != number
    ]
    return faults


async def list_damaged(index: ReadConnection, *, whole: bool = True) -> list[str]:
    """Return the faults that SQLite's own check finds; an empty list if the database is sound.

    `whole`: see `find_faults`.
    """
    return _not_ok(await index.fetch_all(Sql(_check_text(whole=whole, most=20), {})))


def _check_text(*, whole: bool, most: int) -> str:
    return f"PRAGMA {'integrity_check' if whole else 'quick_check'}({most})"


def _not_ok(rows: Iterable[tuple[Any, ...]]) -> list[str]:
    return [str(row[0]) for row in rows if row[0] != "ok"]


def copy_database(index: Path, copy: Path) -> None:
    """Copy an index at one moment, even while it is in use. Raises the driver's `ERRORS`."""
    with closing(sqlite3.connect(index, isolation_level=None)) as database:
        database.execute("PRAGMA busy_timeout=5000")
        database.execute("VACUUM INTO ?", (str(copy),))


def find_derivation(database: sqlite3.Connection) -> str | None:
    """Return `sync_state.derived_by`, the version of the fold that made the rows."""
    if not _has_state(database):
        return None
    [found] = database.execute("SELECT derived_by FROM sync_state").fetchone() or (None,)
    return None if found is None else str(found)


def invalidate_rows(database: sqlite3.Connection) -> None:
    """Make the next sync read all files again."""
    if _has_state(database):
        database.execute("UPDATE sync_state SET derived_by = NULL")


def _has_state(database: sqlite3.Connection) -> bool:
    return database.execute("SELECT 1 FROM sqlite_master WHERE name = 'sync_state'").fetchone() is not None


WAL_RESET_FIXED = (3, 51, 3)
"""The first SQLite in which two checkpoints at the same moment cannot lose a commit (the WAL-reset bug)."""

_PRAGMAS = ("journal_mode", "query_only", "mmap_size", "wal_autocheckpoint", "busy_timeout")
EXPECTED = {"journal_mode": "wal", "query_only": 1, "mmap_size": 0, "wal_autocheckpoint": 0, "busy_timeout": 5000}
"""The pragmas of a read connection; see `app.index.sqlite.database` for why."""


def sqlite_version() -> tuple[int, int, int]:
    """Return the version of the SQLite library of this Python."""
    return sqlite3.sqlite_version_info[:3]


async def read_pragmas(index: ReadConnection) -> dict[str, object]:
    """Return the values of the pragmas in `EXPECTED` on a read connection."""
    found = {}
    for name in _PRAGMAS:
        row = await index.fetch_one(Sql(f"PRAGMA {name}", {}))
        found[name] = row[0] if row else None
    return found


_FULL_TEXT = {"words": "message_fts", "title parts": "title_fts"}
"""The FTS5 text indexes: the name and table of each."""


def list_unsound_text_indexes(index: Path) -> list[str]:
    """Return which text indexes differ from their sources: "words" from the messages, "title parts" from the titles.

    FTS5's check takes long and needs a write lock, so it runs on a copy.

    Raises:
        IndexUnusable: there is no space for a copy, or the index cannot be read.
    """
    with TemporaryDirectory(dir=index.parent, prefix=".verify-") as directory:
        copy = Path(directory) / "index.db"
        try:
            copy_database(index, copy)
            with closing(sqlite3.connect(copy, isolation_level=None)) as database:
                database.create_function("split", 1, split, deterministic=True)
                return [name for name, table in _FULL_TEXT.items() if not _is_sound(database, table)]
        except ERRORS as error:
            raise explain(During.CHECK, error, index) from error


def _is_sound(database: sqlite3.Connection, table: str) -> bool:
    try:
        database.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)")  # noqa: S608
    except sqlite3.DatabaseError as error:
        if is_damage(error) and "malformed" in str(error):
            return False
        raise
    return True


def rebuild_text_index(index: WriteConnection, name: str) -> None:
    """Rebuild the text index of "words" from the messages, or that of "title parts" from the titles."""
    table = _FULL_TEXT[name]
    index.execute_many(Sql(f"INSERT INTO {table} ({table}) VALUES ('rebuild')", {}), [{}])  # noqa: S608
