"""Index repair: replaces or reopens a damaged, deleted or replaced index while the server keeps answering."""

from __future__ import annotations

import asyncio
import logging
import time

from ...errors import StoreError, StoreUnavailable
from ...files import layout
from ..context import StoreContext

log = logging.getLogger(__name__)

_LOOK_S = 0.5
_REST_S = 20.0
"""The seconds after a replacement during which an index is not replaced again."""


async def keep_usable(context: StoreContext) -> None:
    """Check continuously that the conversations exist and the index is usable; otherwise replace or reopen it."""
    index = context.index
    replaced_at = -_REST_S
    logged = ""
    while True:
        await asyncio.sleep(_LOOK_S)
        try:
            await context.presence.refresh(index)
            if index.damaged or await asyncio.to_thread(index.is_unusable):
                if time.monotonic() - replaced_at >= _REST_S:
                    replaced_at = time.monotonic()
                    await replace_unusable(context)
                    logged = ""
            elif index.rebuilding or index.building:
                await index.refresh_rebuilding()
        except (StoreError, OSError) as error:
            if str(error) != logged:
                logged = str(error)
                log.error("the index cannot be repaired; trying again: %s", logged)  # noqa: TRY400
            replaced_at = time.monotonic() - _REST_S + 2 * _LOOK_S


async def replace_unusable(context: StoreContext) -> None:
    """Close the index, replace it with an empty one if it is damaged or missing, and open it again.

    Raises:
        StoreUnavailable: the conversations directory is missing too; an empty index would list no conversations.
        IndexUnusable: the index cannot be replaced now.
    """
    await asyncio.to_thread(_require_store, context)
    await context.index.replace()


def _require_store(context: StoreContext) -> None:
    root = context.root
    if not root.is_dir() or not (context.index.has_place() or layout.has_conversations(root)):
        raise StoreUnavailable(f"the conversations directory {root} is missing or suddenly empty; mount or restore it")
