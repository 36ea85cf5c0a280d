"""Where all conversations are, and what they are counted by when disk use is asked for."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from sqlalchemy import bindparam, func, select

from app.index.sqlite.database import ReadConnection
from app.index.statements import Sql, compiled
from app.index.tables import conversation
from app.model.ids import ConversationId


class Placement(NamedTuple):
    """A conversation's directory, and what it is grouped by."""

    id: ConversationId
    directory: str
    title: str | None
    workspace: str | None
    status: str
    updated_at: int


@cache
def _placements_sql() -> Sql:
    columns = conversation.c
    return compiled(
        select(columns.uuid, columns.directory, columns.title, columns.workspace, columns.status, columns.updated_at)
        .where(columns.uuid > bindparam("after"))
        .order_by(columns.uuid)
        .limit(bindparam("row_limit"))
    )


async def list_placements(index: ReadConnection, after: str, limit: int) -> list[Placement]:
    """Return the next conversations, in order of their ids."""
    rows = await index.fetch_all(_placements_sql(), {"after": after, "row_limit": limit})
    return [Placement(*row) for row in rows]


@cache
def _count_sql() -> Sql:
    return compiled(select(func.count()).select_from(conversation))


async def count_placements(index: ReadConnection) -> int:
    """Return how many conversations there are."""
    rows = await index.fetch_all(_count_sql())
    return int(rows[0][0])
