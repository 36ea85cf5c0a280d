"""Verifying slowly all the time: a server that compares everything once in so many hours, and mends what differs."""

from __future__ import annotations

import asyncio
import logging

from app.errors import StoreError
from app.index import conversation_lookup
from app.store.follow.verify import BATCH, verify
from app.store.store import ConversationStore

log = logging.getLogger(__name__)

_RETRY_S = 60.0
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
            await asyncio.sleep(_RETRY_S)


async def verify_slowly(store: ConversationStore, within_s: float) -> int:
    """Compare everything once in about `within_s` seconds, mend what differs, log it, and return how much it was."""
    async with store.index.read() as connection:
        number = (await conversation_lookup.count_totals(connection)).conversations
    pause_s = within_s / (number // BATCH + 1)
    found = 0
    async for one in verify(store.index, store.reader, fix=True, pause_s=pause_s):
        found += 1
        log.warning(
            "index and files differed in conversation %s, %s: %s, in the files %s%s",
            one.conversation, one.what, one.in_index, one.in_files, "; mended" if one.fixed else "",
        )  # fmt: skip
    if not number:
        await asyncio.sleep(within_s)
    log.info("index and files compared: %d conversations, %d differences", number, found)
    return found
