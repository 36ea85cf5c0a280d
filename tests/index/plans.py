"""A database to ask for plans, and what the plans say."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from app.index import conversation_rows, event_rows
from app.index.connections import WriteConnection
from app.index.dialect import Sql
from app.model.conversation import IndexedRow
from app.model.event import LogChange
from app.model.filters import Status
from tests.index.builders import make_message, make_row, opened

ROWS = 3000
STATUSES = list(Status)
LISTED = ("archived 0",)


async def fill(path: Path) -> None:
    log = [make_message(seq=seq) for seq in range(ROWS)]

    def write(connection: WriteConnection) -> None:
        conversation_rows.upsert_many(connection, [indexed(number) for number in range(ROWS)])
        event_rows.apply_changes(connection, [LogChange(1, log, [])])

    async with opened(path, readers=1) as index:
        await index.write(write)


def indexed(number: int) -> IndexedRow:
    parent = number // 10 if number % 3 == 0 else None
    return make_row(number, title=None, parent=parent, created_us=number // 2, status=STATUSES[number % 8])


def plan(database: sqlite3.Connection, sql: Sql) -> list[str]:
    """Return the steps of a statement's plan."""
    parameters = dict.fromkeys(re.findall(r":(\w+)", sql.text), 1) | dict(sql.constants)
    steps = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {sql.text}", parameters)]
    assert steps
    return steps


def of_conversations(database: sqlite3.Connection, sql: Sql) -> set[str]:
    """Return the steps of a statement's plan that touch the table of conversations."""
    return {step for step in plan(database, sql) if re.match(r"(SCAN|SEARCH) conversation\b", step)}
