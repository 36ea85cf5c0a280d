"""What an error of the database means: the content of the file is wrong, or the system refused, which may pass."""

from __future__ import annotations

import sqlite3
from enum import Enum, auto
from pathlib import Path

from app.errors import IndexBusy, IndexDamaged, IndexUnusable, MigrationFailed, OutputRefused, StoreError

ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What the driver raises. It raises UnicodeDecodeError if a damaged database puts bytes into an error message."""


class During(Enum):
    """The operation on an index during which an error came."""

    USE = auto()
    OPENING = auto()
    MIGRATION = auto()
    BACKUP = auto()
    CHECK = auto()


class _Kind(Enum):
    """What an error says. SQLite finds a file corrupt; a mismatch is content that this program never wrote."""

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
    "the index {path} is damaged ({error}); run `convstore index rebuild`, or just start a server or list: "
    "it is kept under another name and made again from the files"
)
_FAILED = "the index {path} could not be changed ({error}) and stands as before: "

_MEANINGS: dict[tuple[During, _Kind], tuple[type[StoreError], str]] = {
    (During.USE, _Kind.BUSY): (IndexBusy, "another program has been holding the index for too long; try again"),
    (During.USE, _Kind.CORRUPT): (IndexDamaged, _DAMAGED_IN_USE),
    (During.USE, _Kind.MISMATCH): (IndexDamaged, _DAMAGED_IN_USE),
    (During.USE, _Kind.OTHER): (
        IndexUnusable,
        (
            "the index cannot be used ({error}); free space if the disk is full, "
            "else stop the server and run `convstore index rebuild`: the index is made again from the files"
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
            "the index {path} cannot be opened ({error}), for SQLite keeps a write-ahead log beside it; make its "
            "directory writable, or set CONVSTORE_INDEX_URL=sqlite:////a/writable/path/index.db"
        ),
    ),
    (During.OPENING, _Kind.OTHER): (
        IndexUnusable,
        "the index {path} cannot be opened ({error}); check its permissions, its disk and free space",
    ),
    (During.MIGRATION, _Kind.BUSY): (
        MigrationFailed,
        f"{_FAILED}another program holds the index; end it and run it again",
    ),
    (During.MIGRATION, _Kind.CORRUPT): (IndexDamaged, _DAMAGED),
    (During.MIGRATION, _Kind.READONLY): (
        MigrationFailed,
        f"{_FAILED}make the file writable, or set CONVSTORE_INDEX_URL=sqlite:////a/writable/path/index.db",
    ),
    (During.MIGRATION, _Kind.FULL): (
        MigrationFailed,
        f"{_FAILED}free some space (a migration may need as much as the index is large) and run it again",
    ),
    (During.MIGRATION, _Kind.OTHER): (
        MigrationFailed,
        f"{_FAILED}read the message, mend the cause and run it again",
    ),
    (During.BACKUP, _Kind.OTHER): (
        OutputRefused,
        (
            "the index {path} could not be copied ({error}); free space if the disk is full. "
            "`convstore index verify` says whether the index itself is sound"
        ),
    ),
    (During.CHECK, _Kind.OTHER): (IndexUnusable, "the words in the index {path} could not be checked ({error})"),
}
"""What is raised instead of an error. A kind that is not listed means the same as OTHER."""


def explain(during: During, error: BaseException, path: Path | None = None) -> StoreError:
    """Return the error that explains a database error to a user. `path` is the index's."""
    meaning = _MEANINGS.get((during, _kind(error))) or _MEANINGS[during, _Kind.OTHER]
    return meaning[0](meaning[1].format(path=path, error=error))


def damaged_index(path: Path, reason: str) -> IndexDamaged:
    """Return the error for an index that cannot be opened because its content is wrong."""
    return IndexDamaged(_DAMAGED.format(path=path, error=reason))


def is_damage(error: BaseException) -> bool:
    """Whether a database error says that the file's content is wrong, and not that the system refused."""
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
