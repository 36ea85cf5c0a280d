"""Putting a whole database in the place of one that others have open: SQLite's backup API, in one step.

A rename over a database that somebody has open corrupts it; the backup is a transaction like any other.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from app.index import state
from app.index.sqlite.database import Index
from app.index.sqlite.db_errors import ERRORS, explained


async def copy_into(source: Index, target: Index) -> None:
    """Replace everything in `target`, whose other writers are shut out (`Index.locked`), by what `source` holds.

    The revision goes on from the higher of the two. The epoch is a new one, also where the source was copied before, by
    a rebuild that was killed then; so old tokens are known as foreign.
    """
    revision = await asyncio.to_thread(_find_revision, target.path)
    await source.write(lambda connection: state.begin_epoch(connection, revision))
    await asyncio.to_thread(_copy, source.path, target.path)


def _find_revision(path: Path) -> int:
    try:
        with closing(sqlite3.connect(path)) as database:
            [found] = database.execute("SELECT max(revision) FROM revision").fetchone()
    except ERRORS as error:
        raise explained(error) from error
    return found or 0


def _copy(source: Path, target: Path) -> None:
    try:
        with closing(sqlite3.connect(source)) as whole, closing(sqlite3.connect(target)) as database:
            whole.backup(database)
    except ERRORS as error:
        raise explained(error) from error
