"""A database to ask for plans, and what the plans say."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from app.index import conversation_rows, event_rows
from app.index.connections import WriteConnection
from app.index.dialect import Sql
from app.index.sqlite.database import Index
from app.model.conversation import ConversationFiles, IndexedRow, LogSummary, fold
from app.model.event import EventFacts, EventRow, LogChange
from app.model.filters import Status
from app.model.ids import ConversationId, EventName
from tests.builders import make_id

ROWS = 3000
STATUSES = list(Status)
LISTED = ("not archived",)


async def fill(path: Path) -> None:
    index = Index(path, readers=1, busy_timeout_s=5)
    await index.open()
    log = [
        EventRow(EventName(seq, "an-event-id"), EventFacts("MessageEvent", "user", seq, None)) for seq in range(ROWS)
    ]

    def write(connection: WriteConnection) -> None:
        conversation_rows.upsert_many(connection, [indexed(number) for number in range(ROWS)])
        event_rows.apply_changes(connection, [LogChange(1, log, [])])

    await index.write(write)
    await index.close()


def indexed(number: int) -> IndexedRow:
    uuid = ConversationId(make_id(number))
    parent = {"parent_conversation_id": make_id(number // 10)} if number % 3 == 0 else {}
    state = {"agent": {"kind": "Agent"}, "execution_status": STATUSES[number % 8]}
    return IndexedRow(fold(ConversationFiles(uuid, uuid, parent, 0, state, LogSummary(), number // 2)), b"signature")


def plan(database: sqlite3.Connection, sql: Sql) -> list[str]:
    """Return the steps of a statement's plan."""
    parameters = dict.fromkeys(re.findall(r":(\w+)", sql.text), 1) | dict(sql.constants)
    steps = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {sql.text}", parameters)]
    assert steps
    return steps


def of_conversations(database: sqlite3.Connection, sql: Sql) -> set[str]:
    """Return the steps of a statement's plan that touch the table of conversations."""
    return {step for step in plan(database, sql) if re.match(r"(SCAN|SEARCH) conversation\b", step)}
