"""The differences between databases in statements: how they are compiled, and INSERT with a conflict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

from sqlalchemy import ClauseElement
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.sql.compiler import SQLCompiler

__all__ = ["Sql", "compiled", "insert"]

_DIALECT = sqlite.dialect(paramstyle="named")


class Sql(NamedTuple):
    """A statement's text and the constants in it, apart from the parameters that each call gives."""

    text: str
    constants: Mapping[str, object]

    def bind(self, parameters: Mapping[str, object]) -> dict[str, object]:
        """Return all that the driver has to bind."""
        return {**self.constants, **parameters}


def compiled(statement: ClauseElement) -> Sql:
    """Compile a statement; its parameters are named bindparams, given by each call."""
    result = cast(SQLCompiler, statement.compile(dialect=_DIALECT))
    constants = {name: bind.effective_value for bind, name in result.bind_names.items() if not bind.required}
    return Sql(str(result), constants)
