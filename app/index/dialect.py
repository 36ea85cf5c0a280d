"""How statements are compiled for a database, and its INSERT with conflict handling."""

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
    """The text of a statement and its constants. The other parameters come with each call."""

    text: str
    constants: Mapping[str, object]

    def bind(self, parameters: Mapping[str, object]) -> dict[str, object]:
        """Return the constants and parameters for the driver."""
        return {**self.constants, **parameters}


def compiled(statement: ClauseElement) -> Sql:
    """Compile a statement. Its parameters are named bindparams, whose values come with each call."""
    result = cast(SQLCompiler, statement.compile(dialect=_DIALECT))
    constants = {name: bind.effective_value for bind, name in result.bind_names.items() if not bind.required}
    return Sql(str(result), constants)
