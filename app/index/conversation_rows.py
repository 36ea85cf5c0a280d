"""Writing and deleting the rows of conversations: columns, tags, body and searchable title."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from operator import ne
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson
from sqlalchemy import bindparam, delete, select, update

from ..model.conversation import ConversationRow, IndexedRow
from ..model.ids import ConversationId
from ..model.text.event_text import searchable_title
from . import change_feed, shared_fields, state, tally
from .connections import ReadConnection, WriteConnection
from .dialect import Sql, as_json_list, as_json_pair, compiled, insert, is_any_of
from .messages import add_messages, delete_messages, title_message, title_text, write_messages
from .tables import conversation, conversation_info, conversation_tag, shared_info

COLUMNS = [name for name in ConversationRow._fields if name not in ("tags", "preview", "shared", "body")]
"""The fields of ConversationRow that are columns of `conversation`. They come first in both."""

_NUMBER = len(COLUMNS)
_INFO = (conversation_info.c.preview, shared_info.c.body, conversation_info.c.body)


class KnownRow(NamedTuple):
    """A conversation's row as it is in the index now."""

    key: int
    generation: int
    """The lease generation of the last owner who opened the conversation."""
    revision: int
    signature: bytes
    events_behind: int
    searched_title: str | None
    """The searchable title."""
    row: ConversationRow
    """The body is empty if the index has none."""


@cache
def known_sql() -> Sql:
    """Return the statement that reads conversations by id."""
    columns = conversation.c
    pair = as_json_pair(conversation_tag.c.key, conversation_tag.c.value)
    mine = select().select_from(conversation_tag).where(conversation_tag.c.conversation == columns.id)
    tags = as_json_list(pair, mine.correlate(conversation))
    more = (columns.id, columns.lease_generation, columns.revision, columns.signature, columns.events_behind)
    return compiled(
        select(*more, title_text(), *(columns[name] for name in COLUMNS), tags, *_INFO)
        .join_from(conversation, conversation_info, conversation_info.c.conversation == columns.id, isouter=True)
        .join(shared_info, shared_info.c.hash == conversation_info.c.shared, isouter=True)
        .where(is_any_of(columns.uuid, "ids"))
    )


@cache
def _versions_sql(*, of_one: bool) -> Sql:
    """Return the statement for what may have changed of some conversations. One is found without a list, in a third."""
    columns = conversation.c
    versions = (columns.lease_generation, columns.revision, columns.signature, columns.events_behind)
    asked = columns.id == bindparam("key") if of_one else is_any_of(columns.id, "keys")
    return compiled(select(columns.uuid, columns.id, *versions).where(asked))


def _as_known(values: Sequence[Any]) -> KnownRow:
    key, generation, revision, signature, events_behind, searched_title, *columns, tags, preview, shared, body = values
    pairs = sorted((name, value) for name, value in orjson.loads(tags))
    row = ConversationRow._make((*columns, tuple(pairs), preview, _as_bytes(shared), _as_bytes(body)))
    return KnownRow(key, generation, revision, signature, events_behind, searched_title, row)


def _as_bytes(stored: bytes | str | None) -> bytes:
    """Return a body as bytes, also of a damaged index that has it as text or not at all."""
    return stored.encode() if isinstance(stored, str) else stored or b""


def _asked_ids(ids: Sequence[ConversationId]) -> dict[str, object]:
    return {"ids": orjson.dumps(ids).decode()}


async def find_known(index: ReadConnection, ids: Sequence[ConversationId]) -> dict[ConversationId, KnownRow]:
    """Return the rows of those of `ids` that are in the index."""
    rows = await index.fetch_all(known_sql(), _asked_ids(ids)) if ids else []
    return {one.row.uuid: one for one in map(_as_known, rows)}


def find_known_to_write(
    index: WriteConnection,
    ids: Sequence[ConversationId],
    remembered: Mapping[ConversationId, KnownRow] = MappingProxyType({}),
) -> dict[ConversationId, KnownRow]:
    """Do the same as `find_known`, inside a write transaction.

    `remembered` are rows of earlier transactions. Those with the current revision are not read again.
    """
    known = _find_unchanged(index, remembered) if remembered else {}
    others = [one for one in ids if one not in known]
    if others:
        found = map(_as_known, index.fetch_all(known_sql(), _asked_ids(others)))
        known |= {one.row.uuid: one for one in found}
    return known


def _find_unchanged(
    index: WriteConnection, remembered: Mapping[ConversationId, KnownRow]
) -> dict[ConversationId, KnownRow]:
    """Return the remembered rows whose revision and signature are unchanged; a new index may have the same revision."""
    unchanged = {}
    keys = [one.key for one in remembered.values()]
    asked = {"key": keys[0]} if len(keys) == 1 else {"keys": orjson.dumps(keys).decode()}
    rows = index.fetch_all(_versions_sql(of_one=len(keys) == 1), asked)
    for uuid, key, generation, revision, signature, events_behind in rows:
        before = remembered.get(uuid)
        if before is not None and (key, revision, signature) == (before.key, before.revision, before.signature):
            unchanged[uuid] = KnownRow(
                key, generation, revision, signature, events_behind, before.searched_title, before.row
            )
    return unchanged


