"""What goes for good behind a server: what was deleted long ago, and what a killed create or fork left half-built."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from app.errors import StoreError
from app.files import staging
from app.store.write import deletion
from app.store.write.creation import STAGING

log = logging.getLogger(__name__)

EVERY_S = 600.0
_LEFT_S = 24 * 3600.0
_DAY_US = 24 * 3600 * 1_000_000


async def keep_tidy(root: Path, trash_days: float) -> None:
    """Look at once and every ten minutes, for as long as the process lives; with 0 days the trash keeps everything."""
    while True:
        await asyncio.to_thread(staging.remove_left, root, STAGING, time.time() - _LEFT_S)
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
