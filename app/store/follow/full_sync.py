"""The full sync: brings all rows up to date, first the `metadata` of all conversations, then their `events`.

An event's row and its words are written in one transaction, so that neither exists without the other. The reported
phase `text` then merges the parts of the text index into one.

A conversation whose signature equals the one in the index is not opened. Only one full sync runs on an index at a time.
The operating system releases its lock if the sync dies, and the next sync continues.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ...errors import StoreUnavailable
from ...files import layout, subagents
from ...files.fingerprint import UNTRUSTED
from ...files.layout import ConversationDir
from ...files.metadata_reader import Reader
from ...files.row_reader import read_changes, read_rows, read_signatures
from ...index import conversation_lookup, event_rows, state
from ...index.connections import WriteConnection
from ...index.state import Revision
from ...model.conversation import IndexedRow
from ...model.event import KnownLog, LogChange
from ...processes import Spawn, die_with_parent
from ..context import StoreContext
from .index_settings import invalidate_other_derivations
from .ingest import LOOKS, RowsWritten, delete_vanished, note_spent, write_rows
from .leader import sync_lock

T = TypeVar("T")

_BATCH = 300
_LOG_BATCH = 100
_WORTH_PROCESSES = 1000
_WORTH_MERGING = 1000
"""After a sync that read this many logs, the text index is merged, so that searches after a first build are fast."""
_LAST = "\U0010ffff"


@dataclass(slots=True)
class SyncReport:
    """The result of a full sync.

    `opened` counts conversations whose files were read, `logs` those whose log was read. `duplicates` are directories
    whose id another directory has. `empty` are directories that are named like an id but are not conversations.
    """

    conversations: int = 0
    opened: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    logs: int = 0
    unreadable: int = 0
    duplicates: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    untrusted: list[ConversationDir] = field(default_factory=list)
    seconds: float = 0.0


OnProgress = Callable[[str, int, int], None]
"""Called with the phase, the number of finished items, and the total."""


class _Step(NamedTuple):
    """The progress of a phase, as in the index's state."""

    phase: str
    done: int
    total: int


def ignore_progress(_phase: str, _done: int, _total: int) -> None:
    """Do nothing."""


async def sync(
    context: StoreContext, *, on_progress: OnProgress = ignore_progress, allow_empty: bool = False
) -> SyncReport:
    """Run a full sync under the sync lock. `StoreReader.sync` states the errors."""
    async with sync_lock(context.index):
        return await bring_up_to_date(context, on_progress=on_progress, allow_empty=allow_empty)


async def bring_up_to_date(
    context: StoreContext, *, on_progress: OnProgress = ignore_progress, allow_empty: bool = False
) -> SyncReport:
    """Run a full sync for a caller that holds the sync lock."""
    started = time.monotonic()
    run = _Run(context, on_progress, allow_empty=allow_empty)
    try:
        await run.run()
    except StoreUnavailable as error:
        await context.index.write(partial(state.set_state, phase="idle", last_error=str(error)))
        raise
    async for done, total in context.index.merge_words(always=run.report.logs >= _WORTH_MERGING):
        step = _Step("text", done, total)
        await context.index.write(partial(state.set_state, **step._asdict(), heartbeat_at=_now_us()))
        on_progress(*step)
    now_us = _now_us()
    await context.index.write(
        partial(
            state.set_state,
            **_Step("idle", 0, 0)._asdict(),
            heartbeat_at=now_us,
            last_sweep_at=now_us,
            last_error=None,
        )
    )
    run.report.seconds = time.monotonic() - started
    return run.report


def require_plausible(root: Path, found: int, known: int) -> None:
    """Raise StoreUnavailable if the index has conversations but none was found: a disk may not be mounted."""
    if known and not found:
        raise StoreUnavailable(
            f"{root} contains no conversations, but the index has {known}; check that its disk "
            "is mounted. If they were all removed on purpose, run `convstore index sync --allow-empty`"
        )


