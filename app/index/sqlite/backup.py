"""Backing up an index, and replacing the contents of an index that is in use.

A backup is made with VACUUM INTO, checked, and then linked to its target. A rebuilt index is copied into the existing
file through SQLite's backup API in one transaction, because a rename over an open database corrupts it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from ...errors import IndexUnusable, OutputRefused
from ...exclusive_rename import rename_exclusively
from .. import state
from .database import Index
from .db_errors import ERRORS, During, explain
from .integrity import copy_database, find_faults
from .migrations import read_revision


class Backup(NamedTuple):
    """A backup: its path, schema revision, number of conversations, and size."""

    path: Path
    revision: str | None
    conversations: int
    size_bytes: int


def back_up(index: Path, target: Path) -> Backup:
    """Make a durable copy of an index at one moment, even while it is in use.

    The copy gets a new epoch. If the copy replaces the index later, it must refuse change tokens issued after the
    backup.

    Raises:
        OutputRefused: `target` exists, or cannot be written.
        IndexUnusable: there is no index, or the copy is not sound.
    """
    revision = read_revision(index)
    if revision is None:
        raise IndexUnusable(f"there is no index {index} to back up; `convstore index sync` makes one")
    if os.path.lexists(target):
        raise OutputRefused(f"{target} exists; name another file")
    try:
        with TemporaryDirectory(dir=target.parent, prefix=".index-backup.") as directory:
            copy = Path(directory) / "index.db"
            _copy(index, copy)
            conversations = _require_sound(index, copy, revision)
            copy.chmod(0o600)
            _sync(copy)
            rename_exclusively(copy, target)
        _sync(target.parent)
    except FileExistsError as error:
        raise OutputRefused(f"{target} exists; name another file") from error
    except OSError as error:
        raise OutputRefused(
            f"{target} cannot be written ({error.strerror}); check that its directory exists, is writable and not full"
        ) from error
    return Backup(target, revision, conversations, target.stat().st_size)


def _copy(index: Path, copy: Path) -> None:
    try:
        copy_database(index, copy)
        with closing(sqlite3.connect(copy, isolation_level=None)) as database:
            database.execute("UPDATE revision SET epoch = ?", (secrets.token_hex(8),))
    except ERRORS as error:
        raise explain(During.BACKUP, error, index) from error


def _require_sound(index: Path, copy: Path, revision: str) -> int:
    """Return the number of conversations in a copy. Raises IndexUnusable if it is damaged or has another schema."""
    with closing(sqlite3.connect(copy)) as database:
        faults = find_faults(database, whole=True)
        now = database.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        if now != revision:
            faults.append(f"its schema is {now}, the index had {revision}")
        if faults:
            raise IndexUnusable(
                f"the copy of the index {index} is not sound ({faults[0]}), so it was deleted; "
                "`convstore index rebuild` builds the index again from the files"
            )
        return int(database.execute("SELECT count(*) FROM conversation").fetchone()[0])


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def copy_into(source: Index, target: Index) -> None:
    """Replace the contents of `target` with those of `source`. The caller holds `target.locked()`.

    The revision continues from the higher of both revisions. The epoch is new, even if a killed rebuild had already
    copied the source before, so that old change tokens are refused.
    """
    revision = await asyncio.to_thread(_find_revision, target.path)
    await source.write(lambda connection: state.begin_epoch(connection, revision))
    await asyncio.to_thread(_replace_content, source.path, target.path)


def _find_revision(path: Path) -> int:
    try:
        with closing(sqlite3.connect(path)) as database:
            [found] = database.execute("SELECT max(revision) FROM revision").fetchone()
    except ERRORS as error:
        raise explain(During.USE, error) from error
    return found or 0


def _replace_content(source: Path, target: Path) -> None:
    try:
        with closing(sqlite3.connect(source)) as whole, closing(sqlite3.connect(target)) as database:
            whole.backup(database)
    except ERRORS as error:
        raise explain(During.USE, error) from error