_WRITTEN = (*COLUMNS, "signature", "events_behind", "revision")
_PARAMETERS = tuple(f"{name}_" for name in _WRITTEN)


@lru_cache(maxsize=256)
def _update_sql(places: tuple[int, ...]) -> Sql:
    """Return the statement that sets only these of `_WRITTEN`, because updating database indexes costs most."""
    values = ", ".join(f"{_WRITTEN[place]} = :{_PARAMETERS[place]}" for place in places)
    return Sql(f"UPDATE conversation SET {values} WHERE id = :key_", {})  # noqa: S608


@cache
def _upsert_info_sql() -> Sql:
    statement = insert(conversation_info)
    return compiled(
        statement.on_conflict_do_update(
            index_elements=["conversation"],
            set_={name: statement.excluded[name] for name in ("body", "preview", "shared")},
        )
    )


@cache
def _update_info_sql() -> Sql:
    """Return the statement for a change that leaves the shared fields as they are, such as an append."""
    names = ("body", "preview")
    return compiled(
        update(conversation_info)
        .where(conversation_info.c.conversation == bindparam("conversation_"))
        .values({name: bindparam(f"{name}_") for name in names})
    )


@cache
def _delete_tags_sql() -> Sql:
    return compiled(delete(conversation_tag).where(conversation_tag.c.conversation == bindparam("key")))


@cache
def _add_tag_sql() -> Sql:
    return compiled(insert(conversation_tag))


def insert_rows(index: WriteConnection, fresh: Sequence[IndexedRow], *, revision: int, events_behind: int) -> None:
    """Write rows of new conversations. Keys are assigned here, so that they need not be read back."""
    first = index.reserve_keys(len(fresh))
    keyed = [(key, indexed.row) for key, indexed in enumerate(fresh, first)]
    values = [
        (key, *row[:_NUMBER], indexed.signature, events_behind, revision)
        for (key, row), indexed in zip(keyed, fresh, strict=True)
    ]
    index.insert_many(conversation, ("id", *_WRITTEN), values)
    _upsert_infos(index, keyed)
    _add_tags(index, keyed)
    add_messages(index, [title_message(key, row.title, row.created_at) for key, row in keyed])


def _update_columns(
    index: WriteConnection, known: Sequence[tuple[KnownRow, IndexedRow]], *, revision: int, events_behind: int
) -> None:
    """Set the columns that differ. A row that differs in more than its signature gets the `revision`.

    `events_behind` is never reset here, because an append adds only its own events, and others may be missing.
    """
    updates: dict[tuple[int, ...], list[dict[str, object]]] = {}
    bodies, others, retagged = [], [], []
    replaced = set()
    for stored, (row, signature) in known:
        behind = max(events_behind, stored.events_behind)
        now = *row[:_NUMBER], signature, behind, revision if row != stored.row else stored.revision
        was = *stored.row[:_NUMBER], stored.signature, stored.events_behind, stored.revision
        differs = [place for place, is_other in enumerate(map(ne, now, was)) if is_other]
        if differs:
            values: dict[str, object] = {_PARAMETERS[place]: now[place] for place in differs}
            values["key_"] = stored.key
            updates.setdefault(tuple(differs), []).append(values)
        if row.shared != stored.row.shared or not stored.row.body:
            others.append((stored.key, row))
            replaced.add(stored.row.shared)
        elif (row.body, row.preview) != (stored.row.body, stored.row.preview):
            bodies.append({"conversation_": stored.key, "body_": row.body, "preview_": row.preview})
        if row.tags != stored.row.tags:
            retagged.append((stored.key, row))
    for places, values_of_all in updates.items():
        index.execute_many(_update_sql(places), values_of_all)
    if bodies:
        index.execute_many(_update_info_sql(), bodies)
    if others:
        _upsert_infos(index, others)
        shared_fields.delete_unused(index, replaced)
    if retagged:
        index.execute_many(_delete_tags_sql(), [{"key": key} for key, _ in retagged])
        _add_tags(index, retagged)


def _upsert_infos(index: WriteConnection, keyed: Sequence[tuple[int, ConversationRow]]) -> None:
    """Write the bodies of conversations, each with its key."""
    hashes = shared_fields.add(index, [row.shared for _, row in keyed])
    infos = [
        {"conversation": key, "body": row.body, "preview": row.preview, "shared": hashes.get(row.shared)}
        for key, row in keyed
    ]
    index.execute_many(_upsert_info_sql(), infos)


