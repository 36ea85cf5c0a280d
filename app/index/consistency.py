"""Checks of an index that need no file: rows without a conversation, and events in the future."""

from __future__ import annotations

from functools import cache

from sqlalchemy import bindparam, delete, exists, select, union_all

from ..model.ids import ConversationId
from . import shared_fields
from .connections import ReadConnection, WriteConnection
from .dialect import Sql, compiled
from .messages import delete_messages
from .tables import activity, conversation, conversation_info, conversation_tag, event, log_block, message


@cache
def _ahead_sql() -> Sql:
    columns = conversation.c
    is_ahead = exists().where(event.c.conversation == columns.id, event.c.timestamp > bindparam("latest"))
    return compiled(select(columns.uuid).where(is_ahead).order_by(columns.id))


async def list_ahead(index: ReadConnection, latest_us: int) -> list[ConversationId]:
    """Return the conversations with an event later than `latest_us`. This reads all event rows."""
    return [ConversationId(row[0]) for row in await index.fetch_all(_ahead_sql(), {"latest": latest_us})]


@cache
def _orphans_sql() -> Sql:
    keys = select(conversation.c.id)
    return compiled(
        union_all(
            select(conversation_info.c.conversation).where(conversation_info.c.conversation.not_in(keys)),
            select(conversation_tag.c.conversation).where(conversation_tag.c.conversation.not_in(keys)).distinct(),
            select(event.c.conversation).where(event.c.conversation.not_in(keys)).distinct(),
            select(activity.c.conversation).where(activity.c.conversation.not_in(keys)).distinct(),
            select(log_block.c.conversation).where(log_block.c.conversation.not_in(keys)).distinct(),
            select(message.c.conversation).where(message.c.conversation.not_in(keys)).distinct(),
        )
    )


async def list_orphans(index: ReadConnection) -> list[int]:
    """Return the keys of bodies, tags, event rows and messages without a conversation. A sound index has none."""
    return [row[0] for row in await index.fetch_all(_orphans_sql())]


def delete_orphans(index: WriteConnection) -> None:
    """Delete the bodies, tags, event rows and messages without a conversation."""
    keys = select(conversation.c.id)
    spoken = index.execute(select(message.c.conversation).where(message.c.conversation.not_in(keys)).distinct())
    delete_messages(index, [row[0] for row in spoken])
    index.execute(delete(conversation_info).where(conversation_info.c.conversation.not_in(keys)))
    shared_fields.delete_all_unused(index)
    index.execute(delete(conversation_tag).where(conversation_tag.c.conversation.not_in(keys)))
    index.execute(delete(event).where(event.c.conversation.not_in(keys)))
    index.execute(delete(activity).where(activity.c.conversation.not_in(keys)))
    index.execute(delete(log_block).where(log_block.c.conversation.not_in(keys)))
