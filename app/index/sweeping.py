"""What a sweep asks of the index: which conversations to look at now, and what they looked like when they were read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from sqlalchemy import BindParameter, ColumnElement, Select, bindparam, func, literal_column, select, union, update

from app.index import state
from app.index.change_feed import touch
from app.index.sqlite.database import ReadConnection, WriteConnection
from app.index.statements import Sql, compiled
from app.index.tables import conversation
from app.model.ids import ConversationId

CHUNK = 1000

_EITHER: tuple[ColumnElement[int], ...] = (literal_column("0"), literal_column("1"))
"""Archived or not: the index of updated_at begins with it."""


class Seen(NamedTuple):
    """A conversation as it was last seen. `owner_until` is in microseconds UTC."""

    key: int
    directory: str
    id: ConversationId
    signature: bytes
    events_behind: bool
    owner: str | None
    owner_until: int | None


class Owned(NamedTuple):
    """Who owns a conversation until when, in microseconds UTC; None: nobody."""

    id: ConversationId
    owner: str | None
    owner_until: int | None


def _seen(*conditions: ColumnElement[bool]) -> Select[*tuple[object, ...]]:
    columns = conversation.c
    return select(
        columns.id,
        columns.directory,
        columns.uuid,
        columns.signature,
        columns.events_behind,
        columns.owner,
        columns.owner_until,
    ).where(*conditions)


@cache
def _active_sql() -> Sql:
    columns = conversation.c
    active = union(
        select(columns.id).where(columns.archived.in_(_EITHER), columns.updated_at >= bindparam("since")),
        select(columns.id).where(columns.events_behind == literal_column("1")),
        select(columns.id).where(columns.dirty_by.is_not(None)),
        select(columns.id).where(columns.owner_until.is_not(None)),
        select(columns.id).where(func.length(columns.signature) < literal_column("16")),
    )
    chosen = _seen(columns.id.in_(active), columns.id < bindparam("before"))
    return compiled(chosen.order_by(columns.id.desc()).limit(bindparam("row_limit")))


async def list_active(index: ReadConnection, since_us: int, before: int) -> list[Seen]:
    """Return the next conversations below the key `before`, the newest first, that need a look all the time.

    They were updated since `since_us`, are owned or open, or have rows that are known not to be settled.
    """
    asked = {"since": since_us, "before": before, "row_limit": CHUNK}
    return [Seen(*row) for row in await index.fetch_all(_active_sql(), asked)]


@cache
def _walk_sql() -> Sql:
    columns = conversation.c
    return compiled(_seen(columns.id > bindparam("after")).order_by(columns.id).limit(bindparam("row_limit")))


async def list_after(index: ReadConnection, after: int, limit: int) -> list[Seen]:
    """Return the next conversations in order of their keys."""
    return [Seen(*row) for row in await index.fetch_all(_walk_sql(), {"after": after, "row_limit": limit})]


@lru_cache(maxsize=128)
def _some_sql(number: int) -> Sql:
    wanted: list[BindParameter[str]] = [bindparam(f"id_{i}") for i in range(number)]
    return compiled(_seen(conversation.c.uuid.in_(wanted)))


async def find_seen(index: ReadConnection, ids: Sequence[ConversationId]) -> list[Seen]:
    """Return those of these conversations that the index has."""
    if not ids:
        return []
    asked = {f"id_{i}": conversation_id for i, conversation_id in enumerate(ids)}
    return [Seen(*row) for row in await index.fetch_all(_some_sql(len(ids)), asked)]


@cache
def _own_sql() -> Sql:
    return compiled(
        update(conversation)
        .where(conversation.c.uuid == bindparam("uuid_"), conversation.c.owner.is_distinct_from(bindparam("owner_")))
        .values(owner=bindparam("owner_"))
    )


@cache
def _until_sql() -> Sql:
    wanted = conversation.c.uuid == bindparam("uuid_")
    return compiled(update(conversation).where(wanted).values(owner_until=bindparam("until_")))


def set_owners(index: WriteConnection, owned: Sequence[Owned]) -> None:
    """Note who owns conversations. A lease that is renewed is no change; another owner, or none any more, is one."""
    changed = [one.id for one in owned if index.execute_many(_own_sql(), [{"uuid_": one.id, "owner_": one.owner}])]
    index.execute_many(_until_sql(), [{"uuid_": one.id, "until_": one.owner_until} for one in owned])
    if changed:
        touch(index, changed, state.bump_revision(index))
