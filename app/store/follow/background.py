"""What a serving process does in the background, for as long as it lives, without anybody waiting.

It keeps the index usable and in step with the files. It removes for good what was deleted long ago, and what a killed
create or fork left half-built. It keeps the index of words small. It compares all rows with the files slowly, if asked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from app.errors import IndexBusy, IndexUnusable, StoreError, StoreUnavailable, SyncRunning
from app.files import staging
from app.index import conversation_lookup, state
from app.store.follow.full_sync import SyncReport, keep_words_small
from app.store.follow.index_repair import keep_usable
from app.store.follow.leader import lead
from app.store.follow.verify import BATCH, verify
from app.store.follow.watcher import TICK_S, Watcher
from app.store.store import ConversationStore
from app.store.write import deletion
from app.store.write.creation import STAGING

log = logging.getLogger(__name__)

_OTHER_SYNC_S = 1.0
_MERGE_EVERY_S = 600.0
_RETRY_S = 10.0
_SOON_S = 1.0
_SAY_EVERY_S = 10.0
_REST = 10
"""A look that takes long is followed by a rest of so many times its duration, up to `_REST_MOST_S`."""
_REST_MOST_S = 1.5


async def run_background(store: ConversationStore) -> None:
    """Keep the index usable, and in step with the files, for as long as the process lives.

    Every process looks after its own connections; of several processes on one store, one looks at the files.
    """
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(keep_usable(store.context))
        tasks.create_task(_keep_in_step(store))


async def _keep_in_step(store: ConversationStore) -> None:
    async with lead(store.index), asyncio.TaskGroup() as tasks:
        tasks.create_task(keep_tidy(store.reader.root, store.settings.trash_days))
        tasks.create_task(keep_verifying(store, store.settings.verify_hours))
        tasks.create_task(_keep_words_small(store))
        while True:
            began_ns = time.time_ns()
            report = await sync_until_done(store)
            await _keep_sweeping(store, Watcher(store.context, report.duplicates, since_ns=began_ns))


async def _keep_words_small(store: ConversationStore) -> None:
    while True:
        await asyncio.sleep(_MERGE_EVERY_S)
        with suppress(StoreError):
            await keep_words_small(store.index)


async def sync_until_done(store: ConversationStore) -> SyncReport:
    """Compare everything once, trying again while that fails or another process does it, and say what was found."""
    report = await _sync_when_possible(store)
    for name in report.duplicates:
        log.warning("%s is a second directory for an id and is not listed", name)
    log.info(
        "index in step: %d conversations (%d new, %d changed, %d removed, %d unreadable) in %.1f s",
        report.conversations, report.added, report.changed, report.removed, report.unreadable, report.seconds,
    )  # fmt: skip
    return report


async def _keep_sweeping(store: ConversationStore, sweep: Watcher) -> None:
    """Sweep until another index stands in the place of the one that was swept."""
    told: str | None = None
    opened = store.index.opened
    pause = TICK_S
    while True:
        await asyncio.sleep(pause)
        if store.index.opened != opened or store.index.rebuilding:
            return
        began = time.monotonic()
        try:
            await sweep.tick()
            if told is not None:
                told = None
                log.info("the conversations are looked at again")
                await _note_error(store, None)
            took = time.monotonic() - began
            pause = max(TICK_S - took, min(took * _REST, _REST_MOST_S))
        except (StoreError, OSError) as error:
            if str(error) != told and store.index.opened == opened:
                told = str(error)
                log.error("changes of the conversations cannot be followed, trying again: %s", told)  # noqa: TRY400
                await _note_error(store, told)
            pause = _pause_s(error)


async def _leap(store: ConversationStore) -> None:
    """Begin with a revision that no server has given out: a crash, or a lost log, may have taken some back."""
    await store.index.write(partial(state.raise_revision, to=time.time_ns() // 1_000_000))


async def _note_error(store: ConversationStore, text: str | None) -> None:
    """Have the index's status tell what is wrong, if the index can be written."""
    with suppress(StoreError):
        await store.index.write(partial(state.set_state, last_error=text))


class _Progress:
    """Says in the log how far a sync is, every ten seconds while it lasts."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def show(self, phase: str, done: int, total: int) -> None:
        if time.monotonic() - self._said_at >= _SAY_EVERY_S:
            self._said_at = time.monotonic()
            if phase == "text":
                log.info("merging the index of words: step %d of about %d", done, total)
            else:
                log.info("reading %s: %d of %d conversations", phase, done, total)


async def _sync_when_possible(store: ConversationStore) -> SyncReport:
    told = ""
    while True:
        try:
            await _leap(store)
            await store.recover()
            return await store.sync(on_progress=_Progress().show)
        except SyncRunning as error:
            if not told:
                log.info("%s", error)
            told = str(error)
            await asyncio.sleep(_OTHER_SYNC_S)
        except StoreError as error:
            if str(error) != told:
                told = str(error)
                log.error("the index could not be brought up to date, trying again: %s", told)  # noqa: TRY400
            await asyncio.sleep(_pause_s(error))


def _pause_s(error: Exception) -> float:
    """Return how long to wait after an error: not long when a look is cheap and may find the store usable again."""
    return _SOON_S if isinstance(error, IndexBusy | IndexUnusable | StoreUnavailable) else _RETRY_S


EVERY_S = 600.0
_LEFT_S = 24 * 3600.0
_DAY_US = 24 * 3600 * 1_000_000


async def keep_tidy(root: Path, trash_days: float) -> None:
    """Look at once and every ten minutes, for as long as the process lives; with 0 days the trash keeps everything."""
    while True:
        await asyncio.to_thread(staging.remove_leftovers, root, STAGING, time.time() - _LEFT_S)
        await _empty_trash(root, trash_days)
        await asyncio.sleep(EVERY_S)


async def _empty_trash(root: Path, days: float) -> None:
    removed = 0
    before_us = time.time_ns() // 1000 - int(days * _DAY_US) if days else 0
    try:
        async for _ in deletion.empty(root, before_us):
            removed += 1
    except StoreError as error:
        log.warning("the trash cannot be emptied: %s", error)
    if removed:
        log.info("%d conversations that were deleted %g days ago are removed for good", removed, days)


_VERIFY_RETRY_S = 60.0
_WAIT_S = 1.0


async def keep_verifying(store: ConversationStore, hours: float) -> None:
    """Go through all conversations again and again, each time within about so many hours; 0 does nothing."""
    while hours:
        try:
            if not store.index.rebuilding and (await store.get_status())[0].last_sweep_at:
                await verify_slowly(store, hours * 3600)
            else:
                await asyncio.sleep(_WAIT_S)  # what was never read is no difference
        except (StoreError, OSError) as error:
            log.error("index and files cannot be compared, trying again: %s", error)  # noqa: TRY400
            await asyncio.sleep(_VERIFY_RETRY_S)


async def verify_slowly(store: ConversationStore, within_s: float) -> int:
    """Compare everything once in about `within_s` seconds, mend what differs, log it, and return how much it was."""
    async with store.index.read() as connection:
        number = (await conversation_lookup.count_totals(connection)).conversations
    pause_s = within_s / (number // BATCH + 1)
    found = 0
    async for one in verify(store.context, fix=True, pause_s=pause_s):
        found += 1
        log.warning(
            "index and files differed in conversation %s, %s: %s, in the files %s%s",
            one.conversation, one.what, one.in_index, one.in_files, "; mended" if one.fixed else "",
        )  # fmt: skip
    if not number:
        await asyncio.sleep(within_s)
    log.info("index and files compared: %d conversations, %d differences", number, found)
    return found
