"""Translates statements for PostgreSQL, once each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast
from weakref import WeakKeyDictionary

from sqlalchemy import text
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.dml import OnConflictDoNothing, OnConflictDoUpdate
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from ..dialect import Sql, constants_of

_LIMITS = ("row_limit", "walked")
"""The parameters that limit the rows of a page. Facets count all rows, so their limit does not change the plan."""
_WORDS = "%(tsquery)s"
_DIALECT = PGDialect_psycopg()  # type: ignore[no-untyped-call]


class Translated(NamedTuple):
    """A statement for psycopg: its text and its constants."""

    text: str
    constants: Mapping[str, object]
    limits: tuple[str, ...] = ()
    """Which of `_LIMITS` the statement has."""
    prepare: bool = True
    """False for a statement that looks for words: a plan that is kept would be the same for rare and frequent words."""

    def limited_text(self, parameters: Mapping[str, object]) -> str:
        """Return the text with its limits as numbers.

        So the planner knows how few rows a page has, also in the plan that it keeps for a prepared statement.
        Otherwise it plans each page anew, which took 1 ms.
        """
        written = self.text
        for name in self.limits:
            written = written.replace(f"%({name})s", str(int(cast(int, parameters[name]))))
        return written

    def bind(self, parameters: Mapping[str, object]) -> dict[str, object]:
        """Return the constants and parameters for the driver."""
        return {**self.constants, **parameters}


_TRANSLATED: WeakKeyDictionary[Sql, Translated] = WeakKeyDictionary()


def translate(sql: Sql) -> Translated:
    """Return a statement for PostgreSQL. It is translated at its first use."""
    found = _TRANSLATED.get(sql)
    if found is None:
        statement = text(sql.text) if sql.statement is None else sql.statement
        result = cast(SQLCompiler, statement.compile(dialect=_DIALECT))
        limits = tuple(name for name in _LIMITS if f"%({name})s" in str(result))
        prepare = _WORDS not in str(result)
        found = _TRANSLATED[sql] = Translated(str(result), {**sql.constants, **constants_of(result)}, limits, prepare)
    return found


@compiles(OnConflictDoNothing, "postgresql")
def _write_do_nothing(element: Any, compiler: Any, **options: object) -> str:  # noqa: ANN401
    """Write SQLite's clause, which has the same syntax. It only lacks the attribute for named constraints."""
    element.constraint_target = None
    return str(compiler.visit_on_conflict_do_nothing(element, **options))


@compiles(OnConflictDoUpdate, "postgresql")
def _write_do_update(element: Any, compiler: Any, **options: object) -> str:  # noqa: ANN401
    element.constraint_target = None
    return str(compiler.visit_on_conflict_do_update(element, **options))
