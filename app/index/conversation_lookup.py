"""Conversations: finding them by id, by place and by state; and writing their rows. Lists are in `listing`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from sqlalchemy import BindParameter, bindparam, delete, func, literal_column, select, update

from app.index import change_feed, state
from app.index.conversation_body import compose_info_body, select_info
from app.index.conversation_rows import Before, find_before, insert_rows, update_rows
from app.index.sqlite.database import ReadConnection, WriteConnection
from app.index.sqlite.text_index import forget_messages
from app.index.statements import Sql, compiled
from app.index.tables import conversation
from app.model.conversation import ConversationRow, IndexedRow
from app.model.ids import ConversationId

SIGNATURE_CHUNK = 2000


class Located(NamedTuple):
    """Where a conversation is on disk, and how far its rows are."""

    directory: str
    signature: bytes
    events_behind: bool


@lru_cache(maxsize=128)
def _find_sql(number: int) -> Sql:
    wanted: list[BindParameter[str]] = [bindparam(f"id_{i}") for i in range(number)]
    return compiled(select_info(conversation.c.uuid).where(conversation.c.uuid.in_(wanted)))


async def find_conversations(index: ReadConnection, ids: Sequence[ConversationId]) -> list[bytes | None]:
    """Return the ConversationInfo of each id, in their order; None for each that is unknown."""
    if not ids:
        return []
    rows = await index.fetch_all(_find_sql(len(ids)), {f"id_{i}": uuid for i, uuid in enumerate(ids)})
    found = {row[0]: compose_info_body(*row[1:]) for row in rows}
    return [found.get(uuid) for uuid in ids]


@cache
def _locate_sql() -> Sql:
    columns = conversation.c
    return compiled(
        select(columns.directory, columns.signature, columns.events_behind).where(columns.uuid == bindparam("uuid"))
    )


async def locate_conversation(index: ReadConnection, conversation_id: ConversationId) -> Located | None:
    """Return where a conversation is, or None when the index has none of this id."""
    row = await index.fetch_one(_locate_sql(), {"uuid": conversation_id})
    return Located(row[0], row[1], bool(row[2])) if row else None


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
    """Return the first ids that begin with `prefix`, at most `most`."""
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
    """Return the ids of the conversations whose parent this is, the oldest first."""
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
    """Return the next (key, directory) of conversations whose event rows may lag behind, in order of key."""
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
    """Return how many conversations there are, cannot be read, and have event rows that may lag behind."""
    rows = await index.fetch_kept(_totals_sql())
    return Totals(*rows[0])


_WRITE_CHUNK = 500


class Upserted(NamedTuple):
    """What became of rows: how many are new or changed, and which were left alone for a newer one."""

    changed: int
    newer: frozenset[ConversationId] = frozenset()


def upsert_many(
    index: WriteConnection, rows: Sequence[IndexedRow], *, as_of: int | None = None, events_too: bool = False
) -> Upserted:
    """Write conversations' rows and bodies.

    The event rows of all count as lagging behind until `events` says otherwise; where the same transaction writes
    `events_too`, only those that did before. With `as_of`, the revision at which the index stood before the files were
    read, a row that somebody else changed since is left alone: it is newer.
    """
    done = Upserted(0)
    for begin in range(0, len(rows), _WRITE_CHUNK):
        some = rows[begin : begin + _WRITE_CHUNK]
        before = find_before(index, [one.row.uuid for one in some])
        written = write_rows(index, before, some, as_of=as_of, events_too=events_too)
        done = Upserted(done.changed + written.changed, done.newer | written.newer)
    return done


def write_rows(
    index: WriteConnection,
    before: Mapping[ConversationId, Before],
    rows: Sequence[IndexedRow],
    *,
    as_of: int | None = None,
    events_too: bool = False,
) -> Upserted:
    """Do what `upsert_many` does, where what the index knows of the rows was asked for in the same transaction."""
    fresh: list[IndexedRow] = []
    known: list[tuple[Before, IndexedRow]] = []
    newer: list[ConversationId] = []
    for indexed in rows:
        stored = before.get(indexed.row.uuid)
        if stored is None:
            fresh.append(indexed)
        elif as_of is None or stored.revision <= as_of:
            known.append((stored, indexed))
        else:
            newer.append(indexed.row.uuid)
    changed = [*fresh, *(indexed for stored, indexed in known if stored.row != indexed.row)]
    revision = state.bump_revision(index) if changed else 0
    if fresh:
        insert_rows(index, fresh, revision=revision, events_behind=int(not events_too))
        change_feed.forget_deletions(index, [one.row.uuid for one in fresh])
    update_rows(index, known, revision=revision, events_behind=int(not events_too))
    parents = {parent for one in changed for parent in _touched_parents(before.get(one.row.uuid), one.row)}
    if parents:
        change_feed.touch(index, parents, revision)
    return Upserted(len(changed), frozenset(newer))


def _touched_parents(before: Before | None, now: ConversationRow) -> set[str | None]:
    """Return the conversations whose list of children changes with this row."""
    if before is None:
        return {now.parent}
    if (before.row.parent, before.row.created_at) == (now.parent, now.created_at):
        return set()
    return {before.row.parent, now.parent}


@cache
def _doomed_sql() -> Sql:
    columns = conversation.c
    return compiled(select(columns.id, columns.uuid, columns.parent).where(columns.directory == bindparam("directory")))


@cache
def _delete_sql() -> Sql:
    return compiled(delete(conversation).where(conversation.c.uuid == bindparam("uuid")))


def delete_many(index: WriteConnection, directories: Iterable[str]) -> int:
    """Delete conversations with everything that belongs to them, and return how many there were."""
    doomed = [row for directory in directories for row in index.fetch_all(_doomed_sql(), {"directory": directory})]
    if not doomed:
        return 0
    forget_messages(index, [key for key, *_ in doomed])
    index.execute_many(_delete_sql(), [{"uuid": uuid} for _, uuid, _ in doomed])
    revision = state.bump_revision(index)
    change_feed.note_deletions(index, [uuid for _, uuid, _ in doomed], revision)
    change_feed.touch(index, {parent for *_, parent in doomed}, revision)
    return len(doomed)


def distrust_all(index: WriteConnection) -> None:
    """Make the next sync read every conversation again; the rows go on being served meanwhile."""
    index.execute(update(conversation).values(signature=b"", events_behind=1))
    state.bump_revision(index)
