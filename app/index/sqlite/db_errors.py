"""What a database error says about the file: its content is wrong, or the system refused, which may pass."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from app.errors import IndexBusy, IndexDamaged, IndexUnusable, StoreError

ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What the driver raises for a database: the latter where a damaged one has no text in the message that it makes."""

_DAMAGE_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_DAMAGE_TEXTS = ("no such table", "no such column", "Could not decode to UTF-8")


def is_damage(error: BaseException) -> bool:
    """Whether a database error says that the file's content is wrong, and not that the system refused."""
    code = getattr(error, "sqlite_errorcode", 0) or 0
    moved = code == sqlite3.SQLITE_READONLY_DBMOVED
    told = any(text in str(error) for text in _DAMAGE_TEXTS)
    return (
        code & 0xFF in _DAMAGE_CODES or moved or told or isinstance(error, sqlite3.IntegrityError | UnicodeDecodeError)
    )


def damaged_index(path: Path, error: BaseException) -> IndexDamaged:
    """Return the error for an index that cannot be opened because its content is wrong."""
    return IndexDamaged(
        f"the index {path} is damaged ({error}); run `convstore index rebuild`, or just start a server or list: "
        "it is kept under another name and made again from the files"
    )


def explain(error: BaseException) -> StoreError:
    """Return what a database error means to a user."""
    if "locked" in str(error):
        return IndexBusy("another program has been holding the index for too long; try again")
    if is_damage(error):
        return IndexDamaged(f"the index is damaged ({error}); a server builds it again from the files, try again soon")
    return IndexUnusable(
        f"the index cannot be used ({error}); free space if the disk is full, "
        "else stop the server and run `convstore index rebuild`: the index is made again from the files"
    )


def explain_opening(path: Path, error: Exception) -> IndexUnusable:
    """Return what it means to a user that an index cannot be opened."""
    said = str(error)
    if is_damage(error):
        return damaged_index(path, error)
    if "readonly" in said:
        return IndexUnusable(
            f"the index {path} cannot be opened ({said}), for SQLite keeps a write-ahead log beside it; make its "
            "directory writable, or set CONVSTORE_INDEX_URL=sqlite:////a/writable/path/index.db"
        )
    return IndexUnusable(f"the index {path} cannot be opened ({said}); check its permissions, its disk and free space")
