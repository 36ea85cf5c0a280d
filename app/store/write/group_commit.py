"""Group commit: one index transaction for writes to several open conversations. Each write waits for its own commit.

While a transaction runs, new commits are collected. The first waiting thread then writes all of them.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial

from ...errors import IndexUnusable, OwnershipLost
from ...index import conversation_rows, event_rows
from ...index.connections import WriteConnection
from ...index.conversation_rows import KnownRow, find_known_to_write
from ...index.engine import Index
from ...model.conversation import IndexedRow
from ...model.event import EventRow, LogChange
from ...model.ids import ConversationId


@dataclass(slots=True)
class Commit:
    """The index changes of one write, and the generation of the lease under which it was made.

    `known` is the conversation's row in the index as the writer's last commit left it, or None. A commit replaces it.
    """

    id: ConversationId
    generation: int
    row: IndexedRow
    events: list[EventRow]
    known: KnownRow | None = None
    done: bool = False
    error: Exception | None = None
    """The error if the commit was refused, otherwise None."""


class GroupCommit:
    """The commits of one store that wait for a transaction."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._waiting: list[Commit] = []
        self._waiting_lock = threading.Lock()
        self._transaction_lock = threading.Lock()

    def commit(self, commit: Commit) -> None:
        """Write a commit to the index, in this thread or in another writer's, and return when it is committed.

        Commits of one conversation keep their order.

        Raises:
            OwnershipLost: a later owner has already written the conversation's rows; this commit is not written.
            IndexBusy, IndexUnusable: the index cannot be written to; the rows are read from the files later.
        """
        with self._waiting_lock:
            self._waiting.append(commit)
        with self._transaction_lock:  # the thread that held the lock before may have written this commit too
            if not commit.done:
                with self._waiting_lock:
                    batch, self._waiting = self._waiting, []
                try:
                    left = self._index.write_in_thread(partial(_apply, batch=batch))
                    for written in batch:
                        written.known = left.get(written.id)
                except Exception as error:  # noqa: BLE001 - each waiting writer must get the error, whatever it is
                    for waiting in batch:
                        waiting.error = error
                for waiting in batch:
                    waiting.done = True
        if commit.error is not None:
            raise commit.error


def _apply(connection: WriteConnection, batch: list[Commit]) -> dict[ConversationId, KnownRow]:
    """Write a batch: the last row and all events of each conversation. A refused commit gets its error.

    Return the rows that the next transaction may remember.
    """
    remembered = {commit.id: commit.known for commit in batch if commit.known is not None}
    known = find_known_to_write(connection, list({commit.id for commit in batch}), remembered)
    rows: dict[ConversationId, IndexedRow] = {}
    logs: dict[ConversationId, list[EventRow]] = {}
    for commit in batch:
        commit.error = _find_refusal(commit, known.get(commit.id))
        if commit.error is None:
            rows[commit.id] = commit.row
            logs.setdefault(commit.id, []).extend(commit.events)
    done = conversation_rows.upsert_rows(connection, known, list(rows.values()), events_too=True)
    event_rows.upsert_events(connection, [LogChange(known[id_].key, log, []) for id_, log in logs.items()])
    return {
        id_: known[id_]._replace(revision=done.revision, row=row, signature=signature)
        for id_, (row, signature) in rows.items()
        if row != known[id_].row and row.title == known[id_].row.title
    }


def _find_refusal(commit: Commit, known: KnownRow | None) -> Exception | None:
    if known is None:
        return IndexUnusable(f"conversation {commit.id} is not in the index; it will be read from its files")
    if known.generation > commit.generation:
        return OwnershipLost(
            f"conversation {commit.id} was taken over (generation {known.generation} after {commit.generation}) "
            "during this write; the new owner's files are valid. Open the conversation again"
        )
    return None
