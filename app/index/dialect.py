"""How statements are compiled, and the expressions that each database writes in its own way.

A statement is written once. `compiled` makes SQLite's text of it; an index in PostgreSQL translates the same statement
when it first runs it (`app.index.postgres`). If the databases need different expressions, `Either` has both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    ClauseElement,
    ColumnElement,
    Integer,
    Select,
    bindparam,
    func,
    literal_column,
    null,
    text,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op
from sqlalchemy.types import NullType

__all__ = ["Either", "Sql", "compiled", "insert", "paired"]

_DIALECT = sqlite.dialect(paramstyle="named")

T = TypeVar("T")


class Sql:
    """A statement: its text for SQLite and its constants. The other parameters come with each call.

    `statement` is the same statement for PostgreSQL; None means that both databases take the text. `short` means that
    it reads about a thousand rows at most, which it finds in a database index in their order.
    """

    __slots__ = ("__weakref__", "constants", "short", "statement", "text")

    def __init__(
        self,
        text: str,
        constants: Mapping[str, object],
        statement: ClauseElement | None = None,
        *,
        short: bool = False,
    ) -> None:
        self.text = text
        self.constants = constants
        self.statement = statement
        self.short = short

    def bind(self, parameters: Mapping[str, object]) -> dict[str, object]:
        """Return the constants and parameters for the driver."""
        return {**self.constants, **parameters}


def compiled(statement: ClauseElement, *, short: bool = False) -> Sql:
    """Compile a statement. Its parameters are named bindparams, whose values come with each call."""
    return paired(statement, statement, short=short)


def paired(sqlite_: ClauseElement, postgres: ClauseElement, *, short: bool = False) -> Sql:
    """Compile a statement that is written differently for each database. Both have the same columns and parameters."""
    result = cast(SQLCompiler, sqlite_.compile(dialect=_DIALECT))
    return Sql(str(result), constants_of(result), postgres, short=short)


def constants_of(result: SQLCompiler) -> dict[str, object]:
    """Return the values that a compiled statement has itself."""
    return {name: bind.effective_value for bind, name in result.bind_names.items() if not bind.required}


class Either(ColumnElement[T]):
    """An expression that is written differently for each database."""

    inherit_cache = False

    def __init__(self, sqlite_: ColumnElement[T], postgres: ColumnElement[T]) -> None:
        self.sqlite = sqlite_
        self.postgres = postgres
        self.type = postgres.type if isinstance(sqlite_.type, NullType) else sqlite_.type

    def self_group(self, against: Any = None) -> Any:  # noqa: ANN401 - SQLAlchemy's own signature
        """Return the expression in brackets, if an operator around it needs them."""
        sqlite_, postgres = self.sqlite.self_group(against), self.postgres.self_group(against)
        return self if sqlite_ is self.sqlite and postgres is self.postgres else Either(sqlite_, postgres)

    @property
    def _from_objects(self) -> Any:  # noqa: ANN401 - SQLAlchemy asks for the tables of an expression
        return self.sqlite._from_objects  # noqa: SLF001


@compiles(Either, "sqlite")
def _write_sqlite(element: Either[Any], compiler: SQLCompiler, **options: object) -> str:
    return compiler.process(element.sqlite, **options)


@compiles(Either, "postgresql")
def _write_postgres(element: Either[Any], compiler: SQLCompiler, **options: object) -> str:
    return compiler.process(element.postgres, **options)


def unindexed(column: ColumnElement[T]) -> ColumnElement[T]:
    """Return a column in a form for which SQLite uses no database index, neither to find rows nor to sort.

    PostgreSQL knows from its statistics whether a database index is worth it.
    """
    return Either(UnaryExpression(column, operator=custom_op("+"), type_=column.type), column)


def greatest(one: ColumnElement[int], other: ColumnElement[int]) -> ColumnElement[int]:
    """Return the larger of two values that are not null."""
    return Either(func.max(one, other), func.greatest(one, other))


def contains(whole: ColumnElement[str], part: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that a text contains another one."""
    zero: ColumnElement[int] = literal_column("0")
    return Either(func.instr(whole, part) > zero, func.strpos(whole, part) > zero)


def named_day(day: ColumnElement[int], *, month: bool = False) -> ColumnElement[str]:
    """Return the name of a day since 1970, as 2026-03-21; with `month` that of its month, as 2026-03."""
    seconds: ColumnElement[int] = literal_column("86400")
    pattern: ColumnElement[str] = literal_column("'%Y-%m'" if month else "'%Y-%m-%d'")
    first: ColumnElement[Any] = literal_column("DATE '1970-01-01'")
    letters: ColumnElement[str] = literal_column("'YYYY-MM'" if month else "'YYYY-MM-DD'")
    return Either(
        func.strftime(pattern, day * seconds, literal_column("'unixepoch'")),
        func.to_char(first.op("+")(sql_cast(day, Integer)), letters),
    )


def is_any_of(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Return the condition that a column has any of the values in a parameter, which is a JSON list."""
    listed = list_values(name, integers=isinstance(column.type, Integer))
    return Either(column.in_(listed[0]), column.in_(listed[1]))


def list_values(name: str, *, integers: bool) -> tuple[Any, Any]:
    """Return SELECTs of the values in a parameter, which is a JSON list: for SQLite and for PostgreSQL."""
    value = "CAST(one.value AS BIGINT)" if integers else "one.value"
    type_: Any = BigInteger() if integers else None
    written = (
        f"SELECT value FROM json_each(:{name})",  # noqa: S608
        f"SELECT {value} FROM json_array_elements_text(CAST(:{name} AS JSON)) AS one(value)",  # noqa: S608
    )
    each = [text(one).bindparams(bindparam(name)).columns(literal_column("value", type_)) for one in written]
    return each[0], each[1]


def as_json_list(values: ColumnElement[Any], listed: Select[Any]) -> ColumnElement[str]:
    """Return a column with the values of `values` in the rows of `listed` as a JSON list."""
    every = func.json_agg(values)
    return Either(
        listed.with_only_columns(func.json_group_array(values)).scalar_subquery(),
        listed.with_only_columns(func.coalesce(every, literal_column("'[]'::json"), type_=JSON)).scalar_subquery(),
    )


def as_json_pair(one: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a JSON list of two values."""
    return Either(func.json_array(one, other), func.json_build_array(one, other))


def as_json_object(key: ColumnElement[str], value: ColumnElement[str], listed: Select[Any]) -> ColumnElement[str]:
    """Return a column with the keys and values in the rows of `listed` as a JSON object."""
    every = func.json_object_agg(key, value)
    return Either(
        listed.with_only_columns(func.json_group_object(key, value)).scalar_subquery(),
        listed.with_only_columns(func.coalesce(every, literal_column("'{}'::json"), type_=JSON)).scalar_subquery(),
    )


def null_as(column: ColumnElement[T]) -> ColumnElement[Any]:
    """Return a null of the type of a column."""
    return Either(null(), sql_cast(null(), column.type))
