"""Group commit: one index transaction for writes to several open conversations. Each write waits for its own commit.

While a transaction runs, new commits are collected, and the thread that runs it then writes all of them. A thread that
hands over its commit meanwhile is free for the files of another write, so no thread waits for another one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from ...errors import IndexUnusable, OutcomeUnknown
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
    error: BaseException | None = None
    """The error if the commit was refused, otherwise None."""


class Waiting:
    """Waits in an event loop for work in another thread, again and again if the waiting task is cancelled."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._future = self.loop.create_future()
        self._is_over = False

    def __await__(self) -> Generator[Any, None, None]:
        return self._future.__await__()

    def wait_again(self) -> None:
        """Make another await possible after one that was cancelled."""
        self._future = self.loop.create_future()
        if self._is_over:
            self._future.set_result(None)

    def end(self) -> None:
        """End the waiting. Called in the thread of the event loop."""
        self._is_over = True
        if not self._future.done():
            self._future.set_result(None)


Waiter = Waiting | threading.Event
"""What waits for a commit: a task, or a thread."""


class GroupCommit:
    """The commits of one store that wait for a transaction."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._lock = threading.Lock()
        self._waiting: list[tuple[Commit, Waiter]] = []
        self._running = False
        """Whether a thread writes the waiting commits."""

    def commit(self, commit: Commit) -> None:
        """Write a commit to the index, in this thread or in another writer's, and return when it is committed.

        This thread writes no later commits, because its caller holds the turn of a conversation.

        Raises:
            OutcomeUnknown: a later owner has already written the conversation's rows; this commit is not written.
            IndexBusy, IndexUnusable: the index cannot be written to; the rows are read from the files later.
        """
        done = threading.Event()
        if self._enqueue(commit, done):
            self._write_batch()
            threading.Thread(target=self.write_waiting).start()
        done.wait()
        if commit.error is not None:
            raise commit.error

    def hand_over(self, commit: Commit, waiter: Waiter) -> None:
        """Write a commit in this thread, or leave it to another thread that writes now.

        The waiter is told when the commit is done; it then has its error, if any. Commits of one conversation keep
        their order.
        """
        if self._enqueue(commit, waiter):
            self.write_waiting()

    def _enqueue(self, commit: Commit, waiter: Waiter) -> bool:
        """Add a commit to those that wait. Return whether this thread must write them, because no other does."""
        with self._lock:
            self._waiting.append((commit, waiter))
            is_first, self._running = not self._running, True
            return is_first

    def write_waiting(self) -> None:
        """Write the commits that wait, and those that come meanwhile. `_running` is set, for this thread."""
        while self._write_batch():
            pass

    def _write_batch(self) -> bool:
        """Write the commits that wait, and tell who waits for them. Return whether there were any."""
        with self._lock:
            batch, self._waiting = self._waiting, []
            self._running = bool(batch)
        try:
            if batch:
                left = self._index.write_in_thread(partial(_apply, batch=[commit for commit, _ in batch]))
                for commit, _ in batch:
                    commit.known = left.get(commit.id)
        except BaseException as error:  # noqa: BLE001 - each waiting writer must get the error, whatever it is
            for commit, _ in batch:
                commit.error = error
        tell([waiter for _, waiter in batch])
        return bool(batch)


def tell(waiters: Sequence[Waiter]) -> None:
    """End the waiting of all. An event loop is woken once, however many of its tasks wait."""
    loops: dict[asyncio.AbstractEventLoop, list[Waiting]] = {}
    for waiter in waiters:
        if isinstance(waiter, threading.Event):
            waiter.set()
        else:
            loops.setdefault(waiter.loop, []).append(waiter)
    for loop, waiting in loops.items():
        with suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(_end, waiting)


def _end(waiting: list[Waiting]) -> None:
    for one in waiting:
        one.end()


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
        return OutcomeUnknown(  # the files are written, and the new owner may have read them
            f"conversation {commit.id} was taken over (generation {known.generation} after {commit.generation}) "
            "during this write, so its events may be in the log; open the conversation again, and send the same again "
            "with the same event ids"
        )
    return None
