"""The shape of a schema: its tables, columns and indexes. It shows whether an index really has the schema it names.

Before 0.2.0, a migration was changed after its first use. So an index can name a revision without having the tables
that this revision makes today. Such an index counts as damaged and is built again from the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ..connections import ReadConnection
from ..dialect import Sql
from ..tables import metadata
from .db_errors import damaged_index


class Part(NamedTuple):
    """A part of a schema: a column, index, trigger or view, or "AUTOINCREMENT" if a table never reuses a key.

    `table` is "" for an index, a trigger or a view.
    """

    table: str
    name: str

    def __str__(self) -> str:
        return f"{self.table} has no {self.name}" if self.table else f"{self.name} is missing"


Shape = frozenset[Part]

_AUTOINCREMENT = "AUTOINCREMENT"
_TEXT_INDEXES = {
    ("message_fts", "text"), ("message_fts", "tool_text"), ("title_fts", "title_key"), ("", "message_words"),
    ("", "title_fts_insert"), ("", "title_fts_delete"), ("", "title_fts_update"),
}  # fmt: skip
"""The parts of the newest schema that are not in `app.index.tables`."""

SHAPE_SQL = Sql(
    f"""
    SELECT one.name, field.name FROM sqlite_master AS one JOIN pragma_table_info(one.name) AS field
        WHERE one.type = 'table'
    UNION ALL SELECT name, '{_AUTOINCREMENT}' FROM sqlite_master
        WHERE type = 'table' AND sql LIKE '%{_AUTOINCREMENT}%'
    UNION ALL SELECT '', name FROM sqlite_master WHERE type IN ('index', 'trigger', 'view') AND sql IS NOT NULL
    """,  # noqa: S608
    {},
)


async def require_shape(index: ReadConnection, path: Path) -> None:
    """Check that an index has all parts of the newest schema. Executes one statement.

    Raises:
        IndexDamaged: a part is missing.
    """
    require_parts(path, "the newest one", expected_shape(), await index.fetch_all(SHAPE_SQL, {}))


def require_parts(path: Path, revision: str, expected: Shape, rows: Sequence[Sequence[str]]) -> None:
    """Check that the rows of `SHAPE_SQL` contain all parts of a revision.

    Raises:
        IndexDamaged: a part is missing.
    """
    missing = min(expected - as_shape(rows), default=None)
    if missing is not None:
        raise damaged_index(path, f"its schema is marked as {revision}, but {missing}")


def as_shape(rows: Sequence[Sequence[str]]) -> Shape:
    """Return the rows of `SHAPE_SQL` as a shape."""
    return frozenset(Part(table, name) for table, name in rows)


@cache
def expected_shape() -> Shape:
    """Return the parts of the newest schema, apart from SQLite's own tables."""
    tables = metadata.tables.values()
    return frozenset(
        [Part(table.name, column.name) for table in tables for column in table.columns]
        + [Part("", str(one.name)) for table in tables for one in table.indexes]
        + [Part(one.name, _AUTOINCREMENT) for one in tables if one.dialect_options["sqlite"]["autoincrement"]]
        + [Part(*one) for one in _TEXT_INDEXES]
    )
