"""Finding conversations by id, directory and state. The lists for users are in `conversation_list`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import orjson
from sqlalchemy import (
    ColumnElement,
    Select,
    bindparam,
    func,
    literal_column,
    select,
    union,
)

from ..model.ids import ConversationId
from ..model.page import View
from .connections import ReadConnection, Reads
from .conversation_body import compose_info_body, select_view
from .dialect import Sql, compiled, is_any_of
from .filter_sql import ALL_SHELVES
from .tables import conversation, conversation_info

SIGNATURE_CHUNK = 2000


class IndexedState(NamedTuple):
    """A conversation's state in the index: its directory, how current its rows are, and its owner.

    `owner` has the lease until `owner_until`, in microseconds UTC. `dirty_by` is the process that has the conversation
    open for writing, or had it open when it crashed.
    """

    key: int
    directory: str
    id: ConversationId
    signature: bytes
    events_behind: bool
    owner: str | None
    owner_until: int | None
    dirty_by: str | None
    generation: int


def _select_state(*conditions: ColumnElement[bool]) -> Select[*tuple[object, ...]]:
    columns = conversation.c
    return select(
        columns.id,
        columns.directory,
        columns.uuid,
        columns.signature,
        columns.events_behind,
        columns.owner,
        columns.owner_until,
        columns.dirty_by,
        columns.lease_generation,
    ).where(*conditions)


@lru_cache(maxsize=2)
def _find_sql(*, one: bool) -> Sql:
    uuid = conversation.c.uuid
    wanted = uuid == bindparam("ids") if one else is_any_of(uuid, "ids")
    return compiled(select_view(View.FULL, uuid).where(wanted), short=True)


async def find_conversations(index: Reads, ids: Sequence[ConversationId]) -> list[bytes | None]:
    """Return the ConversationInfo of each id in the given order, None for an unknown id."""
    if not ids:
        return []
    one = len(ids) == 1
    rows = await index.fetch_all(_find_sql(one=one), {"ids": ids[0] if one else orjson.dumps(ids).decode()})
    found = {row[0]: compose_info_body(*row[1:]) for row in rows}
    return [found.get(uuid) for uuid in ids]


@cache
def _locate_sql() -> Sql:
    return compiled(_select_state(conversation.c.uuid == bindparam("uuid")), short=True)


async def locate_conversation(index: Reads, conversation_id: ConversationId) -> IndexedState | None:
    """Return a conversation's directory and state, or None if the index has no such id."""
    row = await index.fetch_one(_locate_sql(), {"uuid": conversation_id})
    return IndexedState(*row) if row else None


@cache
def _locate_with_body_sql() -> Sql:
    chosen = select_view(View.FULL, *_select_state().selected_columns).where(conversation.c.uuid == bindparam("uuid"))
    return compiled(chosen, short=True)


async def locate_with_body(index: Reads, conversation_id: ConversationId) -> tuple[IndexedState, bytes] | None:
    """Return a conversation's directory and state, and its ConversationInfo, or None if the index has no such id."""
    row = await index.fetch_one(_locate_with_body_sql(), {"uuid": conversation_id})
    if row is None:
        return None
    width = len(IndexedState._fields)
    return IndexedState(*row[:width]), compose_info_body(*row[width:])


@cache
def _prefix_sql() -> Sql:
    uuid = conversation.c.uuid
    return compiled(
        select(uuid)
        .where(uuid >= bindparam("first"), uuid <= bindparam("last"))
        .order_by(uuid)
        .limit(bindparam("most"))
    )


async def list_ids(index: ReadConnection, prefix: str, most: int) -> list[ConversationId]:
    """Return at most `most` ids that begin with `prefix`, lowest first."""
    parameters = {"first": prefix, "last": f"{prefix}g", "most": most}
    return [ConversationId(row[0]) for row in await index.fetch_all(_prefix_sql(), parameters)]


@cache
def _signatures_sql() -> Sql:
    columns = conversation.c
    return compiled(
        select(columns.directory, columns.signature)
        .where(columns.directory > bindparam("after"), columns.directory <= bindparam("last"))
        .order_by(columns.directory)
        .limit(SIGNATURE_CHUNK)
    )


async def list_signatures(index: ReadConnection, after: str, last: str) -> list[tuple[str, bytes]]:
    """Return (directory, signature) pairs with after < directory <= last, in that order, at most SIGNATURE_CHUNK."""
    rows = await index.fetch_all(_signatures_sql(), {"after": after, "last": last})
    return [(row[0], row[1]) for row in rows]


@cache
def _children_sql() -> Sql:
    columns = conversation.c
    children = select(columns.uuid).where(columns.parent == bindparam("parent_"))
    return compiled(children.order_by(columns.created_at, columns.uuid))


async def list_children(index: ReadConnection, conversation_id: ConversationId) -> list[ConversationId]:
    """Return the ids of a conversation's children, oldest first."""
    return [ConversationId(row[0]) for row in await index.fetch_all(_children_sql(), {"parent_": conversation_id})]


@cache
def _behind_sql() -> Sql:
    columns = conversation.c
    return compiled(
        select(columns.id, columns.directory)
        .where(columns.events_behind == literal_column("1"), columns.id > bindparam("after"))
        .order_by(columns.id)
        .limit(SIGNATURE_CHUNK)
    )


async def list_behind(index: ReadConnection, after: int) -> list[tuple[int, str]]:
    """Return (key, directory) of the next conversations whose event rows may be out of date, in order of key."""
    return [(row[0], row[1]) for row in await index.fetch_all(_behind_sql(), {"after": after})]


class Totals(NamedTuple):
    """Counts over the whole index."""

    conversations: int
    unreadable: int
    behind: int