def _add_tags(index: WriteConnection, keyed: Iterable[tuple[int, ConversationRow]]) -> None:
    """Write the tags of conversations that have none yet; each row comes with its key."""
    tags = [{"conversation": number, "key": key, "value": value} for number, row in keyed for key, value in row.tags]
    index.execute_many(_add_tag_sql(), tags)


_WRITE_CHUNK = 500


class Upserted(NamedTuple):
    """The number of new and changed rows, and the rows that were skipped because the index has newer ones.

    `usages` has (before, now) of the rows whose usage changed. `revision` is that of the new and changed rows, or 0 if
    there are none, or if chunks of rows have different ones.
    """

    changed: int
    newer: frozenset[ConversationId] = frozenset()
    usages: tuple[tuple[str | None, str | None], ...] = ()
    revision: int = 0


def upsert_many(
    index: WriteConnection, rows: Sequence[IndexedRow], *, as_of: int | None = None, events_too: bool = False
) -> Upserted:
    """Write the rows and bodies of conversations.

    Their event rows count as out of date until `event_rows.apply_changes` has written them. With `events_too`, the same
    transaction writes the event rows, so only rows that were out of date before stay so.

    `as_of` is the revision of the index before the files were read. A row that another process changed since then is
    newer and is skipped.
    """
    done = Upserted(0)
    for begin in range(0, len(rows), _WRITE_CHUNK):
        some = rows[begin : begin + _WRITE_CHUNK]
        before = find_known_to_write(index, [one.row.uuid for one in some])
        written = upsert_rows(index, before, some, as_of=as_of, events_too=events_too)
        done = Upserted(done.changed + written.changed, done.newer | written.newer, done.usages + written.usages)
    return done


def upsert_rows(
    index: WriteConnection,
    before: Mapping[ConversationId, KnownRow],
    rows: Sequence[IndexedRow],
    *,
    as_of: int | None = None,
    events_too: bool = False,
) -> Upserted:
    """Do the same as `upsert_many`. `before` was read by `find_known_to_write` in the same transaction."""
    fresh: list[IndexedRow] = []
    known: list[tuple[KnownRow, IndexedRow]] = []
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
    _update_columns(index, known, revision=revision, events_behind=int(not events_too))
    changes = [(None, one.row) for one in fresh] + [(stored.row, one.row) for stored, one in known]
    tally.add_changes(index, changes)
    retitled = [
        title_message(stored.key, row.title, row.created_at)
        for stored, (row, _) in known
        if searchable_title(row.title or "") != (stored.searched_title or "") or row.created_at != stored.row.created_at
    ]
    if retitled:
        write_messages(index, retitled)
    parents = {parent for one in changed for parent in _touched_parents(before.get(one.row.uuid), one.row)}
    if parents:
        change_feed.touch_conversations(index, parents, revision)
    usages: list[tuple[str | None, str | None]] = [(None, row.usage) for row, _ in fresh if row.usage]
    usages += [(stored.row.usage, row.usage) for stored, (row, _) in known if row.usage != stored.row.usage]
    return Upserted(len(changed), frozenset(newer), tuple(usages), revision)


def _touched_parents(before: KnownRow | None, now: ConversationRow) -> set[str | None]:
    """Return the parents whose list of children changes."""
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
    """Delete conversations by directory, with all their rows, and return their number."""
    doomed = [row for directory in directories for row in index.fetch_all(_doomed_sql(), {"directory": directory})]
    if not doomed:
        return 0
    delete_messages(index, [key for key, *_ in doomed])
    uuids = [ConversationId(uuid) for _, uuid, _ in doomed]
    shared: set[bytes] = set()
    for begin in range(0, len(uuids), _WRITE_CHUNK):
        known = find_known_to_write(index, uuids[begin : begin + _WRITE_CHUNK])
        tally.add_changes(index, [(one.row, None) for one in known.values()])
        shared |= {one.row.shared for one in known.values()}
    index.execute_many(_delete_sql(), [{"uuid": uuid} for _, uuid, _ in doomed])
    shared_fields.delete_unused(index, shared)
    revision = state.bump_revision(index)
    change_feed.note_deletions(index, [uuid for _, uuid, _ in doomed], revision)
    change_feed.touch_conversations(index, {parent for *_, parent in doomed}, revision)
    return len(doomed)


@cache
def _any_sql() -> Sql:
    return compiled(select(conversation.c.id).limit(1))


def has_any(index: WriteConnection) -> bool:
    """Return whether the index has a row of a conversation."""
    return bool(index.fetch_all(_any_sql()))


def invalidate_all(index: WriteConnection) -> None:
    """Make the next sync read every conversation again. Until then, the current rows are served."""
    index.execute(update(conversation).values(signature=b"", events_behind=1))
    state.bump_revision(index)
