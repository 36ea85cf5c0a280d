"""A ConversationRow as the tables hold it: its columns, its tags and its body."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any

import orjson
from sqlalchemy import BindParameter, ColumnElement, bindparam, delete, func, insert, select

from app.index.engine import WriteConnection
from app.index.statements import Sql, compiled
from app.index.tables import conversation, conversation_info, conversation_tag
from app.model.conversation import ConversationRow

COLUMNS = [name for name in ConversationRow._fields if name not in ("tags", "body")]
"""The fields that are columns of `conversation`; they come first."""


@lru_cache(maxsize=128)
def rows_sql(number: int, *more: ColumnElement[Any]) -> Sql:
    """Return the statement for so many conversations by their ids: `more` of each, then what `as_row` takes."""
    wanted: list[BindParameter[str]] = [bindparam(f"id_{i}") for i in range(number)]
    pair = func.json_array(conversation_tag.c.key, conversation_tag.c.value)
    tags = (
        select(func.json_group_array(pair))
        .where(conversation_tag.c.conversation == conversation.c.id)
        .correlate(conversation)
        .scalar_subquery()
    )
    return compiled(
        select(*more, *(conversation.c[name] for name in COLUMNS), tags, conversation_info.c.body)
        .join_from(conversation, conversation_info, conversation_info.c.conversation == conversation.c.id, isouter=True)
        .where(conversation.c.uuid.in_(wanted))
    )


def as_row(values: Sequence[Any]) -> ConversationRow:
    """Return the row that `rows_sql` gave; the body is empty when the index has none."""
    *columns, tags, body = values
    pairs = sorted((key, value) for key, value in orjson.loads(tags))
    return ConversationRow._make((*columns, tuple(pairs), body or b""))


@cache
def _delete_tags_sql() -> Sql:
    wanted = select(conversation.c.id).where(conversation.c.uuid == bindparam("uuid")).scalar_subquery()
    return compiled(delete(conversation_tag).where(conversation_tag.c.conversation == wanted))


@cache
def _replace_tag_sql() -> Sql:
    found = select(conversation.c.id, bindparam("key"), bindparam("value")).where(
        conversation.c.uuid == bindparam("uuid")
    )
    return compiled(insert(conversation_tag).from_select(["conversation", "key", "value"], found))


@cache
def _add_tag_sql() -> Sql:
    return compiled(insert(conversation_tag))


async def add_tags(index: WriteConnection, keyed: Iterable[tuple[int, ConversationRow]]) -> None:
    """Write the tags of conversations, with their keys, that have none yet."""
    tags = [{"conversation": number, "key": key, "value": value} for number, row in keyed for key, value in row.tags]
    await index.execute_many(_add_tag_sql(), tags)


async def replace_tags(index: WriteConnection, rows: Sequence[ConversationRow]) -> None:
    """Have the index know the tags of these rows instead of those that it knew before."""
    await index.execute_many(_delete_tags_sql(), [{"uuid": row.uuid} for row in rows])
    tags = [{"uuid": row.uuid, "key": key, "value": value} for row in rows for key, value in row.tags]
    await index.execute_many(_replace_tag_sql(), tags)
