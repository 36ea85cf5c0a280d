"""The shape of a schema: the tables name all of it, and what is missing is found."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.errors import IndexDamaged
from app.index.sqlite.schema_shape import SHAPE_SQL, Part, as_shape, expected_shape, require_parts

_SQLITES_OWN = ("alembic_version", "sqlite_", "message_fts_", "title_fts_")


def rows_of(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(SHAPE_SQL.text).fetchall()


def test_the_migrations_make_what_the_tables_name(empty_index: Path) -> None:
    made = as_shape(rows_of(empty_index))
    assert {part for part in made if not part.table.startswith(_SQLITES_OWN)} == expected_shape()


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (Part("event", "tool"), "event has no tool"),
        (Part("conversation", "AUTOINCREMENT"), "conversation has no AUTOINCREMENT"),
        (Part("", "message_words"), "message_words is missing"),
    ],
)
def test_what_is_missing_is_told_and_what_is_more_is_not(empty_index: Path, part: Part, said: str) -> None:
    rows = [*rows_of(empty_index), ("another", "table")]
    require_parts(empty_index, "9", expected_shape(), rows)
    with pytest.raises(IndexDamaged, match=f"its schema is marked as 9, but {said}"):
        require_parts(empty_index, "9", expected_shape(), [row for row in rows if row != part])
