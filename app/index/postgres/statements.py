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

_DIALECT = PGDialect_psycopg()  # type: ignore[no-untyped-call]


class Translated(NamedTuple):
    """A statement for psycopg: its text and its constants."""

    text: str
    constants: Mapping[str, object]

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
        found = _TRANSLATED[sql] = Translated(str(result), {**sql.constants, **constants_of(result)})
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
