"""How a serving process ends: what would never end by itself is told to, and what hangs is cut off."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

log = logging.getLogger(__name__)


def on_stop(tell: Callable[[], None]) -> None:
    """Have `tell` called on the running event loop when a signal tells this process to stop.

    uvicorn first waits for the answers that are being given, and only then ends the application. An event stream has
    no end of its own, so it has to hear of it before.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def handle(number: int, frame: FrameType | None, before: object = before) -> None:
            loop.call_soon_threadsafe(tell)
            if callable(before):
                before(number, frame)

        signal.signal(number, handle)


def end_process_within(seconds: float) -> None:
    """End this process the hard way if it is still there then: a thread may hang in a disk, and none can be ended."""
    threading.Thread(target=_end_process, args=(seconds,), daemon=True).start()


def _end_process(after_s: float) -> None:
    time.sleep(after_s)
    log.error("did not stop within %g s and is ended; what was acknowledged is on disk", after_s)
    os._exit(1)
