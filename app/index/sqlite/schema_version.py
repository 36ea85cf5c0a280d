"""The schema revision of an index, and the one that this program needs. Does not import Alembic, which takes 0.2 s."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from app.index.sqlite.db_errors import ERRORS, During, explain
from app.index.sqlite.index_file import unusable_directory

HEAD = "0010"
"""The newest migration; a test in `tests/migrations` checks this."""


def read_revision(path: Path) -> str | None:
    """Return the index's revision, or None if there is no index or it has no schema yet.

    Raises:
        IndexBusy: another program has locked the index.
        IndexUnusable: the file is not a database.
    """
    try:
        if not path.exists():
            return None
    except OSError as error:
        raise unusable_directory(path, error) from error
    try:
        with closing(sqlite3.connect(path)) as database:
            row = database.execute("SELECT version_num FROM alembic_version").fetchone()
    except ERRORS as error:
        if "no such table" in str(error):
            return None
        raise explain(During.OPENING, error, path) from error
    return row[0] if row else None
