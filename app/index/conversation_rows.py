"""A ConversationRow as the tables hold it: its columns, tags and body, and its title as search looks through it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import orjson
from sqlalchemy import BindParameter, ColumnElement, bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from app.index.sqlite.database import WriteConnection
from app.index.sqlite.text_index import add_messages, title_said, title_text, write_messages
from app.index.statements import Sql, compiled
from app.index.tables import conversation, conversation_info, conversation_tag
from app.model.conversation import ConversationRow, IndexedRow
from app.model.ids import ConversationId

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


class Before(NamedTuple):
    """A conversation as the index has it before its row is written."""

    key: int
    generation: int
    """That of the last owner who opened it."""
    revision: int
    signature: bytes
    events_behind: int
    said: str | None
    """Its title as search looks through it."""
    row: ConversationRow


_BEFORE = (
    *(conversation.c[name] for name in ("id", "lease_generation", "revision", "signature", "events_behind")),
    title_text(),
)


def find_before(index: WriteConnection, ids: Sequence[ConversationId]) -> dict[ConversationId, Before]:
    """Return those of `ids` that the index knows."""
    found = index.fetch_all(rows_sql(len(ids), *_BEFORE), {f"id_{i}": uuid for i, uuid in enumerate(ids)})
    more = len(_BEFORE)
    stored = [Before._make((*row[:more], as_row(row[more:]))) for row in found]
    return {one.row.uuid: one for one in stored}


_WRITTEN = (*COLUMNS, "signature", "events_behind", "revision")
_LAST_KEY = Sql("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'conversation'", {})


@lru_cache(maxsize=256)
def _update_sql(names: tuple[str, ...]) -> Sql:
    """Return the statement that sets these columns; it leaves the others' indexes alone, which is most of the work."""
    values: dict[str, BindParameter[object]] = {name: bindparam(f"{name}_") for name in names}
    return compiled(update(conversation).where(conversation.c.id == bindparam("key_")).values(values))


@cache
def _upsert_info_sql() -> Sql:
    statement = insert(conversation_info)
    return compiled(
        statement.on_conflict_do_update(index_elements=["conversation"], set_={"body": statement.excluded.body})
    )


@cache
def _delete_tags_sql() -> Sql:
    return compiled(delete(conversation_tag).where(conversation_tag.c.conversation == bindparam("key")))


@cache
def _add_tag_sql() -> Sql:
    return compiled(insert(conversation_tag))


def insert_rows(index: WriteConnection, fresh: Sequence[IndexedRow], *, revision: int, events_behind: int) -> None:
    """Write rows of conversations that are not known: their keys are given here, so that nothing is looked up."""
    [[last]] = index.fetch_all(_LAST_KEY)
    keyed = [(key, indexed.row) for key, indexed in enumerate(fresh, last + 1)]
    values = [
        (key, *row[:-2], indexed.signature, events_behind, revision)
        for (key, row), indexed in zip(keyed, fresh, strict=True)
    ]
    index.insert_many(conversation, ("id", *_WRITTEN), values)
    index.execute_many(_upsert_info_sql(), [{"conversation": key, "body": row.body} for key, row in keyed])
    _add_tags(index, keyed)
    add_messages(index, [title_said(key, row.title, row.created_at) for key, row in keyed if row.title])


def update_rows(
    index: WriteConnection, known: Sequence[tuple[Before, IndexedRow]], *, revision: int, events_behind: int
) -> None:
    """Set what differs of rows that are known; `revision` is that of those of which more does than the signature.

    One that lags behind its log goes on doing so: what is appended now is not all that its event rows lack.
    """
    updates: dict[tuple[str, ...], list[dict[str, object]]] = {}
    bodies, retagged, retitled = [], [], []
    for stored, (row, signature) in known:
        behind = max(events_behind, stored.events_behind)
        now = *row[:-2], signature, behind, revision if row != stored.row else stored.revision
        was = *stored.row[:-2], stored.signature, stored.events_behind, stored.revision
        differs = {name: value for name, value, before in zip(_WRITTEN, now, was, strict=True) if value != before}
        if differs:
            values: dict[str, object] = {f"{name}_": value for name, value in differs.items()}
            updates.setdefault(tuple(differs), []).append(values | {"key_": stored.key})
        if row.body != stored.row.body:
            bodies.append({"conversation": stored.key, "body": row.body})
        if row.tags != stored.row.tags:
            retagged.append((stored.key, row))
        title = title_said(stored.key, row.title or "", row.created_at)
        if (title.text, row.created_at) != (stored.said or "", stored.row.created_at):
            retitled.append(title)
    for names, values_of_all in updates.items():
        index.execute_many(_update_sql(names), values_of_all)
    index.execute_many(_upsert_info_sql(), bodies)
    if retagged:
        index.execute_many(_delete_tags_sql(), [{"key": key} for key, _ in retagged])
        _add_tags(index, retagged)
    if retitled:
        write_messages(index, retitled)


def _add_tags(index: WriteConnection, keyed: Iterable[tuple[int, ConversationRow]]) -> None:
    """Write the tags of conversations, with their keys, that have none yet."""
    tags = [{"conversation": number, "key": key, "value": value} for number, row in keyed for key, value in row.tags]
    index.execute_many(_add_tag_sql(), tags)
