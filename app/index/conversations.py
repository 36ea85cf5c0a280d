"""Conversations: finding them by id, by place and by state; and writing their rows. Lists are in `listing`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from sqlalchemy import BindParameter, bindparam, delete, func, literal_column, select, update
from sqlalchemy.dialects.sqlite import insert

from app.index import changes, progress
from app.index.engine import ReadConnection, WriteConnection
from app.index.infos import compose_info_body, select_info
from app.index.messages import add_messages, forget_messages, title_said, title_text, write_titles
from app.index.rows import COLUMNS, add_tags, as_row, replace_tags, rows_sql
from app.index.statements import Sql, compiled
from app.index.tables import conversation, conversation_info
from app.model.conversation import ConversationRow, IndexedRow
from app.model.ids import ConversationId
from app.model.said import said_title

SIGNATURE_CHUNK = 2000


class Located(NamedTuple):
    """Where a conversation is, in the index and on disk."""

    key: int
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
        select(columns.id, columns.directory, columns.signature, columns.events_behind).where(
            columns.uuid == bindparam("uuid")
        )
    )


async def locate_conversation(index: ReadConnection, conversation_id: ConversationId) -> Located | None:
    """Return where a conversation is, or None when the index has none of this id."""
    row = await index.fetch_one(_locate_sql(), {"uuid": conversation_id})
    return Located(row[0], row[1], row[2], bool(row[3])) if row else None


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


_INSERTED = ("id", *COLUMNS, "signature", "events_behind", "revision")


@lru_cache(maxsize=256)
def _update_sql(names: tuple[str, ...]) -> Sql:
    """Return the statement that sets these columns; it leaves the others' indexes alone, which is most of the work."""
    values: dict[str, BindParameter[object]] = {name: bindparam(f"{name}_") for name in names}
    return compiled(update(conversation).where(conversation.c.uuid == bindparam("uuid_")).values(values))


@cache
def _upsert_info_sql() -> Sql:
    found = select(conversation.c.id, bindparam("body")).where(conversation.c.uuid == bindparam("uuid"))
    statement = insert(conversation_info).from_select(["conversation", "body"], found)
    return compiled(
        statement.on_conflict_do_update(index_elements=["conversation"], set_={"body": statement.excluded.body})
    )


@cache
def _insert_info_sql() -> Sql:
    return compiled(insert(conversation_info))


_LAST_KEY = Sql("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'conversation'", {})


class _Before(NamedTuple):
    """A row as the index has it before it is written."""

    revision: int
    signature: bytes
    events_behind: int
    said: str | None
    """Its title as search looks through it."""
    row: ConversationRow


_BEFORE = (conversation.c.revision, conversation.c.signature, conversation.c.events_behind, title_text())


async def upsert_many(
    index: WriteConnection, rows: Sequence[IndexedRow], *, as_of: int | None = None, events_too: bool = False
) -> int:
    """Write conversations' rows and bodies, and return how many of them are new or changed.

    The event rows of all count as lagging behind until `events` says otherwise, unless the same transaction writes
    `events_too`. With `as_of`, the revision at which the index stood before the files were read, a row that somebody
    else changed since is left alone: it is newer.
    """
    changed = 0
    for begin in range(0, len(rows), _WRITE_CHUNK):
        changed += await _upsert(index, rows[begin : begin + _WRITE_CHUNK], as_of, int(not events_too))
    return changed


async def _upsert(index: WriteConnection, rows: Sequence[IndexedRow], as_of: int | None, events_behind: int) -> int:
    wanted = {f"id_{i}": indexed.row.uuid for i, indexed in enumerate(rows)}
    found = await index.fetch_all(rows_sql(len(rows), *_BEFORE), wanted)
    more = len(_BEFORE)
    before = {one.row.uuid: one for one in (_Before._make((*row[:more], as_row(row[more:]))) for row in found)}
    fresh: list[IndexedRow] = []
    known: list[tuple[_Before, IndexedRow]] = []
    for indexed in rows:
        stored = before.get(indexed.row.uuid)
        if stored is None:
            fresh.append(indexed)
        elif as_of is None or stored.revision <= as_of:
            known.append((stored, indexed))
    changed = [*fresh, *(indexed for stored, indexed in known if stored.row != indexed.row)]
    revision = await progress.bump_revision(index) if changed else 0
    await _insert(index, fresh, revision, events_behind)
    await _update(index, known, revision, events_behind)
    if changed:
        parents = {parent for one in changed for parent in _touched_parents(before.get(one.row.uuid), one.row)}
        await changes.touch(index, parents, revision)
    return len(changed)


