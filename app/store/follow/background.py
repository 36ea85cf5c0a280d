"""What a serving process does behind its back: bring the index up to date, and keep it so, without anybody waiting."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from functools import partial

from app.errors import IndexBusy, IndexUnusable, StoreError, StoreUnavailable, SyncRunning
from app.index import state
from app.store.emptying import keep_tidy
from app.store.follow.full_sync import SyncReport
from app.store.follow.index_repair import keep_usable
from app.store.follow.leader import on_duty
from app.store.follow.watcher import TICK_S, Sweep
from app.store.merging import keep_words_small
from app.store.store import ConversationStore
from app.store.verifying import keep_verifying

log = logging.getLogger(__name__)

_OTHER_SYNC_S = 1.0
_MERGE_EVERY_S = 600.0
_RETRY_S = 10.0
_SOON_S = 1.0
_SAY_EVERY_S = 10.0
_REST = 10
"""A look that takes long is followed by a rest of so many times its duration, up to `_REST_MOST_S`."""
_REST_MOST_S = 1.5


async def follow(store: ConversationStore) -> None:
    """Keep the index usable, and in step with the files, for as long as the process lives.

    Every process looks after its own connections; of several processes on one store, one looks at the files.
    """
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(keep_usable(store.index, store.reader.root))
        tasks.create_task(_keep_in_step(store))


async def _keep_in_step(store: ConversationStore) -> None:
    async with on_duty(store.index), asyncio.TaskGroup() as tasks:
        tasks.create_task(keep_tidy(store.reader.root, store.settings.trash_days))
        tasks.create_task(keep_verifying(store, store.settings.verify_hours))
        tasks.create_task(_keep_words_small(store))
        while True:
            began_ns = time.time_ns()
            report = await catch_up(store)
            await _keep_sweeping(store, Sweep(store.index, store.reader, report.duplicates, since_ns=began_ns))


async def _keep_words_small(store: ConversationStore) -> None:
    while True:
        await asyncio.sleep(_MERGE_EVERY_S)
        with suppress(StoreError):
            await keep_words_small(store.index)


async def catch_up(store: ConversationStore) -> SyncReport:
    """Compare everything once, trying again while that fails or another process does it, and say what was found."""
    report = await _sync_when_possible(store)
    for name in report.duplicates:
        log.warning("%s is a second directory for an id and is not listed", name)
    log.info(
        "index in step: %d conversations (%d new, %d changed, %d removed, %d unreadable) in %.1f s",
        report.conversations, report.added, report.changed, report.removed, report.unreadable, report.seconds,
    )  # fmt: skip
    return report


async def _keep_sweeping(store: ConversationStore, sweep: Sweep) -> None:
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
    await store.index.write(partial(state.leap, to=time.time_ns() // 1_000_000))


async def _note_error(store: ConversationStore, text: str | None) -> None:
    """Have the index's status tell what is wrong, if the index can be written."""
    with suppress(StoreError):
        await store.index.write(partial(state.set_progress, last_error=text))


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