@cache
def _totals_sql() -> Sql:
    columns = conversation.c
    everything = select(func.count()).select_from(conversation).scalar_subquery()
    unreadable = select(func.count()).where(columns.unreadable.is_not(None)).scalar_subquery()
    behind = select(func.count()).where(columns.events_behind == literal_column("1")).scalar_subquery()
    return compiled(select(everything, unreadable, behind))


async def count_totals(index: ReadConnection) -> Totals:
    """Count all conversations, the unreadable ones, and those whose event rows may be out of date."""
    rows = await index.fetch_kept(_totals_sql())
    return Totals(*rows[0])


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
    """Return (id, reason) of the first conversations that cannot be read completely."""
    rows = await index.fetch_all(_unreadable_sql(), {"row_limit": limit})
    return [(ConversationId(row[0]), row[1]) for row in rows]


CHUNK = 1000

_ANY_SHELF: tuple[ColumnElement[int], ...] = tuple(literal_column(str(shelf)) for shelf in ALL_SHELVES)
"""The values of `archived`. They are listed because the database index of `updated_at` starts with that column."""


@cache
def _active_sql() -> Sql:
    columns = conversation.c
    active = union(
        select(columns.id).where(columns.archived.in_(_ANY_SHELF), columns.updated_at >= bindparam("since")),
        select(columns.id).where(columns.events_behind == literal_column("1")),
        select(columns.id).where(columns.dirty_by.is_not(None)),
        select(columns.id).where(columns.owner_until.is_not(None)),
        select(columns.id).where(func.length(columns.signature) < literal_column("16")),
    )
    chosen = _select_state(columns.id.in_(active), columns.id < bindparam("before"))
    return compiled(chosen.order_by(columns.id.desc()).limit(bindparam("row_limit")))


async def list_active(index: ReadConnection, since_us: int, before: int) -> list[IndexedState]:
    """Return the next conversations with a key below `before`, newest first, that every sweep checks.

    They were updated after `since_us`, are owned or open, or have rows that are known to be out of date.
    """
    asked = {"since": since_us, "before": before, "row_limit": CHUNK}
    return [IndexedState(*row) for row in await index.fetch_all(_active_sql(), asked)]


@cache
def _newest_sql() -> Sql:
    columns = conversation.c
    return compiled(
        select(columns.directory)
        .where(columns.archived == literal_column("0"))
        .order_by(columns.updated_at.desc())
        .limit(bindparam("row_limit"))
    )


async def list_newest(index: ReadConnection, limit: int) -> list[str]:
    """Return the directories of the most recently updated conversations that lists show, newest first."""
    return [row[0] for row in await index.fetch_all(_newest_sql(), {"row_limit": limit})]


@cache
def _walk_sql() -> Sql:
    columns = conversation.c
    return compiled(
        select(columns.id, columns.directory)
        .where(columns.directory > bindparam("after"))
        .order_by(columns.directory)
        .limit(bindparam("row_limit"))
    )


async def list_after(index: ReadConnection, after: str, limit: int) -> list[tuple[int, str]]:
    """Return (key, directory) of the next conversations after the directory `after`, in order of their directories.

    A database index has both, so a walk over all conversations reads no row.
    """
    rows = await index.fetch_all(_walk_sql(), {"after": after, "row_limit": limit})
    return [(row[0], row[1]) for row in rows]


@cache
def _keyed_sql() -> Sql:
    return compiled(_select_state(is_any_of(conversation.c.id, "keys")).order_by(conversation.c.id))


async def list_states(index: ReadConnection, keys: Sequence[int]) -> list[IndexedState]:
    """Return the states of the conversations with these keys, in order of the keys."""
    rows = await index.fetch_all(_keyed_sql(), {"keys": orjson.dumps(keys).decode()}) if keys else []
    return [IndexedState(*row) for row in rows]


@cache
def _some_sql() -> Sql:
    return compiled(_select_state(is_any_of(conversation.c.uuid, "ids")))


async def find_states(index: ReadConnection, ids: Sequence[ConversationId]) -> list[IndexedState]:
    """Return the states of those of these conversations that are in the index."""
    if not ids:
        return []
    return [IndexedState(*row) for row in await index.fetch_all(_some_sql(), {"ids": orjson.dumps(ids).decode()})]


@cache
def _dirty_sql() -> Sql:
    return compiled(_select_state(conversation.c.dirty_by.is_not(None)).order_by(conversation.c.id))


async def list_dirty(index: ReadConnection) -> list[IndexedState]:
    """Return the conversations that a process has open for writing, or had open when it crashed."""
    return [IndexedState(*row) for row in await index.fetch_all(_dirty_sql())]


class Placement(NamedTuple):
    """A conversation's directory, and the columns for grouping disk usage."""

    id: ConversationId
    directory: str
    title: str | None
    preview: str | None
    workspace: str | None
    status: str
    updated_at: int


@cache
def _placements_sql() -> Sql:
    columns = conversation.c
    return compiled(
        select(columns.uuid, columns.directory, columns.title, conversation_info.c.preview)
        .add_columns(columns.workspace, columns.status, columns.updated_at)
        .join_from(conversation, conversation_info, conversation_info.c.conversation == columns.id, isouter=True)
        .where(columns.uuid > bindparam("after"))
        .order_by(columns.uuid)
        .limit(bindparam("row_limit"))
    )


async def list_placements(index: ReadConnection, after: str, limit: int) -> list[Placement]:
    """Return the next conversations after the id `after`, in order of their ids."""
    rows = await index.fetch_all(_placements_sql(), {"after": after, "row_limit": limit})
    return [Placement(*row) for row in rows]
