"""Comparing the index with the files: every row, body and event, by reading everything. Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, NamedTuple

import orjson

from app.files import eventlog, layout
from app.files.layout import Named
from app.files.scan import Reader
from app.index import conversations, events, stored
from app.index.engine import Index
from app.index.stored import StoredRow
from app.model.conversation import ConversationRow
from app.model.event import EventRow, gap_rows
from app.model.ids import EventName, dashed, find_conversation_id
from app.store.reading import read_rows

_BATCH = 50
_ABSENT = "-"
_SHOWN = 80
_ROW_FIELDS = [name for name in ConversationRow._fields if name not in ("uuid", "body")]


class Difference(NamedTuple):
    """One thing in which index and files disagree, and what each has, "-" for nothing."""

    conversation: str
    what: str
    in_index: str
    in_files: str


OnVerified = Callable[[int, int], None]
"""Called with the number of conversations compared, and of all."""


class _OnDisk(NamedTuple):
    row: ConversationRow | None
    log: list[EventRow]


async def verify(index: Index, reader: Reader, on_verified: OnVerified) -> AsyncIterator[Difference]:
    """Give every difference between the index and the files, in order of the directories' names.

    Raises:
        StoreUnavailable: the conversations directory cannot be read.
    """
    named, duplicates = await asyncio.to_thread(layout.list_directories, reader.root)
    for directory in duplicates:
        conversation_id = find_conversation_id(directory)
        yield Difference(dashed(conversation_id or directory), "directory", _ABSENT, f"a second one: {directory}")
    async for difference in _check_database(index):
        yield difference
    for begin in range(0, len(named), _BATCH):
        async for difference in _compare_batch(index, reader, named[begin : begin + _BATCH]):
            yield difference
        on_verified(min(begin + _BATCH, len(named)), len(named))
    async for difference in _find_extra(index, {one.directory for one in named}):
        yield difference


async def _check_database(index: Index) -> AsyncIterator[Difference]:
    async with index.read() as connection:
        damage = await stored.list_damage(connection)
        orphans = await stored.list_orphans(connection)
    for problem in damage:
        yield Difference(_ABSENT, "database", problem, _ABSENT)
    for key in orphans:
        yield Difference(_ABSENT, "orphan", f"rows of conversation key {key}, which does not exist", _ABSENT)


async def _compare_batch(index: Index, reader: Reader, named: list[Named]) -> AsyncIterator[Difference]:
    on_disk = await asyncio.to_thread(_read_all, reader, named)
    async with index.read() as connection:
        known = await stored.find_stored(connection, [one.id for one in named])
        logs = {one.row.uuid: await events.list_rows(connection, one.key) for one in known.values()}
    for one in named:
        for difference in _compare(one, on_disk[one], known.get(one.id), logs.get(one.id, [])):
            yield difference


def _read_all(reader: Reader, named: list[Named]) -> dict[Named, _OnDisk]:
    found = {}
    for one in named:
        rows, _ = read_rows(reader, [one])
        names = eventlog.list_events(reader, one.directory)
        log = [*eventlog.read_rows(reader, one.directory, names), *gap_rows(names)]
        found[one] = _OnDisk(rows[0].row if rows else None, log)
    return found


def _compare(one: Named, on_disk: _OnDisk, known: StoredRow | None, log: list[EventRow]) -> Iterator[Difference]:
    name = dashed(one.id)
    if on_disk.row is None or known is None:
        if on_disk.row is not None:
            yield Difference(name, "row", _ABSENT, one.directory)
        if known is not None:
            yield Difference(name, "row", known.row.directory, _ABSENT)
        return
    yield from _compare_fields(name, "", known.row._asdict(), on_disk.row._asdict(), _ROW_FIELDS)
    bodies = _parse(known.row.body), _parse(on_disk.row.body)
    yield from _compare_fields(name, "info.", *bodies, sorted({*bodies[0], *bodies[1]}))
    yield from _compare_logs(name, log, on_disk.log)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _compare_logs(name: str, index: list[EventRow], files: list[EventRow]) -> Iterator[Difference]:
    left: dict[EventName, EventRow] = {row.name: row for row in index}
    right: dict[EventName, EventRow] = {row.name: row for row in files}
    for event_name in sorted({*left, *right}):
        what = f"event {event_name.seq}"
        known, found = left.get(event_name), right.get(event_name)
        if known is None or found is None:
            label = event_name.event_id or "a gap"
            yield Difference(name, what, label if known else _ABSENT, label if found else _ABSENT)
            continue
        yield from _compare_fields(name, f"{what} ", _flat(known), _flat(found), _flat(known))


def _flat(row: EventRow) -> dict[str, object]:
    return {**row.facts._asdict(), "unreadable": row.unreadable}


def _compare_fields(
    name: str, prefix: str, index: dict[str, Any], files: dict[str, Any], fields: Iterable[str]
) -> Iterator[Difference]:
    for field in fields:
        left, right = index.get(field), files.get(field)
        if left != right:
            yield Difference(name, f"{prefix}{field}", _shown(left), _shown(right))


def _shown(value: object) -> str:
    text = _ABSENT if value is None else str(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


async def _find_extra(index: Index, on_disk: set[str]) -> AsyncIterator[Difference]:
    after = ""
    while True:
        async with index.read() as connection:
            rows = await conversations.list_signatures(connection, after, "\U0010ffff")
        if not rows:
            return
        for directory, _ in rows:
            if directory not in on_disk:
                conversation_id = find_conversation_id(directory)
                yield Difference(dashed(conversation_id or directory), "row", directory, _ABSENT)
        after = rows[-1][0]