async def _insert(index: WriteConnection, fresh: Sequence[IndexedRow], revision: int, events_behind: int) -> None:
    """Write rows of conversations that are not known: their keys are given here, so that nothing is looked up."""
    if not fresh:
        return
    [[last]] = await index.fetch_all(_LAST_KEY)
    keyed = [(key, indexed.row) for key, indexed in enumerate(fresh, last + 1)]
    values = [
        (key, *row[:-2], indexed.signature, events_behind, revision)
        for (key, row), indexed in zip(keyed, fresh, strict=True)
    ]
    await index.insert_many(conversation, _INSERTED, values)
    await index.execute_many(_insert_info_sql(), [{"conversation": key, "body": row.body} for key, row in keyed])
    await add_tags(index, keyed)
    await add_messages(index, [title_said(key, row.title, row.created_at) for key, row in keyed if row.title])
    await changes.forget_deletions(index, [row.uuid for _, row in keyed])


async def _update(
    index: WriteConnection, known: Sequence[tuple[_Before, IndexedRow]], revision: int, events_behind: int
) -> None:
    """Set what differs of rows that are known."""
    updates: dict[tuple[str, ...], list[dict[str, object]]] = {}
    bodies = []
    for stored, (row, signature) in known:
        differs = {name: getattr(row, name) for name in COLUMNS if getattr(row, name) != getattr(stored.row, name)}
        if row != stored.row:
            differs["revision"] = revision
        if signature != stored.signature:
            differs["signature"] = signature
        if events_behind != stored.events_behind:
            differs["events_behind"] = events_behind
        if differs:
            values = {f"{name}_": value for name, value in differs.items()}
            updates.setdefault(tuple(differs), []).append(values | {"uuid_": row.uuid})
        if row.body != stored.row.body:
            bodies.append({"uuid": row.uuid, "body": row.body})
    for names, values_of_all in updates.items():
        await index.execute_many(_update_sql(names), values_of_all)
    await index.execute_many(_upsert_info_sql(), bodies)
    await replace_tags(index, [row for stored, (row, _) in known if row.tags != stored.row.tags])
    titles = {row.uuid: (said_title(row.title or ""), row.created_at) for _, (row, _) in known}
    before = {stored.row.uuid: (stored.said or "", stored.row.created_at) for stored, _ in known}
    await write_titles(index, {uuid: title for uuid, title in titles.items() if title != before[uuid]})


def _touched_parents(before: _Before | None, now: ConversationRow) -> set[str | None]:
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


async def delete_many(index: WriteConnection, directories: Iterable[str]) -> int:
    """Delete conversations with everything that belongs to them, and return how many there were."""
    doomed = [
        row for directory in directories for row in await index.fetch_all(_doomed_sql(), {"directory": directory})
    ]
    if not doomed:
        return 0
    await forget_messages(index, [key for key, *_ in doomed])
    await index.execute_many(_delete_sql(), [{"uuid": uuid} for _, uuid, _ in doomed])
    revision = await progress.bump_revision(index)
    await changes.note_deletions(index, [uuid for _, uuid, _ in doomed], revision)
    await changes.touch(index, {parent for *_, parent in doomed}, revision)
    return len(doomed)


async def distrust_all(index: WriteConnection) -> None:
    """Make the next sync read every conversation again; the rows go on being served meanwhile."""
    await index.execute(update(conversation).values(signature=b"", events_behind=1))
