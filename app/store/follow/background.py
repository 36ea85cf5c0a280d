"""The background tasks of a serving process.

Every process keeps its own index connections usable. The leader also runs the full sync and the watcher, removes old
conversations from the trash, removes leftovers of a killed create or fork, keeps the text index small, and slowly
compares all rows with the files if the settings ask for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from ... import trail
from ...errors import (
    IndexBusy,
    IndexUnusable,
    OutOfMemory,
    StoreError,
    StoreUnavailable,
    SyncRunning,
    is_out_of_memory,
)
from ...files import staging
from ...index import conversation_lookup, state
from ...model.ids import dashed
from ...settings import Settings
from ...trail import Act, Result
from ..admin.export_files import EXPORTS, remove_expired
from ..store import ConversationStore
from ..write import deletion
from ..write.creation import STAGING
from .change_hints import ChangeHints
from .full_sync import SyncReport
from .index_repair import keep_usable
from .leader import lead
from .verify import BATCH, verify
from .watcher import TICK_S, Watcher

log = logging.getLogger(__name__)

_OTHER_SYNC_S = 1.0
_MERGE_EVERY_S = 600.0
_RETRY_S = 10.0
_SOON_S = 1.0
_SAY_EVERY_S = 10.0
_REST = 10
"""After a long tick, the watcher pauses for this many times the tick's duration, up to `_REST_MOST_S`."""
_REST_MOST_S = 1.5
_TIDY_EVERY_S = 600.0
_STAGING_AGE_S = 24 * 3600.0
"""A staging directory older than this does not belong to a running create or fork."""
_DAY_US = 24 * 3600 * 1_000_000
_VERIFY_RETRY_S = 60.0
_WAIT_S = 1.0


async def run_background(store: ConversationStore, *, tidy: bool = True) -> None:
    """Run the background tasks for as long as the process lives.

    Unless `tidy`, nothing is removed: neither leftovers nor old conversations in the trash.
    """
    store.hear_other_hosts()
    while True:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(keep_usable(store.context))
                tasks.create_task(_lead(store, tidy=tidy))
        except ExceptionGroup as errors:
            if not is_out_of_memory(errors):
                raise
            log.error("the conversations cannot be followed; trying again: %s", OutOfMemory(errors))  # noqa: TRY400
            await asyncio.sleep(_RETRY_S)


async def _lead(store: ConversationStore, *, tidy: bool) -> None:
    async with lead(store.index), asyncio.TaskGroup() as tasks:
        if tidy:
            tasks.create_task(_keep_tidy(store.reader.root, store.settings))
        tasks.create_task(_keep_verifying(store, store.settings.verify_hours))
        tasks.create_task(_keep_words_small(store))
        while True:
            began_ns = time.time_ns()
            report = await sync_until_done(store)
            watcher = Watcher(
                store.context, report.duplicates, since_ns=began_ns, hints=ChangeHints(store.context.root)
            )
            try:
                await _watch(store, watcher)
            finally:
                await watcher.close()


async def _keep_words_small(store: ConversationStore) -> None:
    while True:
        await asyncio.sleep(_MERGE_EVERY_S)
        with suppress(StoreError):
            async for _ in store.index.merge_words(always=False):
                pass


async def sync_until_done(store: ConversationStore) -> SyncReport:
    """Run a full sync and log the result. Retry while it fails or while another process is syncing."""
    report = await _sync_when_possible(store)
    for name in report.duplicates:
        log.warning("%s is a second directory for an id and is not listed", name)
    log.info(
        "index is up to date: %d conversations (%d new, %d changed, %d removed, %d unreadable) in %.1f s",
        report.conversations, report.added, report.changed, report.removed, report.unreadable, report.seconds,
    )  # fmt: skip
    return report


async def _watch(store: ConversationStore, watcher: Watcher) -> None:
    """Run the watcher until the index is replaced by another one."""
    logged: str | None = None
    opened = store.index.opened
    pause = TICK_S
    while True:
        await asyncio.sleep(pause)
        if store.index.opened != opened or store.index.rebuilding:
            return
        began = time.monotonic()
        try:
            await watcher.tick()
            if logged is not None:
                logged = None
                log.info("the conversations can be read again")
                await _note_error(store, None)
            took = time.monotonic() - began
            pause = max(TICK_S - took, min(took * _REST, _REST_MOST_S))
        except (StoreError, OSError) as error:
            store.index.note("sweep_failure", 1)
            if str(error) != logged and store.index.opened == opened:
                logged = str(error)
                log.error("changes to the conversations cannot be followed; trying again: %s", logged)  # noqa: TRY400
                await _note_error(store, logged)
            pause = _pause_s(error)


