"""Group commit: what many open conversations wrote goes to the index in one transaction; each still waits for its own.

While one transaction runs, what comes in is collected for the next, which the first of those who wait writes for all.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial

from app.errors import IndexUnusable, OwnershipLost
from app.index import conversation_rows, event_rows
from app.index.connections import WriteConnection
from app.index.conversation_rows import KnownRow, find_known_to_write
from app.index.sqlite.database import Index
from app.model.conversation import IndexedRow
from app.model.event import EventRow, LogChange
from app.model.ids import ConversationId


@dataclass(slots=True)
class Commit:
    """What one write changes in the index, under a lease's generation."""

    id: ConversationId
    generation: int
    row: IndexedRow
    events: list[EventRow]
    done: bool = False
    error: Exception | None = None
    """Why it was not written."""


class GroupCommit:
    """The commits of one store that wait for a transaction."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._waiting: list[Commit] = []
        self._coming = threading.Lock()
        self._going = threading.Lock()

    def write(self, commit: Commit) -> None:
        """Write to the index, in the calling thread or in that of another, and return when it is committed.

        Commits of one conversation keep their order.

        Raises:
            OwnershipLost: a later owner has written the conversation's rows; these are not written.
            IndexBusy, IndexUnusable: the index cannot be written to; the files repair it later.
        """
        with self._coming:
            self._waiting.append(commit)
        with self._going:  # whoever had it before may have written this one too
            if not commit.done:
                with self._coming:
                    batch, self._waiting = self._waiting, []
                try:
                    self._index.write_in_thread(partial(_apply, batch=batch))
                except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
                    for one in batch:
                        one.error = error
                for one in batch:
                    one.done = True
        if commit.error is not None:
            raise commit.error


def _apply(connection: WriteConnection, batch: list[Commit]) -> None:
    """Write the rows of a batch, of each conversation the last row and all events; what is refused gets its error."""
    known = find_known_to_write(connection, list({commit.id for commit in batch}))
    rows: dict[ConversationId, IndexedRow] = {}
    logs: dict[ConversationId, list[EventRow]] = {}
    for commit in batch:
        commit.error = _refusal(commit, known.get(commit.id))
        if commit.error is None:
            rows[commit.id] = commit.row
            logs.setdefault(commit.id, []).extend(commit.events)
    conversation_rows.write_rows(connection, known, list(rows.values()), events_too=True)
    event_rows.write_changes(connection, [LogChange(known[one].key, log, []) for one, log in logs.items()])


def _refusal(commit: Commit, known: KnownRow | None) -> Exception | None:
    if known is None:
        return IndexUnusable(f"conversation {commit.id} is not in the index; it is read again from its files")
    if known.generation > commit.generation:
        return OwnershipLost(
            f"conversation {commit.id} was taken over (generation {known.generation} after {commit.generation}) "
            "while this was written; what its files hold counts. Open it again"
        )
    return None
