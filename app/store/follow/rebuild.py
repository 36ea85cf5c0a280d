"""Rebuild: builds a new index beside the current one, and then copies it into the current one while that is in use."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from ...errors import IndexDamaged, IndexUnusable, MigrationFailed, RebuildRefused, SchemaTooNew
from ...files.metadata_reader import Reader
from ...index import conversation_lookup, conversation_rows, event_rows, state, tally
from ...index.connections import WriteConnection
from ...index.opening import make_index
from ...index.sqlite import migrations
from ...index.sqlite.backup import copy_into
from ...index.sqlite.database import Index
from ...index.sqlite.index_file import find_identity, make_directory
from ...index.sqlite.replace_index import replace_damaged
from ...settings import Settings
from ..context import StoreContext
from ..existence import require_directory
from .full_sync import OnProgress, SyncReport, bring_up_to_date
from .index_settings import make_sync_context
from .leader import sync_lock

log = logging.getLogger(__name__)


async def rebuild(settings: Settings, on_progress: OnProgress, *, force: bool = False) -> SyncReport:
    """Build a new index from the files, and copy it into the current index in one step.

    A killed rebuild continues at its last state. The current index can be read and written meanwhile; conversations
    that change are read again before the copy.

    Raises:
        StoreUnavailable: the conversations directory is missing or cannot be read.
        RebuildRefused: the result is empty or mostly unreadable, the current index is not, and `force` is false.
        SyncRunning: another process is syncing or rebuilding.
        IndexBusy: another process is the leader, and its derivation is unknown to this version.
    """
    await asyncio.to_thread(require_directory, settings)
    if settings.index_server is not None:
        return await _rebuild_in_place(settings, on_progress, force=force)
    live_path = settings.index_path
    await asyncio.to_thread(make_directory, live_path)
    await _make_usable(live_path, settings.busy_timeout_s)
    live = Index(live_path, readers=1, busy_timeout_s=settings.busy_timeout_s)
    building = live_path.with_name("rebuild.db")
    async with sync_lock(live):
        await live.open()
        try:
            reader = (await make_sync_context(live, settings)).reader
            report = await _build(live, building, reader, settings, on_progress, force=force)
        finally:
            await live.close()
        try:
            _discard(building)
        except IndexUnusable as error:
            log.warning("the index is rebuilt, but its temporary directory could not be removed: %s", error)
    return report


async def _rebuild_in_place(settings: Settings, on_progress: OnProgress, *, force: bool) -> SyncReport:
    """Read all files again into an index that other programs use meanwhile: a copy of its tables is not made.

    Rows are served as they are until their files were read; events are missing until then.
    """
    index = make_index(settings, readers=1)
    await index.make_ready(settings.busy_timeout_s)
    try:
        async with sync_lock(index):
            context = await make_sync_context(index, settings)
            await index.write(_distrust_all, durable=True)
            report = await bring_up_to_date(context, on_progress=on_progress, allow_empty=force)
            await index.write(tally.recount)  # each row only added to the counts as they were
            return report
    finally:
        await index.close()


def _distrust_all(connection: WriteConnection) -> None:
    conversation_rows.invalidate_all(connection)
    event_rows.delete_all(connection)
    state.begin_epoch(connection, state.get_revision_to_write(connection).revision)


async def _make_usable(path: Path, timeout_s: float) -> None:
    """Migrate the current index to the current schema. A damaged one is first set aside under a new name."""
    damaged = find_identity(path)
    try:
        await asyncio.to_thread(migrations.upgrade, path, wait_s=timeout_s)
    except IndexDamaged:
        await replace_damaged(path, damaged)


async def _build(
    live: Index, building: Path, reader: Reader, settings: Settings, on_progress: OnProgress, *, force: bool
) -> SyncReport:
    try:
        await asyncio.to_thread(migrations.upgrade, building)
    except (SchemaTooNew, IndexUnusable, MigrationFailed):
        _discard(building)
        await asyncio.to_thread(migrations.upgrade, building)
    fresh = Index(building, readers=1, busy_timeout_s=settings.busy_timeout_s)
    await fresh.open()
    context = StoreContext(fresh, reader)
    try:
        report = await bring_up_to_date(context, on_progress=on_progress, allow_empty=True)
        if not force:
            await _require_plausible(live, fresh)
        async with live.locked():  # no other process writes rows between the last sync and the copy
            last_sync = await bring_up_to_date(context, allow_empty=True)
            await copy_into(fresh, live)
    finally:
        await fresh.close()
    report.added += last_sync.added
    report.seconds += last_sync.seconds
    return report


async def _require_plausible(live: Index, fresh: Index) -> None:
    async with live.read() as connection:
        before = await conversation_lookup.count_totals(connection)
    async with fresh.read() as connection:
        after = await conversation_lookup.count_totals(connection)
    if before.conversations and not after.conversations:
        raise RebuildRefused(
            f"the rebuilt index is empty, but the current one has {before.conversations} conversations; "
            "check that the disk is mounted. Use --force if all were removed on purpose"
        )
    if after.unreadable > max(before.unreadable, after.conversations // 2):
        raise RebuildRefused(
            f"{after.unreadable} of {after.conversations} conversations could not be read, more than in the current "
            f"index ({before.unreadable}); check the disk, or use --force to accept the result"
        )


def _discard(building: Path) -> None:
    try:
        for suffix in ("", "-wal", "-shm", ".lock", ".turn", ".open"):
            building.with_name(building.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise IndexUnusable(f"{building} cannot be removed ({error.strerror}); check its disk") from error
