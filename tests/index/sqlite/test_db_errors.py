"""What an error of SQLite means to a user, which depends on what was being done."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.errors import IndexBusy, IndexDamaged, IndexUnusable, MigrationFailed, OutputRefused
from app.index.sqlite.db_errors import During, explain, is_damage


def error_of(path: Path, statement: str, *, read_only: bool = False) -> sqlite3.Error:
    """Return the error of a statement."""
    uri = f"file:{path}?mode={'ro' if read_only else 'rwc'}"
    with closing(sqlite3.connect(uri, uri=True, timeout=0)) as database, pytest.raises(sqlite3.Error) as raised:
        database.execute(statement)
    return raised.value


@pytest.fixture
def corrupt(tmp_path: Path) -> sqlite3.Error:
    (tmp_path / "index.db").write_bytes(b"this is no database" * 100)
    return error_of(tmp_path / "index.db", "SELECT 1 FROM sqlite_master")


@pytest.fixture
def busy(tmp_path: Path) -> sqlite3.Error:
    with closing(sqlite3.connect(tmp_path / "index.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        return error_of(tmp_path / "index.db", "CREATE TABLE t (x)")


@pytest.fixture
def readonly(tmp_path: Path) -> sqlite3.Error:
    (tmp_path / "index.db").touch()
    return error_of(tmp_path / "index.db", "CREATE TABLE t (x)", read_only=True)


@pytest.mark.parametrize(
    ("during", "kind", "told"),
    [
        (During.USE, IndexDamaged, "a server builds it again from the files"),
        (During.OPENING, IndexDamaged, "index.db is damaged .* run `convstore index rebuild`"),
        (During.MIGRATION, IndexDamaged, "index.db is damaged .* run `convstore index rebuild`"),
        (During.BACKUP, OutputRefused, "index.db could not be copied .* `convstore index verify`"),
        (During.CHECK, IndexUnusable, "the full-text index in .*index.db could not be checked"),
    ],
)
def test_a_corrupt_file_is_told_by_what_was_done(
    tmp_path: Path, corrupt: sqlite3.Error, during: During, kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told):
        raise explain(during, corrupt, tmp_path / "index.db")
    assert is_damage(corrupt)


@pytest.mark.parametrize(
    ("during", "kind", "told"),
    [
        (During.USE, IndexBusy, "has been holding the index for too long"),
        (During.OPENING, IndexBusy, "has been holding the index .*index.db for too long"),
        (During.MIGRATION, MigrationFailed, "is as before: another program uses the index"),
    ],
)
def test_a_locked_index_is_busy(
    tmp_path: Path, busy: sqlite3.Error, during: During, kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told):
        raise explain(during, busy, tmp_path / "index.db")
    assert not is_damage(busy)


@pytest.mark.parametrize(
    ("during", "kind", "told"),
    [
        (During.USE, IndexUnusable, "the index cannot be used"),
        (During.OPENING, IndexUnusable, "make its directory writable"),
        (During.MIGRATION, MigrationFailed, "make the file writable"),
    ],
)
def test_what_may_not_be_written_is_told_with_what_to_do(
    tmp_path: Path, readonly: sqlite3.Error, during: During, kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told):
        raise explain(during, readonly, tmp_path / "index.db")
    assert not is_damage(readonly)


def test_a_step_that_asks_for_a_table_that_is_not_there_has_failed(tmp_path: Path) -> None:
    error = error_of(tmp_path / "index.db", "SELECT 1 FROM conversation")
    assert isinstance(explain(During.USE, error), IndexDamaged)
    assert isinstance(explain(During.MIGRATION, error, tmp_path), MigrationFailed)
