"""The index as it stands, for verify: whole rows, bodies, and whether the database itself is sound."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from sqlalchemy import BindParameter, bindparam, delete, select, text, union_all

from app.index.engine import ReadConnection, WriteConnection
from app.index.messages import forget_messages
from app.index.statements import Sql, compiled
from app.index.tables import conversation, conversation_info, event, message
from app.model.conversation import ConversationRow
from app.model.ids import ConversationId

_COLUMNS = [conversation.c[name] for name in ConversationRow._fields if name != "body"]


class StoredRow(NamedTuple):
    """A conversation's key and row; the body is empty when the index has none."""

    key: int
    row: ConversationRow


@lru_cache(maxsize=128)
def _stored_sql(number: int) -> Sql:
    wanted: list[BindParameter[str]] = [bindparam(f"id_{i}") for i in range(number)]
    return compiled(
        select(conversation.c.id, *_COLUMNS, conversation_info.c.body)
        .join_from(conversation, conversation_info, conversation_info.c.conversation == conversation.c.id, isouter=True)
        .where(conversation.c.uuid.in_(wanted))
    )


async def find_stored(index: ReadConnection, ids: Sequence[ConversationId]) -> dict[ConversationId, StoredRow]:
    """Return the stored rows of those of `ids` that the index knows."""
    if not ids:
        return {}
    rows = await index.fetch_all(_stored_sql(len(ids)), {f"id_{i}": uuid for i, uuid in enumerate(ids)})
    stored = [StoredRow(row[0], ConversationRow._make((*row[1:-1], row[-1] or b""))) for row in rows]
    return {one.row.uuid: one for one in stored}


@cache
def _orphans_sql() -> Sql:
    keys = select(conversation.c.id)
    return compiled(
        union_all(
            select(conversation_info.c.conversation).where(conversation_info.c.conversation.not_in(keys)),
            select(event.c.conversation).where(event.c.conversation.not_in(keys)).distinct(),
            select(message.c.conversation).where(message.c.conversation.not_in(keys)).distinct(),
        )
    )


async def list_orphans(index: ReadConnection) -> list[int]:
    """Return the keys that bodies, event rows or messages have but no conversation; a sound index has none."""
    return [row[0] for row in await index.fetch_all(_orphans_sql())]


async def delete_orphans(index: WriteConnection) -> None:
    """Delete the bodies, event rows and messages whose conversation does not exist."""
    keys = select(conversation.c.id)
    spoken = await index.execute(select(message.c.conversation).where(message.c.conversation.not_in(keys)).distinct())
    await forget_messages(index, [row[0] for row in spoken])
    await index.execute(delete(conversation_info).where(conversation_info.c.conversation.not_in(keys)))
    await index.execute(delete(event).where(event.c.conversation.not_in(keys)))


async def list_damage(index: ReadConnection, *, whole: bool = True) -> list[str]:
    """Return what SQLite's own check finds wrong with the database; nothing when it is sound.

    Without `whole` it does not compare the indexes with their tables.
    """
    pragma = "PRAGMA integrity_check(20)" if whole else "PRAGMA quick_check(20)"
    rows = await index.fetch_all(Sql(str(text(pragma)), {}))
    return [row[0] for row in rows if row[0] != "ok"]
