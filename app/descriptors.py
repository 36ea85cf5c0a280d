"""File descriptors that are opened in a thread, because opening may take long."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


@asynccontextmanager
async def opened_in_thread(open_one: Callable[[], int]) -> AsyncIterator[int]:
    """Call `open_one` in a thread, yield the descriptor that it returns, and close it after the block.

    A cancelled task waits for the thread. Otherwise nobody would close the descriptor that the thread returns later.
    """
    opening = asyncio.create_task(asyncio.to_thread(open_one))
    try:
        descriptor = await asyncio.shield(opening)
    except asyncio.CancelledError:
        await asyncio.wait([opening])
        if opening.exception() is None:
            os.close(opening.result())
        raise
    try:
        yield descriptor
    finally:
        os.close(descriptor)
