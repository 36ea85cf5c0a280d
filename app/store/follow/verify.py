"""Verify: reads all files, compares every row, body and event with the index, and with `fix` corrects the differences.

Other programs, including a server that uses this index, may write meanwhile. So a conversation that differs is compared
again while its files still change. The correction is an ingest, which keeps a row that another process has changed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import orjson

from ...errors import IndexDamaged, IndexUnusable
from ...files import layout, subagents
from ...files.fingerprint import FAILED, UNTRUSTED
from ...files.layout import ConversationDir
from ...files.log import event_log
from ...files.metadata_reader import Reader
from ...files.row_reader import read_rows, read_signatures
from ...index import (
    activity,
    consistency,
    conversation_lookup,
    conversation_rows,
    event_rows,
    log_blocks,
    messages,
    tally,
)
from ...index.conversation_rows import KnownRow
from ...index.engine import Index
from ...model.conversation import ConversationRow
from ...model.event import EventRow, gap_rows
from ...model.ids import EventName, dashed, find_conversation_id
from ...model.text.event_text import searchable_title
from ..context import StoreContext
from .full_sync import require_plausible
from .index_repair import replace_unusable
from .ingest import delete_vanished, ingest

log = logging.getLogger(__name__)

BATCH = 50
_ABSENT = "-"
_SHOWN = 80
_LOOKS = 5
_SETTLE_S = 0.6
_UNSOUND_INDEXES = {
    "words": ("the words differ from those of the messages", "what was said"),
    "title parts": ("the parts differ from those of the titles", "the titles"),
}
_ROW_FIELDS = [name for name in ConversationRow._fields if name not in ("uuid", "body", "shared")]


class Difference(NamedTuple):
    """A difference: the values in the index and in the files ("-" for none), and whether it was corrected."""

    conversation: str
    what: str
    in_index: str
    in_files: str
    fixed: bool = False


OnVerified = Callable[[int, int], None]
"""Called with the number of conversations compared, and the total."""


def ignore_verified(_done: int, _total: int) -> None:
    """Do nothing."""


class _OnDisk(NamedTuple):
    row: ConversationRow | None
    log: list[EventRow]


async def verify(
    context: StoreContext,
    on_verified: OnVerified = ignore_verified,
    *,
    fix: bool = False,
    sample: int | None = None,
    pause_s: float = 0.0,
) -> AsyncIterator[Difference]:
    """Yield every difference between the index and the files, in order of the directories' names.

    With `fix`, the differences are corrected and nothing else is written. A second directory for an id is only
    reported. `sample` is the number of randomly chosen conversations to read; None reads all. There is a pause after
    each `BATCH`.
    """
    directories, duplicates = await asyncio.to_thread(subagents.list_all, context.root)
    for directory in duplicates:
        conversation_id = find_conversation_id(directory)
        yield Difference(dashed(conversation_id or directory), "directory", _ABSENT, f"a second one: {directory}")
    async for difference in _check_database(context, fix=fix, whole=sample is None):
        yield difference
    for difference in await _check_events(context, fix=fix) if sample is None else []:
        yield difference
    chosen = directories if sample is None else sorted(random.sample(directories, min(sample, len(directories))))
    for begin in range(0, len(chosen), BATCH):
        batch = [layout.conversation_dir(directory) for directory in chosen[begin : begin + BATCH]]
        for difference in await _verify_or_replace(context, batch, fix=fix):
            yield difference
        on_verified(min(begin + BATCH, len(chosen)), len(chosen))
        await asyncio.sleep(pause_s)
    if fix:
        async with context.index.read() as connection:
            known = (await conversation_lookup.count_totals(connection)).conversations
        require_plausible(context.root, len(directories), known)
    async for difference in _find_extra(context, {*directories}, fix=fix):
        yield difference
    for difference in await _check_tally(context, fix=fix) if sample is None else []:
        yield difference


async def _check_database(context: StoreContext, *, fix: bool, whole: bool) -> AsyncIterator[Difference]:
    try:
        damage = await context.index.list_damage(whole=whole)
        async with context.index.read() as connection:
            orphans = await consistency.list_orphans(connection) if not damage else []
            stray = await messages.list_stray(connection) if not damage else []
    except IndexDamaged as error:
        damage, orphans, stray = [str(error)], [], []
    if damage and fix:
        context.index.note_damage()
        await replace_unusable(context)
    for problem in damage:
        yield Difference(_ABSENT, "database", problem, _ABSENT, fix)
    if orphans and fix:
        await context.index.write(consistency.delete_orphans)
    if stray and fix:
        await context.index.write(messages.delete_stray)
    for key in stray:
        yield Difference(_ABSENT, "message", f"a text of conversation key {key} without an event", _ABSENT, fix)
    for name in await _list_unsound(context.index) if whole and not damage else []:
        if fix:
            await context.index.write(partial(context.index.rebuild_words, name=name))
        yield Difference(_ABSENT, name, *_UNSOUND_INDEXES[name], fix)
    for key in orphans:
        yield Difference(_ABSENT, "orphan", f"rows of conversation key {key}, which does not exist", _ABSENT, fix)


async def _check_events(context: StoreContext, *, fix: bool) -> list[Difference]:
    """Compare the kept counts of events with the event rows."""
    try:
        async with context.index.read() as connection:
            keys = await activity.list_miscounted(connection)
            blocks = await log_blocks.list_miscounted(connection)
    except IndexDamaged:  # told by `_check_database`
        return []
    if keys and fix:
        await context.index.write(partial(activity.recount_activity, keys=keys))
    if blocks and fix:
        await context.index.write(partial(log_blocks.recount, changed=blocks))
    wrong = "wrong counts of events of conversation key"
    found = [Difference(_ABSENT, "activity", f"{wrong} {key}", _ABSENT, fix) for key in keys]
    return found + [Difference(_ABSENT, "block", f"{wrong} {key} from {seq} on", _ABSENT, fix) for key, seq in blocks]


async def _check_tally(context: StoreContext, *, fix: bool) -> list[Difference]:
    """Compare the kept counts of conversations with the rows. Call it last, because a wrong row is counted as it is."""
    try:
        async with context.index.read() as connection, connection.snapshot():
            wrong = await tally.list_miscounted(connection)
    except IndexDamaged:  # told by `_check_database`
        return []
    if wrong and fix:
        await context.index.write(tally.recount)
    return [Difference(_ABSENT, "tally", f"wrong counts of conversations: {name}", _ABSENT, fix) for name in wrong]


async def _list_unsound(index: Index) -> list[str]:
    try:
        return await index.list_unsound_words()
    except IndexUnusable as error:
        log.warning("the text indexes were not compared: %s", error)
        return []


async def _verify_or_replace(
    context: StoreContext, directories: Sequence[ConversationDir], *, fix: bool
) -> list[Difference]:
    """Verify some conversations. If a row cannot be read at all and `fix` is set, replace the index."""
    try:
        return await verify_some(context, directories, fix=fix)
    except IndexDamaged as error:
        damage = Difference(_ABSENT, "database", str(error), _ABSENT, fix)
        if not fix:
            return [damage]
    context.index.note_damage()
    await replace_unusable(context)
    return [damage, *await verify_some(context, directories, fix=True)]


async def verify_some(
    context: StoreContext, directories: Sequence[ConversationDir], *, fix: bool = False
) -> list[Difference]:
    """Compare some conversations, correct differences if `fix` is set, and return the differences."""
    found = await _compare_settled(context, directories)
    if fix:
        await _ingest_behind(context, [one for one in directories if one not in found])
    if not (fix and found):
        return [difference for differences in found.values() for difference in differences]
    await ingest(context, list(found), every_event=True)
    remaining = await _compare_settled(context, list(found))
    return [
        difference._replace(fixed=not any(other.what == difference.what for other in remaining.get(one, [])))
        for one, differences in found.items()
        for difference in differences
    ]


async def _ingest_behind(context: StoreContext, directories: Sequence[ConversationDir]) -> None:
    """Ingest conversations that agree but whose rows are marked as behind their logs.

    A killed process leaves such marks.
    """
    async with context.index.read() as connection:
        states = await conversation_lookup.find_states(connection, [one.id for one in directories])
    behind = [ConversationDir(one.directory, one.id) for one in states if one.events_behind]
    if behind:
        await ingest(context, behind)


async def _compare_settled(
    context: StoreContext, directories: Sequence[ConversationDir]
) -> dict[ConversationDir, list[Difference]]:
    """Compare conversations. Compare those again that changed meanwhile, and skip those that keep changing."""
    found: dict[ConversationDir, list[Difference]] = {}
    unsettled = directories
    for look in range(_LOOKS):
        if look:
            await asyncio.sleep(_SETTLE_S)
        before = await asyncio.to_thread(read_signatures, context.reader, unsettled)
        differing = await _compare_batch(context, unsettled)
        after = await asyncio.to_thread(read_signatures, context.reader, list(differing))
        unsettled = [
            one
            for one in differing
            if after[one.directory] in (UNTRUSTED, FAILED) or after[one.directory] != before[one.directory]
        ]
        found |= {one: differences for one, differences in differing.items() if one not in unsettled}
        if not unsettled:
            break
    return found


async def _compare_batch(
    context: StoreContext, directories: Sequence[ConversationDir]
) -> dict[ConversationDir, list[Difference]]:
    """Compare conversations once, and return those that differ."""
    on_disk = await asyncio.to_thread(_read_all, context.reader, directories)
    async with context.index.read() as connection:
        stored = await conversation_rows.find_known(connection, [one.id for one in directories])
        logs = {one.row.uuid: await event_rows.list_rows(connection, one.key) for one in stored.values()}
    compared = {one: list(_compare(one, on_disk[one], stored.get(one.id), logs.get(one.id, []))) for one in directories}
    for one in directories:
        if (in_index := stored.get(one.id)) and (row := on_disk[one].row):
            title = {"title in search": searchable_title(row.title or "") or None}
            indexed_title = {"title in search": in_index.searched_title}
            compared[one] += _compare_fields(dashed(one.id), "", indexed_title, title, title)
    return {one: differences for one, differences in compared.items() if differences}


def _read_all(reader: Reader, directories: Sequence[ConversationDir]) -> dict[ConversationDir, _OnDisk]:
    found = {}
    for one in directories:
        rows, _ = read_rows(reader, [one])
        names = event_log.list_events(reader, one.directory)
        log = [*event_log.read_rows(reader, one.directory, names)[0], *gap_rows(names)]
        found[one] = _OnDisk(rows[0].row if rows else None, log)
    return found


def _compare(
    directory: ConversationDir, on_disk: _OnDisk, stored: KnownRow | None, log: list[EventRow]
) -> Iterator[Difference]:
    name = dashed(directory.id)
    if on_disk.row is None or stored is None:
        if on_disk.row is not None:
            yield Difference(name, "row", _ABSENT, directory.directory)
        if stored is not None:
            yield Difference(name, "row", stored.row.directory, _ABSENT)
        return
    yield from _compare_fields(name, "", stored.row._asdict(), on_disk.row._asdict(), _ROW_FIELDS)
    bodies = _parse(stored.row.whole_body), _parse(on_disk.row.whole_body)
    in_body = list(_compare_fields(name, "info.", *bodies, sorted({*bodies[0], *bodies[1]})))
    yield from in_body
    if not in_body and stored.row.whole_body != on_disk.row.whole_body:  # a missing field is as null as a null one
        yield Difference(name, "info", "the same values in other bytes", _ABSENT)
    yield from _compare_logs(name, log, on_disk.log)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _compare_logs(name: str, index: list[EventRow], files: list[EventRow]) -> Iterator[Difference]:
    in_index: dict[EventName, EventRow] = {row.name: row for row in index}
    in_files: dict[EventName, EventRow] = {row.name: row for row in files}
    for event_name in sorted({*in_index, *in_files}):
        what = f"event {event_name.seq}"
        indexed, read = in_index.get(event_name), in_files.get(event_name)
        if indexed is None or read is None:
            label = event_name.event_id or "a gap"
            yield Difference(name, what, label if indexed else _ABSENT, label if read else _ABSENT)
            continue
        yield from _compare_fields(name, f"{what} ", _as_dict(indexed), _as_dict(read), _as_dict(indexed))


def _as_dict(row: EventRow) -> dict[str, object]:
    return {**row.facts._asdict(), "unreadable": row.unreadable}


def _compare_fields(
    name: str, prefix: str, index: dict[str, Any], files: dict[str, Any], fields: Iterable[str]
) -> Iterator[Difference]:
    for field in fields:
        in_index, in_files = index.get(field), files.get(field)
        if in_index != in_files:
            yield Difference(name, f"{prefix}{field}", _shorten(in_index), _shorten(in_files))


def _shorten(value: object) -> str:
    text = _ABSENT if value is None else str(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


async def _find_extra(context: StoreContext, on_disk: set[str], *, fix: bool) -> AsyncIterator[Difference]:
    """Yield the rows whose directory does not exist."""
    after = ""
    while True:
        async with context.index.read() as connection:
            rows = await conversation_lookup.list_signatures(connection, after, "\U0010ffff")
        if not rows:
            return
        extra = [directory for directory, _ in rows if directory not in on_disk]
        extra = [one for one in extra if not await asyncio.to_thread(layout.is_directory, context.root, one)]
        if extra and fix:
            await context.index.write(partial(delete_vanished, root=context.root, directories=extra))
        for directory in extra:
            conversation_id = find_conversation_id(directory)
            yield Difference(dashed(conversation_id or directory), "row", directory, _ABSENT, fix)
        after = rows[-1][0]
