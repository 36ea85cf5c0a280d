"""What a serving process does behind its back: bring the index up to date, without anybody waiting for it."""

from __future__ import annotations

import asyncio
import logging
import time

from app.errors import StoreError, SyncRunning
from app.store.store import ConversationStore
from app.store.sync import SyncReport, sync_some

log = logging.getLogger(__name__)

_RACY_S = 2.1
_OTHER_SYNC_S = 1.0
_RETRY_S = 10.0
_SAY_EVERY_S = 10.0


async def catch_up(store: ConversationStore) -> None:
    """Sync once; try again while that fails or another process does it; then look again at what had just changed."""
    report = await _sync_when_possible(store)
    for name in report.duplicates:
        log.warning("%s is a second directory for an id and is not listed", name)
    log.info(
        "index in step: %d conversations (%d new, %d changed, %d removed, %d unreadable) in %.1f s",
        report.conversations, report.added, report.changed, report.removed, report.unreadable, report.seconds,
    )  # fmt: skip
    while report.untrusted:
        await asyncio.sleep(_RACY_S)
        try:
            report = await sync_some(store.index, store.reader, report.untrusted)
        except StoreError as error:
            log.warning("a second look at %d conversations failed: %s", len(report.untrusted), error)


class _Progress:
    """Says in the log how far a sync is, every ten seconds while it lasts."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def show(self, phase: str, done: int, total: int) -> None:
        if time.monotonic() - self._said_at >= _SAY_EVERY_S:
            self._said_at = time.monotonic()
            log.info("reading %s: %d of %d conversations", phase, done, total)


async def _sync_when_possible(store: ConversationStore) -> SyncReport:
    told = False
    while True:
        try:
            return await store.sync(on_progress=_Progress().show)
        except SyncRunning as error:
            if not told:
                log.info("%s", error)
            told = True
            await asyncio.sleep(_OTHER_SYNC_S)
        except StoreError as error:
            log.error("the index could not be brought up to date, trying again in %.0f s: %s", _RETRY_S, error)  # noqa: TRY400
            await asyncio.sleep(_RETRY_S)
