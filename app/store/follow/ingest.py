"""Reading some conversations again and bringing their rows in step: what an opening and a sweep have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.errors import StoreUnavailable
from app.files import layout
from app.files.layout import ConversationDir
from app.files.metadata_reader import Reader
from app.files.row_reader import find_present, read_changes, read_rows
from app.index import conversation_lookup, conversation_rows, event_rows, state
from app.index.connections import WriteConnection
from app.index.sqlite.database import Index
from app.model.event import KnownLog
from app.model.ids import ConversationId
from app.store.follow.derivation import adopt_index_settings

LOOKS = 3
"""How often a conversation is read, at most, when others write its row meanwhile."""

_IN_DOUBT = "in doubt"
"""Said of an event's row to have its file read again."""


@dataclass(slots=True)
class IngestReport:
    """What reading again came to: how many rows are new or changed, how many are gone, which hold no conversation."""

    changed: int
    removed: int
    empty: list[ConversationDir]


async def ingest(
    index: Index, reader: Reader, named: Sequence[ConversationDir], *, every_event: bool = False
) -> IngestReport:
    """Read these conversations again, whatever their signatures say; of their logs what is new, or `every_event`.

    What was deleted meanwhile gets no row; what somebody else changed in the index is read once more. A row that
    changes all the time is left alone in the end; its files are looked at again by the next sweep.

    Raises:
        IndexBusy: another process looks after the index and derives rows in a way that is not known here.
    """
    await adopt_index_settings(index, reader)
    done = IngestReport(0, 0, [])
    read: set[ConversationId] = set()
    for _ in range(LOOKS):
        rows, again = await _refresh_rows(index, reader, named, done)
        read |= rows
        named = [one for one in named if one.id in again]
        if not named:
            break
    if read:
        await _refresh_logs(index, reader, list(read), every_event=every_event)
    return done


async def _refresh_rows(
    index: Index, reader: Reader, named: Sequence[ConversationDir], done: IngestReport
) -> tuple[set[ConversationId], frozenset[ConversationId]]:
    """Read conversations and write their rows, and return which were read, and which have to be read once more.

    Those have a newer row by then, or were put there after their directory was found empty; or they all are, where the
    index was built anew meanwhile, since its revisions tell nothing of what was read before.
    """
    opened = index.opened
    async with index.read() as connection:
        before = await state.get_revision(connection)
    rows, empty = await asyncio.to_thread(read_rows, reader, named)
    gone = empty
    if gone and not await asyncio.to_thread(layout.has_conversations, reader.root):
        gone = []  # the whole disk may be away
    filled: list[ConversationDir] = []
    newer: frozenset[ConversationId] = frozenset()

    def write(connection: WriteConnection) -> bool:
        nonlocal filled, newer
        if state.get_revision_to_write(connection).epoch != before.epoch:
            return False
        removed, filled = delete_empty(connection, reader, gone)
        present = find_present(reader.root, [one.row.directory for one in rows])
        there = [one for one in rows if one.row.directory in present]
        changed, newer = conversation_rows.upsert_many(connection, there, as_of=before.revision)
        done.removed += removed
        done.changed += changed
        return True

    if (rows or gone) and not await index.write(write, read_from=opened):
        return set(), frozenset(one.id for one in named)
    done.empty += [one for one in empty if one not in filled]
    return {one.row.uuid for one in rows}, newer.union(one.id for one in filled)


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


async def _refresh_logs(index: Index, reader: Reader, ids: Sequence[ConversationId], *, every_event: bool) -> None:
    opened = index.opened
    async with index.read() as connection:
        seen = await conversation_lookup.find_states(connection, ids)
        known = await event_rows.list_known(connection, [one.key for one in seen])
    if every_event:
        known = {key: dict.fromkeys(names, _IN_DOUBT) for key, names in known.items()}
    logs = [KnownLog(one.key, one.directory, known[one.key]) for one in seen]
    if logs:
        changes = await asyncio.to_thread(read_changes, reader, logs)
        await index.write(partial(event_rows.apply_changes, changes=changes), read_from=opened)
