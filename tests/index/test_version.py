"""Which schema an index has, and what a damaged one says."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.errors import IndexDamaged
from app.index import schema
from app.index.version import HEAD, read_revision


def test_a_schema_whose_names_are_no_text_any_more_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    schema.upgrade(path)
    assert read_revision(path) == HEAD
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA writable_schema=ON")
        database.execute("UPDATE sqlite_master SET name = CAST(X'61CB28' AS TEXT), sql = 'none' WHERE name = 'message'")
        database.commit()
    with pytest.raises(IndexDamaged, match="is damaged"):
        read_revision(path)
