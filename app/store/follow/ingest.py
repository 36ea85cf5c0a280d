"""Ingest: turns files into rows. All new and changed conversations get into the index only this way.

It is called when a conversation is accessed, by the watcher, after a write, and by verify --fix. The full sync calls
`write_rows` for its batches. Each transaction compares its rows with the disk once more, so that a conversation that
was just deleted or restored gets the correct result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from ...errors import StoreUnavailable
from ...files import layout, subagents
from ...files.fingerprint import FAILED, UNTRUSTED
from ...files.layout import ConversationDir
from ...files.metadata_reader import Reader
from ...files.row_reader import find_present, read_changes, read_rows, read_signatures
from ...index import conversation_lookup, conversation_rows, event_copies, event_rows, state
from ...index.connections import WriteConnection
from ...index.conversation_lookup import IndexedState
from ...index.state import Revision
from ...model.conversation import ConversationRow, IndexedRow
from ...model.costs import find_growth
from ...model.event import KnownLog
from ...model.ids import ConversationId
from ..context import StoreContext
from .index_settings import adopt_index_settings, record_derivation

LOOKS = 3
"""The maximum number of times that a conversation is read if others keep changing its row."""

_COPIED_AT_ONCE = 2048
"""The number of events whose rows are copied in one transaction, which takes about 20 ms. A multiple of log blocks."""

_NONE_KNOWN: Mapping[str, bytes] = MappingProxyType({})
_IN_DOUBT = "in doubt"
"""The `unreadable` reason of an event row whose file must be read again."""


@dataclass(slots=True)
class IngestReport:
    """The number of new and changed rows, the number of deleted rows, and the directories without a conversation.

    `empty` maps such a directory to its signature, computed before it was read.
    """

    changed: int = 0
    removed: int = 0
    empty: dict[ConversationDir, bytes] = field(default_factory=dict)


class RowsWritten(NamedTuple):
    """The result of `write_rows`.

    `rows` were written, except those in `again`. Directories in `again` must be read once more: the index has a newer
    row, or the directory was filled after it was found empty. Directories in `gone` are not conversations; `removed` of
    them had a row. `changed` counts the new and changed rows, and `usages` has (before, now) of changed usages.
    """

    rows: list[IndexedRow]
    gone: list[ConversationDir]
    again: list[ConversationDir]
    changed: int = 0
    removed: int = 0
    usages: tuple[tuple[str | None, str | None], ...] = ()


def note_spent(context: StoreContext, written: RowsWritten) -> None:
    """Count the cost and tokens of committed rows that the index did not know before."""
    for before, now in written.usages:
        for model, grown in find_growth(before, now, context.opened_hour).items():
            context.index.note("cost", grown.cost, model=model)
            for kind, number in zip(("prompt", "completion"), grown[1:], strict=False):
                context.index.note("tokens", number, model=model, kind=kind)


async def ingest(
    context: StoreContext,
    directories: Collection[ConversationDir],
    *,
    signatures: Mapping[str, bytes] = _NONE_KNOWN,
    every_event: bool = False,
    copied_from: ConversationId | None = None,
) -> IngestReport:
    """Read conversations and write their rows and their new events, or with `every_event` all events.

    A log that was just copied from the conversation `copied_from` gets its event rows, and only its other events are
    read. `signatures` are those that the caller has just read. A conversation that is deleted meanwhile gets no row.
    If another process changes a row meanwhile, the conversation is read again, at most `LOOKS` times; later changes
    are found by the watcher.

    Raises:
        IndexBusy: another process is the leader, and its derivation is unknown to this version.
        StoreUnavailable: all conversations vanished during the read; nothing was written.
    """
    await adopt_index_settings(context)
    report = IngestReport()
    directories = [*directories, *await _find_changed_below(context, directories)]
    read: dict[ConversationId, None] = {}
    for _ in range(LOOKS):
        written = await _ingest_rows(context, directories, signatures, report)
        read |= {indexed.row.uuid: None for indexed in written.rows}
        directories, signatures = written.again, _NONE_KNOWN
        if not directories:
            break
    if copied_from is not None:
        for indexed in written.rows:
            await _copy_events(context, copied_from, indexed.row)
    if read:
        await _ingest_logs(context, list(read), every_event=every_event)
    return report


async def _find_changed_below(context: StoreContext, directories: Collection[ConversationDir]) -> list[ConversationDir]:
    """Return the conversations of sub-agents below others whose rows are missing or out of date.

    A new sub-agent changes the signature of its parent, so it is found when the parent is read.
    """
    names = [one.directory for one in directories]
    below = await asyncio.to_thread(subagents.list_below_all, context.root, names)
    below = [one for one in dict.fromkeys(below) if one.directory not in names]
    if not below:
        return []
    async with context.index.read() as connection:
        states = await conversation_lookup.find_states(connection, [one.id for one in below])
    known = {one.id: one for one in states}
    signatures = await asyncio.to_thread(read_signatures, context.reader, below)
    return [one for one in below if _is_out_of_date(context.root, one, known.get(one.id), signatures[one.directory])]


def _is_out_of_date(root: Path, one: ConversationDir, known: IndexedState | None, signature: bytes) -> bool:
    if known is None:
        return True
    if known.directory != one.directory:  # two directories for one id: keep the one that the index has
        return not layout.is_directory(root, known.directory)
    return signature in (UNTRUSTED, FAILED) or signature != known.signature


async def _ingest_rows(
    context: StoreContext,
    directories: Collection[ConversationDir],
    signatures: Mapping[str, bytes],
    report: IngestReport,
) -> RowsWritten:
    opened = context.index.opened
    async with context.index.read() as connection:
        as_of = await state.get_revision(connection)
    signatures, rows, empty = await asyncio.to_thread(_read, context.reader, directories, signatures)
    gone = empty
    if gone and not await asyncio.to_thread(layout.has_conversations, context.root):
        gone = []  # the whole disk may be unmounted
    written = RowsWritten([], gone, [])
    if rows or gone:
        work = partial(write_rows, context=context, read=rows, empty=gone, as_of=as_of)
        written = await context.index.write(work, read_from=opened)
        note_spent(context, written)
    report.changed += written.changed
    report.removed += written.removed
    report.empty |= {one: signatures[one.directory] for one in empty if one not in written.again}
    return written


def _read(
    reader: Reader, directories: Collection[ConversationDir], known: Mapping[str, bytes]
) -> tuple[dict[str, bytes], list[IndexedRow], list[ConversationDir]]:
    signatures = {**known, **read_signatures(reader, [one for one in directories if one.directory not in known])}
    return signatures, *read_rows(reader, directories, signatures)


def write_rows(
    connection: WriteConnection,
    context: StoreContext,
    read: Sequence[IndexedRow],
    empty: Sequence[ConversationDir],
    as_of: Revision,
    *,
    allow_empty: bool = False,
) -> RowsWritten:
    """Write the rows of conversations that were read at revision `as_of`, and delete the rows of `empty` ones.

    If the index was rebuilt meanwhile, nothing is written and all conversations must be read again, because revisions
    of different builds are not comparable.

    Raises:
        StoreUnavailable: rows were deleted, the disk has no conversation, and `allow_empty` is false. The transaction
            must not be committed.
    """
    if state.get_revision_to_write(connection).epoch != as_of.epoch:
        return RowsWritten([], [], [*map(_directory_of, read), *empty])
    present = find_present(context.root, [one.row.directory for one in read])
    rows = [one for one in read if one.row.directory in present]
    gone = [*empty, *(_directory_of(one) for one in read if one.row.directory not in present)]
    removed, filled = delete_empty(connection, context.reader, gone)
    if removed and not allow_empty:
        require_conversations(context.root)
    if rows:
        record_derivation(connection, context.reader)
    upserted = conversation_rows.upsert_many(connection, rows, as_of=as_of.revision)
    again = [_directory_of(one) for one in rows if one.row.uuid in upserted.newer] + filled
    gone = [one for one in gone if one not in filled]
    return RowsWritten(rows, gone, again, upserted.changed, removed, upserted.usages)


def _directory_of(indexed: IndexedRow) -> ConversationDir:
    return ConversationDir(indexed.row.directory, indexed.row.uuid)


def delete_empty(
    connection: WriteConnection, reader: Reader, directories: Sequence[ConversationDir]
) -> tuple[int, list[ConversationDir]]:
    """Delete the rows of directories that are not conversations now: they are missing or have only lock files.

    Returns the number of deleted rows, and the directories that are conversations after all. These are read inside the
    transaction for the reason given at `delete_vanished`: a conversation that was just restored already has its row.
    """
    if not directories:
        return 0, []
    _, empty = read_rows(reader, directories)
    removed = conversation_rows.delete_many(connection, [one.directory for one in empty])
    return removed, [one for one in directories if one not in empty]


def delete_vanished(
    connection: WriteConnection, root: Path, directories: Sequence[str], *, allow_empty: bool = False
) -> int:
    """Delete the rows of directories that do not exist, and return the number of deleted rows.

    The check is inside the transaction, so nothing can change in between: a conversation is created or deleted first on
    disk, and then in the index.

    Raises:
        StoreUnavailable: the disk has no conversation, and `allow_empty` is false. The transaction must not be
            committed.
    """
    present = find_present(root, directories)
    removed = conversation_rows.delete_many(connection, [one for one in directories if one not in present])
    if removed and not allow_empty:
        require_conversations(root)
    return removed


def require_conversations(root: Path) -> None:
    """Raise StoreUnavailable if no conversation exists. Called after rows were deleted, before the commit."""
    if not layout.has_conversations(root):
        raise StoreUnavailable(
            f"the conversations directory {root} is missing or empty, but the index has conversations; "
            "check that its disk is mounted; if all were removed on purpose, run `convstore index sync --allow-empty`"
        )


async def _copy_events(context: StoreContext, source: ConversationId, copy: ConversationRow) -> None:
    """Copy the event rows of `source`, a part in each transaction, so that other writers need not wait for a long log.

    The caller compares the rows with the copy's files: it reads the files that have no row, and deletes the rows that
    have no file.
    """
    opened = context.index.opened
    for first in range(0, copy.event_count, _COPIED_AT_ONCE):
        last = first + _COPIED_AT_ONCE - 1
        work = partial(event_copies.copy_events, source=source, target=copy.uuid, first=first, last=last)
        await context.index.write(work, read_from=opened)


async def _ingest_logs(context: StoreContext, ids: Sequence[ConversationId], *, every_event: bool) -> None:
    opened = context.index.opened
    async with context.index.read() as connection:
        states = await conversation_lookup.find_states(connection, ids)
        known = await event_rows.list_known(connection, [one.key for one in states])
    if every_event:
        known = {key: dict.fromkeys(names, _IN_DOUBT) for key, names in known.items()}
    logs = [KnownLog(one.key, one.directory, known[one.key]) for one in states]
    if logs:
        changes = await asyncio.to_thread(read_changes, context.reader, logs)
        await context.index.write(partial(event_rows.apply_changes, changes=changes), read_from=opened)