class _Run:
    """One full sync."""

    def __init__(self, context: StoreContext, on_progress: OnProgress, *, allow_empty: bool) -> None:
        self.report = SyncReport()
        self._allow_empty = allow_empty
        self._context = context
        self._write = partial(context.index.write, read_from=context.index.opened)
        self._on_progress = on_progress
        self._total = 0
        """How many conversations phase `metadata` counts: those to read, or in a first build all."""

    async def run(self) -> None:
        derived_by = await invalidate_other_derivations(self._context)
        is_first = not await self._is_whole()
        if is_first:
            await self._show(_Step("metadata", 0, 0))
        directories, self.report.duplicates = await asyncio.to_thread(subagents.list_all, self._context.root)
        self.report.conversations = len(directories)
        before = await self._count_totals()
        if not self._allow_empty:
            require_plausible(self._context.root, len(directories), before.conversations)
        changed, gone = await self._find_changes(directories)
        processes = self._context.reader.processes if max(len(changed), before.behind) >= _WORTH_PROCESSES else 0
        self._total = len(directories) if is_first else len(changed)
        if changed:
            await self._show(_Step("metadata", self._total - len(changed), self._total))
        with readers(processes) as executor:
            for _ in range(LOOKS):
                if not changed:
                    break
                changed = await self._read_metadata(executor, max(processes, 1), changed)
            self.report.removed += await self._write(partial(self._finish_metadata, gone=gone, derived_by=derived_by))
            await self._read_logs(executor, max(processes, 1))
        self.report.unreadable = (await self._count_totals()).unreadable

    async def _is_whole(self) -> bool:
        async with self._context.index.read() as connection:
            return (await state.get_state(connection)).is_whole

    async def _show(self, step: _Step) -> None:
        await self._write(partial(state.set_state, **step._asdict(), heartbeat_at=_now_us()))

    def _finish_metadata(self, connection: WriteConnection, *, gone: list[str], derived_by: str | None) -> int:
        removed = delete_vanished(connection, self._context.root, gone, allow_empty=self._allow_empty)
        if derived_by is not None:
            state.set_state(connection, derived_by=derived_by)
        return removed

    async def _count_totals(self) -> conversation_lookup.Totals:
        async with self._context.index.read() as connection:
            return await conversation_lookup.count_totals(connection)

    async def _find_changes(self, directories: list[str]) -> tuple[dict[str, bytes], list[str]]:
        """Return the new and changed directories with their signatures, and the removed directories.

        The signature of a new directory is `UNTRUSTED`, because its files were not read yet.
        """
        changed: dict[str, bytes] = {}
        gone: list[str] = []
        after = ""
        for begin in range(0, len(directories) or 1, conversation_lookup.SIGNATURE_CHUNK):
            end = begin + conversation_lookup.SIGNATURE_CHUNK
            chunk = directories[begin:end]
            last = _LAST if end >= len(directories) else chunk[-1]
            present = set(chunk)
            known: dict[str, bytes] = {}
            while rows := await self._list_signatures(after, last):
                after = rows[-1][0]
                known.update((directory, signature) for directory, signature in rows if directory in present)
                gone += [directory for directory, _ in rows if directory not in present]
            after = last
            signatures = await asyncio.to_thread(
                read_signatures, self._context.reader, map(layout.conversation_dir, known)
            )
            changed |= {
                directory: signatures.get(directory, UNTRUSTED)
                for directory in chunk
                if self._count_change(known.get(directory), signatures.get(directory))
            }
        return changed, gone

    def _count_change(self, before: bytes | None, now: bytes | None) -> bool:
        """Add a new or changed conversation to the report. Returns False if it is neither."""
        if before is None:
            self.report.added += 1
        elif before == now != UNTRUSTED:
            return False
        else:
            self.report.changed += 1
        return True

    async def _list_signatures(self, after: str, last: str) -> list[tuple[str, bytes]]:
        async with self._context.index.read() as connection:
            return await conversation_lookup.list_signatures(connection, after, last)

    async def _read_metadata(self, executor: Executor, ahead: int, changed: dict[str, bytes]) -> dict[str, bytes]:
        """Phase `metadata`: write the rows of conversations, and return the directories that must be read again."""
        done = self._total - len(changed)
        again: dict[str, bytes] = {}
        async with self._context.index.read() as connection:
            as_of = await state.get_revision(connection)
        async for read, empty in run_ahead(executor, ahead, read_rows, self._metadata_batches(changed)):
            done += len(read) + len(empty)
            step = _Step("metadata", done, self._total)
            written = await self._write(partial(self._write_metadata, read=read, empty=empty, as_of=as_of, step=step))
            note_spent(self._context, written)
            again |= {one.directory: UNTRUSTED for one in written.again}
            self._count_written(written)
            self._on_progress(*step)
        return again

    def _write_metadata(
        self,
        connection: WriteConnection,
        read: list[IndexedRow],
        empty: list[ConversationDir],
        as_of: Revision,
        step: _Step,
    ) -> RowsWritten:
        written = write_rows(connection, self._context, read, empty, as_of, allow_empty=self._allow_empty)
        state.set_state(connection, **step._asdict(), heartbeat_at=_now_us())
        return written

    def _count_written(self, written: RowsWritten) -> None:
        """Add to the report. A conversation that must be read again is counted only at its last read."""
        self.report.removed += written.removed
        self.report.changed -= written.removed
        self.report.added -= len(written.gone) - written.removed
        self.report.conversations -= len(written.gone)
        self.report.empty += [one.directory for one in written.gone]
        for one in written.rows:
            directory = ConversationDir(one.row.directory, one.row.uuid)
            if directory not in written.again:
                self.report.opened += 1
                if one.signature == UNTRUSTED:
                    self.report.untrusted.append(directory)

    async def _metadata_batches(
        self, changed: dict[str, bytes]
    ) -> AsyncIterator[tuple[Reader, list[ConversationDir], dict[str, bytes]]]:
        for batch in _chunks(changed.items(), _BATCH):
            yield self._context.reader, [layout.conversation_dir(directory) for directory, _ in batch], dict(batch)

    async def _read_logs(self, executor: Executor, ahead: int) -> None:
        """Phase `events`: update the event rows of all conversations whose rows are behind their logs."""
        done = 0
        total = (await self._count_totals()).behind
        if total:
            await self._show(_Step("events", 0, total))
        async for changes in run_ahead(executor, ahead, read_changes, self._log_batches()):
            done += len(changes)
            step = _Step("events", done, total)
            await self._write(partial(_write_logs, changes=changes, step=step))
            self.report.logs += len(changes)
            self._on_progress(*step)

    async def _log_batches(self) -> AsyncIterator[tuple[Reader, list[KnownLog]]]:
        after = 0
        while True:
            async with self._context.index.read() as connection:
                behind = await conversation_lookup.list_behind(connection, after)
            if not behind:
                return
            for chunk in _chunks(behind, _LOG_BATCH):
                async with self._context.index.read() as connection:
                    known = await event_rows.list_known(connection, [key for key, _ in chunk])
                yield self._context.reader, [KnownLog(key, directory, known[key]) for key, directory in chunk]
            after = behind[-1][0]


