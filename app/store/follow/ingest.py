"""From files to rows: the one way in which conversations that are new or changed get into the index.

It is called when a conversation is accessed, by the watcher, after a write, by verify --fix, and by the full sync,
which reads in many batches. What is written in a transaction is compared with the disk inside it, so that nothing that
was deleted or restored meanwhile gets lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from app.errors import StoreUnavailable
from app.files import layout
from app.files.layout import ConversationDir
from app.files.metadata_reader import Reader
from app.files.row_reader import find_present, read_changes, read_rows, read_signatures
from app.index import conversation_lookup, conversation_rows, event_rows, state
from app.index.connections import WriteConnection
from app.index.state import Revision
from app.model.conversation import IndexedRow
from app.model.event import KnownLog
from app.model.ids import ConversationId
from app.store.context import StoreContext
from app.store.follow.derivation import adopt_index_settings

LOOKS = 3
"""How often a conversation is read, at most, when others write its row meanwhile."""

_NONE_KNOWN: Mapping[str, bytes] = MappingProxyType({})
_IN_DOUBT = "in doubt"
"""Said of an event's row to have its file read again."""


@dataclass(slots=True)
class IngestReport:
    """What came of it: how many rows are new or changed, how many are gone, and which directories are empty.

    `empty` has those that hold no conversation, with the signature that they had before they were read.
    """

    changed: int = 0
    removed: int = 0
    empty: dict[ConversationDir, bytes] = field(default_factory=dict)


class RowsWritten(NamedTuple):
    """What became of conversations that were read.

    `rows` were written, but for those that must be read `again`, since the index has a newer row by now, or since their
    directory was filled after it was found empty. `gone` hold no conversation; `removed` of these had a row.
    """

    rows: list[IndexedRow]
    gone: list[ConversationDir]
    again: list[ConversationDir]
    changed: int = 0
    removed: int = 0


async def ingest(
    context: StoreContext,
    named: Collection[ConversationDir],
    *,
    signatures: Mapping[str, bytes] = _NONE_KNOWN,
    every_event: bool = False,
) -> IngestReport:
    """Read conversations and bring their rows in step: of their logs what is new, or `every_event`.

    `signatures` are those that a directory had when it was compared, just before. What was deleted meanwhile gets no
    row; what somebody else changed in the index is read once more. A row that changes all the time is left alone in the
    end; its files are looked at again by the next sweep.

    Raises:
        IndexBusy: another process looks after the index and derives rows in a way that is not known here.
        StoreUnavailable: all conversations vanished while these were read; nothing was written.
    """
    await adopt_index_settings(context)
    report = IngestReport()
    read: dict[ConversationId, None] = {}
    for _ in range(LOOKS):
        written = await _ingest_rows(context, named, signatures, report)
        read |= {one.row.uuid: None for one in written.rows}
        named, signatures = written.again, _NONE_KNOWN
        if not named:
            break
    if read:
        await _ingest_logs(context, list(read), every_event=every_event)
    return report


async def _ingest_rows(
    context: StoreContext, named: Collection[ConversationDir], signatures: Mapping[str, bytes], report: IngestReport
) -> RowsWritten:
    opened = context.index.opened
    async with context.index.read() as connection:
        as_of = await state.get_revision(connection)
    seen, rows, empty = await asyncio.to_thread(_read, context.reader, named, signatures)
    gone = empty
    if gone and not await asyncio.to_thread(layout.has_conversations, context.root):
        gone = []  # the whole disk may be away
    written = RowsWritten([], gone, [])
    if rows or gone:
        work = partial(write_rows, context=context, read=rows, empty=gone, as_of=as_of)
        written = await context.index.write(work, read_from=opened)
    report.changed += written.changed
    report.removed += written.removed
    report.empty |= {one: seen[one.directory] for one in empty if one not in written.again}
    return written


def _read(
    reader: Reader, named: Collection[ConversationDir], known: Mapping[str, bytes]
) -> tuple[dict[str, bytes], list[IndexedRow], list[ConversationDir]]:
    signatures = {**known, **read_signatures(reader, [one for one in named if one.directory not in known])}
    return signatures, *read_rows(reader, named, signatures)


def write_rows(
    connection: WriteConnection,
    context: StoreContext,
    read: Sequence[IndexedRow],
    empty: Sequence[ConversationDir],
    as_of: Revision,
    *,
    allow_empty: bool = False,
) -> RowsWritten:
    """Write the rows of conversations that were read when the index stood at `as_of`, and delete those of the gone.

    Where the index was built anew meanwhile, nothing is written and all have to be read again: its revisions tell
    nothing of what was read before.

    Raises:
        StoreUnavailable: rows were deleted, and no conversation is there at all, and not `allow_empty`. The transaction
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
    done = conversation_rows.upsert_many(connection, rows, as_of=as_of.revision)
    again = [_directory_of(one) for one in rows if one.row.uuid in done.newer] + filled
    return RowsWritten(rows, [one for one in gone if one not in filled], again, done.changed, removed)


def _directory_of(indexed: IndexedRow) -> ConversationDir:
    return ConversationDir(indexed.row.directory, indexed.row.uuid)


def delete_empty(
    connection: WriteConnection, reader: Reader, named: Sequence[ConversationDir]
) -> tuple[int, list[ConversationDir]]:
    """Delete the rows of those of these directories that hold no conversation now: gone, or only what locks leave.

    Return how many rows there were, and which directories hold one. They are read inside the transaction for the
    reason that `delete_vanished` tells: what was restored since they were read before has its row already.
    """
    if not named:
        return 0, []
    _, empty = read_rows(reader, named)
    removed = conversation_rows.delete_many(connection, [one.directory for one in empty])
    return removed, [one for one in named if one not in empty]


def delete_vanished(
    connection: WriteConnection, root: Path, directories: Sequence[str], *, allow_empty: bool = False
) -> int:
    """Delete the rows of those of these directories that are not there, and return how many there were.

    Inside the transaction nothing can come between: who creates a conversation, or deletes one, does that to its
    directory first, and then to its row.

    Raises:
        StoreUnavailable: no conversation is there at all, and not `allow_empty`. The transaction must not be committed.
    """
    present = find_present(root, directories)
    removed = conversation_rows.delete_many(connection, [one for one in directories if one not in present])
    if removed and not allow_empty:
        require_conversations(root)
    return removed


def require_conversations(root: Path) -> None:
    """Refuse to believe that all conversations were removed just now; asked after rows were deleted, before the commit.

    Raises:
        StoreUnavailable: there is none.
    """
    if not layout.has_conversations(root):
        raise StoreUnavailable(
            f"the conversations directory {root} is gone or empty, though conversations are known; "
            "check that its disk is mounted; `convstore index sync --allow-empty` accepts that all were removed"
        )


async def _ingest_logs(context: StoreContext, ids: Sequence[ConversationId], *, every_event: bool) -> None:
    opened = context.index.opened
    async with context.index.read() as connection:
        seen = await conversation_lookup.find_states(connection, ids)
        known = await event_rows.list_known(connection, [one.key for one in seen])
    if every_event:
        known = {key: dict.fromkeys(names, _IN_DOUBT) for key, names in known.items()}
    logs = [KnownLog(one.key, one.directory, known[one.key]) for one in seen]
    if logs:
        changes = await asyncio.to_thread(read_changes, context.reader, logs)
        await context.index.write(partial(event_rows.apply_changes, changes=changes), read_from=opened)
