"""Classifies database errors: either the file's content is damaged, or the system refused and a retry may succeed."""

from __future__ import annotations

import sqlite3
from enum import Enum, auto
from pathlib import Path

from ...errors import IndexBusy, IndexDamaged, IndexUnusable, MigrationFailed, OutputRefused, StoreError

ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""The driver's exceptions. UnicodeDecodeError occurs if a damaged database puts bytes into an error message."""


class During(Enum):
    """The operation during which an error occurred."""

    USE = auto()
    OPENING = auto()
    MIGRATION = auto()
    BACKUP = auto()
    CHECK = auto()


class _Kind(Enum):
    """The kind of an error. CORRUPT: SQLite found the file corrupt. MISMATCH: convstore never wrote such content."""

    BUSY = auto()
    CORRUPT = auto()
    MISMATCH = auto()
    READONLY = auto()
    FULL = auto()
    OTHER = auto()


_CORRUPT_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_MISMATCH_TEXTS = ("no such table", "no such column", "Could not decode to UTF-8")

_DAMAGED_IN_USE = "the index is damaged ({error}); a server builds it again from the files, try again soon"
_DAMAGED = (
    "the index {path} is damaged ({error}); run `convstore index rebuild`, or start a server or list conversations: "
    "the damaged file is kept under another name, and the index is built again from the files"
)
_FAILED = "the index {path} could not be changed ({error}) and is as before: "

_MEANINGS: dict[tuple[During, _Kind], tuple[type[StoreError], str]] = {
    (During.USE, _Kind.BUSY): (IndexBusy, "another program has been holding the index for too long; try again"),
    (During.USE, _Kind.CORRUPT): (IndexDamaged, _DAMAGED_IN_USE),
    (During.USE, _Kind.MISMATCH): (IndexDamaged, _DAMAGED_IN_USE),
    (During.USE, _Kind.OTHER): (
        IndexUnusable,
        (
            "the index cannot be used ({error}); free space if the disk is full, "
            "else stop the server and run `convstore index rebuild`, which builds it again from the files"
        ),
    ),
    (During.OPENING, _Kind.BUSY): (
        IndexBusy,
        "another program has been holding the index {path} for too long; try again",
    ),
    (During.OPENING, _Kind.CORRUPT): (IndexDamaged, _DAMAGED),
    (During.OPENING, _Kind.MISMATCH): (IndexDamaged, _DAMAGED),
    (During.OPENING, _Kind.READONLY): (
        IndexUnusable,
        (
            "the index {path} cannot be opened ({error}), because SQLite needs a write-ahead log beside it; make its "
            "directory writable, or set CONVSTORE_INDEX_URL=sqlite:////a/writable/path/index.db"
        ),
    ),
    (During.OPENING, _Kind.OTHER): (
        IndexUnusable,
        "the index {path} cannot be opened ({error}); check its permissions, its disk and free space",
    ),
    (During.MIGRATION, _Kind.BUSY): (
        MigrationFailed,
        f"{_FAILED}another program uses the index; end that program and run the migration again",
    ),
    (During.MIGRATION, _Kind.CORRUPT): (IndexDamaged, _DAMAGED),
    (During.MIGRATION, _Kind.READONLY): (
        MigrationFailed,
        f"{_FAILED}make the file writable, or set CONVSTORE_INDEX_URL=sqlite:////a/writable/path/index.db",
    ),
    (During.MIGRATION, _Kind.FULL): (
        MigrationFailed,
        f"{_FAILED}free some space (a migration may need as much as the size of the index) and run the migration again",
    ),
    (During.MIGRATION, _Kind.OTHER): (
        MigrationFailed,
        f"{_FAILED}correct the cause and run the migration again",
    ),
    (During.BACKUP, _Kind.OTHER): (
        OutputRefused,
        (
            "the index {path} could not be copied ({error}); free space if the disk is full. "
            "`convstore index verify` says whether the index itself is sound"
        ),
    ),
    (During.CHECK, _Kind.OTHER): (
        IndexUnusable,
        "the full-text index in {path} could not be checked ({error}); check the disk and its free space",
    ),
}
"""The error to raise for each database error. A kind that is not listed is handled like OTHER."""


def explain(during: During, error: BaseException, path: Path | None = None) -> StoreError:
    """Return the error for users that explains a database error. `path` is the index's path."""
    meaning = _MEANINGS.get((during, _kind(error))) or _MEANINGS[during, _Kind.OTHER]
    return meaning[0](meaning[1].format(path=path, error=error))


def damaged_index(path: Path, reason: str) -> IndexDamaged:
    """Return the error for an index that cannot be opened because its content is damaged."""
    return IndexDamaged(_DAMAGED.format(path=path, error=reason))


def is_damage(error: BaseException) -> bool:
    """Whether a database error means damaged content, as opposed to a refusal by the system."""
    return _kind(error) in (_Kind.CORRUPT, _Kind.MISMATCH)


def _kind(error: BaseException) -> _Kind:
    code = getattr(error, "sqlite_errorcode", 0) or 0
    said = str(error)
    if code & 0xFF in _CORRUPT_CODES:
        return _Kind.CORRUPT
    if "locked" in said:
        return _Kind.BUSY
    if (
        code == sqlite3.SQLITE_READONLY_DBMOVED
        or any(text in said for text in _MISMATCH_TEXTS)
        or isinstance(error, sqlite3.IntegrityError | UnicodeDecodeError)
    ):
        return _Kind.MISMATCH
    if "readonly" in said:
        return _Kind.READONLY
    return _Kind.FULL if "full" in said or "disk I/O" in said else _Kind.OTHER