def _write_logs(connection: WriteConnection, changes: list[LogChange], step: _Step) -> None:
    event_rows.apply_changes(connection, changes)
    state.set_state(connection, **step._asdict(), heartbeat_at=_now_us())


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _now_us() -> int:
    return time.time_ns() // 1000


if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def readers(processes: int) -> Iterator[Executor]:
    """Yield the executor for reading: up to this many processes, started on demand, or one thread for 0."""
    executor: Executor
    # Parsing holds Python's interpreter lock. A large first build runs in spawned processes, which uses the other cores
    # and leaves a server free to answer. Later syncs read little, and a thread is enough.
    if processes:
        executor = ProcessPoolExecutor(processes, Spawn(), initializer=die_with_parent)
    else:
        executor = ThreadPoolExecutor(1, "reader")
    try:
        yield executor
    finally:
        executor.shutdown(wait=not processes, cancel_futures=True)


async def run_ahead(
    executor: Executor, ahead: int, work: Callable[..., T], batches: AsyncIterator[tuple[object, ...]]
) -> AsyncIterator[T]:
    """Run `work` on each batch and yield the results in order. At most `ahead` batches are in progress at once.

    Raises:
        StoreUnavailable: a reading process was killed.
    """
    loop = asyncio.get_running_loop()
    running: deque[asyncio.Future[T]] = deque()
    try:
        async for batch in batches:
            running.append(loop.run_in_executor(executor, work, *batch))
            if len(running) > ahead:
                yield await running.popleft()
        while running:
            yield await running.popleft()
    except BrokenProcessPool as error:
        raise StoreUnavailable(
            "a process that was reading conversations was killed, perhaps because memory ran out; "
            "set CONVSTORE_SYNC_PROCESSES=0 to read in one thread"
        ) from error
    finally:
        for future in running:
            future.cancel()
