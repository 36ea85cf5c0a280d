"""What a doctor asks of the database itself: SQLite's version, the pragmas in force, what is marked as unreadable."""

from __future__ import annotations

import sqlite3
from functools import cache

from sqlalchemy import bindparam, exists, select

from app.index.sqlite.database import ReadConnection
from app.index.statements import Sql, compiled
from app.index.tables import conversation, event
from app.model.ids import ConversationId

WAL_RESET_FIXED = (3, 51, 3)
"""The first SQLite in which two checkpoints at the same moment cannot lose a commit (the WAL-reset bug)."""

_PRAGMAS = ("journal_mode", "query_only", "mmap_size", "wal_autocheckpoint", "busy_timeout")
EXPECTED = {"journal_mode": "wal", "query_only": 1, "mmap_size": 0, "wal_autocheckpoint": 0, "busy_timeout": 5000}
"""The pragmas of a read connection; see `app.index.sqlite.database` for why."""


def sqlite_version() -> tuple[int, int, int]:
    """Return the version of the SQLite library that this Python is linked with."""
    return sqlite3.sqlite_version_info[:3]


async def read_pragmas(index: ReadConnection) -> dict[str, object]:
    """Return the pragmas of `EXPECTED` as they are in force on a read connection."""
    found = {}
    for name in _PRAGMAS:
        row = await index.fetch_one(Sql(f"PRAGMA {name}", {}))
        found[name] = row[0] if row else None
    return found


@cache
def _unreadable_sql() -> Sql:
    columns = conversation.c
    return compiled(
        select(columns.uuid, columns.unreadable)
        .where(columns.unreadable.is_not(None))
        .order_by(columns.id)
        .limit(bindparam("row_limit"))
    )


async def list_unreadable(index: ReadConnection, limit: int) -> list[tuple[ConversationId, str]]:
    """Return the first conversations that cannot be read as they should, with the reasons."""
    rows = await index.fetch_all(_unreadable_sql(), {"row_limit": limit})
    return [(ConversationId(row[0]), row[1]) for row in rows]


@cache
def _ahead_sql() -> Sql:
    columns = conversation.c
    is_ahead = exists().where(event.c.conversation == columns.id, event.c.timestamp > bindparam("latest"))
    return compiled(select(columns.uuid).where(is_ahead).order_by(columns.id))


async def list_ahead(index: ReadConnection, latest_us: int) -> list[ConversationId]:
    """Return the conversations that have an event of a later time. Goes through all events."""
    return [ConversationId(row[0]) for row in await index.fetch_all(_ahead_sql(), {"latest": latest_us})]
