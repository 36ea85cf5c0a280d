"""Bringing the index up to date with the files, in two phases: metadata of all conversations, then their events.

A conversation whose signature is the one that the index holds is not opened. Only one sync runs on an index at a time;
the lock is the operating system's, so a sync that dies leaves nothing behind but work for the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from filelock import FileLock, Timeout

from app.errors import StoreUnavailable, SyncRunning
from app.files import eventlog, layout, scan
from app.files.layout import Named
from app.files.scan import Reader
from app.index import conversations, events, progress
from app.index.conversations import IndexedRow
from app.index.engine import Index
from app.index.events import LogChange
from app.model.conversation import FOLD_VERSION, fold
from app.model.event import gap_rows
from app.model.ids import EventName

T = TypeVar("T")

_BATCH = 200
_LOG_BATCH = 100
_LAST = "\U0010ffff"


@dataclass(slots=True)
class SyncReport:
    """What a sync found and did. `opened` counts the conversations whose files were read."""

    conversations: int = 0
    opened: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    logs: int = 0
    unreadable: int = 0
    duplicates: list[str] = field(default_factory=list)
    untrusted: list[Named] = field(default_factory=list)
    seconds: float = 0.0


OnProgress = Callable[[str, int, int], None]
"""Called with phase, done and total."""


def ignore_progress(_phase: str, _done: int, _total: int) -> None:
    """Tell nobody."""


@asynccontextmanager
async def sync_lock(index: Index) -> AsyncIterator[None]:
    """Be the only one who syncs or rebuilds this index.

    Raises:
        SyncRunning: another process is.
    """
    lock = FileLock(index.path.with_name("sync.lock"), thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise SyncRunning(
            f"another process is bringing the index {index.path} up to date; see `convstore index status`"
        ) from error
    try:
        yield
    finally:
        lock.release()


async def sync(
    index: Index, reader: Reader, *, on_progress: OnProgress = ignore_progress, allow_empty: bool = False
) -> SyncReport:
    """Compare the whole directory with the index and bring the index up to date.

    Raises:
        SyncRunning: another process does the same.
        StoreUnavailable: the directory cannot be read, or is empty although the index is not.
    """
    async with sync_lock(index):
        return await bring_up_to_date(index, reader, on_progress=on_progress, allow_empty=allow_empty)


async def bring_up_to_date(
    index: Index, reader: Reader, *, on_progress: OnProgress = ignore_progress, allow_empty: bool = False
) -> SyncReport:
    """Do what `sync` does for a caller that holds the sync lock."""
    started = time.monotonic()
    try:
        report = await _sync(index, reader, on_progress, allow_empty=allow_empty)
    except StoreUnavailable as error:
        async with index.write() as connection:
            await progress.set_progress(connection, phase="idle", last_error=str(error))
        raise
    now_us = _now_us()
    async with index.write() as connection:
        await progress.set_progress(
            connection, phase="idle", done=0, total=0, heartbeat_at=now_us, last_sweep_at=now_us, last_error=None
        )
    report.seconds = time.monotonic() - started
    return report


async def sync_some(index: Index, reader: Reader, named: Sequence[Named]) -> SyncReport:
    """Read these conversations again, whatever their signatures say, and bring their rows up to date."""
    report = SyncReport(conversations=len(named))
    async with sync_lock(index):
        await _metadata_phase(index, reader, list(named), report, ignore_progress)
        await _events_phase(index, reader, report, ignore_progress)
    return report


async def _sync(index: Index, reader: Reader, on_progress: OnProgress, *, allow_empty: bool) -> SyncReport:
    await _forget_what_others_derived(index, reader)
    named, duplicates = await asyncio.to_thread(layout.list_directories, reader.root)
    async with index.read() as connection:
        known = (await conversations.count_totals(connection)).conversations
    if known and not named and not allow_empty:
        raise StoreUnavailable(
            f"{reader.root} holds no conversation but the index knows {known}; is a disk not mounted? "
            "If they were all removed on purpose, run `convstore index sync --allow-empty`"
        )
    report = SyncReport(conversations=len(named), duplicates=duplicates)
    changed, gone = await _find_changes(index, reader, named, report)
    await _metadata_phase(index, reader, changed, report, on_progress)
    async with index.write() as connection:
        await conversations.delete_many(connection, gone)
    report.removed += len(gone)
    await _events_phase(index, reader, report, on_progress)
    async with index.read() as connection:
        report.unreadable = (await conversations.count_totals(connection)).unreadable
    return report


async def _forget_what_others_derived(index: Index, reader: Reader) -> None:
    """Have everything read again when the rows were made by another version of the fold, or in another time zone."""
    zone = str(reader.zone) if reader.zone else "host:" + "/".join(time.tzname)
    derived_by = f"{FOLD_VERSION}:{zone}"
    async with index.read() as connection:
        before = (await progress.get_progress(connection)).derived_by
    if before == derived_by:
        return
    async with index.write() as connection:
        await conversations.distrust_all(connection)
        await events.delete_all(connection)
        await progress.set_progress(connection, derived_by=derived_by)


async def _find_changes(
    index: Index, reader: Reader, named: list[Named], report: SyncReport
) -> tuple[list[Named], list[str]]:
    """Return the conversations that are new or changed on disk, and the directories that the index knows in vain."""
    changed: list[Named] = []
    gone: list[str] = []
    after = ""
    chunks = list(_chunks(named, conversations.SIGNATURE_CHUNK)) or [[]]
    for number, chunk in enumerate(chunks, start=1):
        last = _LAST if number == len(chunks) else chunk[-1].directory
        signatures = await asyncio.to_thread(_signatures, reader, chunk)
        known: dict[str, bytes] = {}
        while rows := await _known_signatures(index, after, last):
            after = rows[-1][0]
            known.update((directory, signature) for directory, signature in rows if directory in signatures)
            gone += [directory for directory, _ in rows if directory not in signatures]
        after = last
        for one in chunk:
            before = known.get(one.directory)
            if before is None:
                report.added += 1
            elif before == signatures[one.directory] != layout.UNTRUSTED:
                continue
            else:
                report.changed += 1
            changed.append(one)
    return changed, gone


async def _known_signatures(index: Index, after: str, last: str) -> list[tuple[str, bytes]]:
    async with index.read() as connection:
        return await conversations.list_signatures(connection, after, last)


def _signatures(reader: Reader, named: Iterable[Named]) -> dict[str, bytes]:
    return {one.directory: layout.signature(reader.root, one.directory) for one in named}


async def _metadata_phase(
    index: Index, reader: Reader, changed: list[Named], report: SyncReport, on_progress: OnProgress
) -> None:
    done = 0
    batches = [(reader, batch) for batch in _chunks(changed, _BATCH)]
    async for rows, gone in _ahead(read_rows, batches):
        done += len(rows) + len(gone)
        async with index.write() as connection:
            await conversations.delete_many(connection, [one.directory for one in gone])
            await conversations.upsert_many(connection, rows)
            await progress.set_progress(
                connection, phase="metadata", done=done, total=len(changed), heartbeat_at=_now_us()
            )
        report.opened += len(rows)
        report.untrusted += [
            Named(row.row.directory, row.row.uuid) for row in rows if row.signature == layout.UNTRUSTED
        ]
        on_progress("metadata", done, len(changed))


def read_rows(reader: Reader, named: Sequence[Named]) -> tuple[list[IndexedRow], list[Named]]:
    """Read conversations and fold them; also return those whose directories hold no conversation."""
    rows, gone = [], []
    for one in named:
        signature = layout.signature(reader.root, one.directory)
        files = scan.read_conversation(reader, one.directory, one.id)
        if files is None:
            gone.append(one)
        else:
            rows.append(IndexedRow(fold(files), signature))
    return rows, gone


async def _events_phase(index: Index, reader: Reader, report: SyncReport, on_progress: OnProgress) -> None:
    async with index.read() as connection:
        total = (await conversations.count_totals(connection)).behind
    done = 0
    batches = _behind_batches(index, reader)
    async for changes in _ahead_async(read_changes, batches):
        done += len(changes)
        async with index.write() as connection:
            await events.apply_changes(connection, changes)
            await progress.set_progress(connection, phase="events", done=done, total=total, heartbeat_at=_now_us())
        report.logs += len(changes)
        on_progress("events", done, total)


KnownLog = tuple[int, str, dict[EventName, str | None]]
"""Key and directory of a conversation, and the event rows it has, with the reasons of unreadable ones."""


async def _behind_batches(index: Index, reader: Reader) -> AsyncIterator[tuple[Reader, list[KnownLog]]]:
    after = 0
    while True:
        async with index.read() as connection:
            behind = await conversations.list_behind(connection, after)
        if not behind:
            return
        for chunk in _chunks(behind, _LOG_BATCH):
            async with index.read() as connection:
                known = await events.list_known(connection, [key for key, _ in chunk])
            yield reader, [(key, directory, known[key]) for key, directory in chunk]
        after = behind[-1][0]


def read_changes(reader: Reader, logs: Sequence[KnownLog]) -> list[LogChange]:
    """Read of each log what its rows lack: new files, those that were unreadable, and the last one again."""
    changes = []
    for key, directory, known in logs:
        names = eventlog.list_events(reader, directory)
        unread = [name for name in names if name not in known or known[name] is not None]
        if names and names[-1] not in unread:
            unread.append(names[-1])
        gaps = gap_rows(names)
        present = {*names, *(gap.name for gap in gaps)}
        write = eventlog.read_rows(reader, directory, unread)
        write += [gap for gap in gaps if known.get(gap.name) != gap.unreadable]
        changes.append(LogChange(key, write, [name for name in known if name not in present]))
    return changes


async def _ahead(work: Callable[..., T], batches: Iterable[tuple[object, ...]]) -> AsyncIterator[T]:
    async def each() -> AsyncIterator[tuple[object, ...]]:
        for batch in batches:
            yield batch

    async for result in _ahead_async(work, each()):
        yield result


async def _ahead_async(work: Callable[..., T], batches: AsyncIterator[tuple[object, ...]]) -> AsyncIterator[T]:
    """Run `work` on each batch in a thread, one batch ahead of whoever takes the results."""
    running: Awaitable[T] | None = None
    async for batch in batches:
        following = asyncio.ensure_future(asyncio.to_thread(work, *batch))
        if running is not None:
            yield await running
        running = following
    if running is not None:
        yield await running


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _now_us() -> int:
    return time.time_ns() // 1000