async def _note_error(store: ConversationStore, text: str | None) -> None:
    """Write an error into the index's status, if the index can be written."""
    with suppress(StoreError):
        await store.index.write(partial(state.set_state, last_error=text))


class _Progress:
    """Logs the progress of a full sync every ten seconds."""

    def __init__(self) -> None:
        self._logged_at = time.monotonic()

    def show(self, phase: str, done: int, total: int) -> None:
        if time.monotonic() - self._logged_at >= _SAY_EVERY_S:
            self._logged_at = time.monotonic()
            if phase == "text":
                log.info("merging the text index: step %d of about %d", done, total)
            else:
                log.info("reading %s: %d of %d conversations", phase, done, total)


async def _sync_when_possible(store: ConversationStore) -> SyncReport:
    logged = ""
    while True:
        try:
            # A power cut or a lost WAL may have undone revisions that clients already know, so start above all of them.
            await store.index.write(partial(state.raise_revision, to=time.time_ns() // 1_000_000))
            await store.recover()
            return await store.sync(on_progress=_Progress().show)
        except SyncRunning as error:
            if not logged:
                log.info("%s", error)
            logged = str(error)
            await asyncio.sleep(_OTHER_SYNC_S)
        except StoreError as error:
            store.index.note("sweep_failure", 1)
            if str(error) != logged:
                logged = str(error)
                log.error("the index could not be brought up to date; trying again: %s", logged)  # noqa: TRY400
            await asyncio.sleep(_pause_s(error))


def _pause_s(error: Exception) -> float:
    """Return the pause after an error. It is short if a retry is cheap and the store may soon be usable again."""
    return _SOON_S if isinstance(error, IndexBusy | IndexUnusable | StoreUnavailable) else _RETRY_S


async def _keep_tidy(root: Path, settings: Settings) -> None:
    """Remove leftovers, expired exports, and old entries of the trash, now and every ten minutes."""
    while True:
        await asyncio.to_thread(staging.remove_leftovers, root, STAGING, time.time() - _STAGING_AGE_S)
        await _empty_trash(root, settings.trash_days)
        with suppress(OSError):
            await asyncio.to_thread(remove_expired, settings.state_dir / EXPORTS)
        await asyncio.sleep(_TIDY_EVERY_S)


async def _empty_trash(root: Path, days: float) -> None:
    removed = []
    before_us = time.time_ns() // 1000 - int(days * _DAY_US) if days else 0
    try:
        async for entry in deletion.empty(root, before_us):
            removed.append(dashed(entry.id))  # noqa: PERF401 - what was removed before an error counts
    except StoreError as error:
        log.warning("old entries of the trash cannot be removed; trying again: %s", error)
    if removed:
        log.info("permanently removed %d conversations that were deleted %g days ago", len(removed), days)
        trail.write(Act.WRITE, Result.DONE, method="SERVER", route="trash_days", status=0, ids=removed)


async def _keep_verifying(store: ConversationStore, hours: float) -> None:
    """Verify all conversations repeatedly, each within about this number of hours; 0 means never."""
    while hours:
        try:
            if not store.index.rebuilding and (await store.get_status())[0].last_sweep_at:
                await verify_slowly(store, hours * 3600)
            else:
                await asyncio.sleep(
                    _WAIT_S
                )  # wait for the first sync, because a conversation without a row would count as a difference
        except (StoreError, OSError) as error:
            log.error("index and files cannot be compared; trying again: %s", error)  # noqa: TRY400
            await asyncio.sleep(_VERIFY_RETRY_S)


async def verify_slowly(store: ConversationStore, within_s: float) -> int:
    """Verify all conversations in about `within_s` seconds, correct and log differences, and return their number."""
    async with store.index.read() as connection:
        conversations = (await conversation_lookup.count_totals(connection)).conversations
    pause_s = within_s / (conversations // BATCH + 1)
    differences = 0
    async for one in verify(store.context, fix=True, pause_s=pause_s):
        differences += 1
        log.warning(
            "index and files differed in conversation %s, %s: %s, in the files %s%s",
            one.conversation, one.what, one.in_index, one.in_files, "; corrected" if one.fixed else "",
        )  # fmt: skip
    if not conversations:
        await asyncio.sleep(within_s)
    log.info("index and files compared: %d conversations, %d differences", conversations, differences)
    return differences
