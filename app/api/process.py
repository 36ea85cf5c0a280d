"""The server's processes: how a process stops in time, and how a parent keeps its workers running."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from uvicorn.supervisors import Multiprocess

log = logging.getLogger(__name__)

_FAILED_TO_START = 3
"""uvicorn's exit code if the application did not start."""


def on_stop(callback: Callable[[], None]) -> None:
    """Call `callback` on the running event loop when a signal asks this process to stop.

    uvicorn waits for unfinished answers before it ends the application. An event stream never finishes by itself, so it
    must be notified earlier.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def handle(number: int, frame: FrameType | None, before: object = before) -> None:
            loop.call_soon_threadsafe(callback)
            if callable(before):
                before(number, frame)

        signal.signal(number, handle)


def end_process_within(seconds: float) -> None:
    """Exit after `seconds` even if a thread hangs in disk I/O. Python itself cannot end a thread."""
    threading.Thread(target=_end_process, args=(seconds,), daemon=True).start()


def _end_process(after_s: float) -> None:
    time.sleep(after_s)
    log.error("did not stop within %g s and was ended; all acknowledged changes are on disk", after_s)
    os._exit(1)


class Supervisor(Multiprocess):
    """The parent of the workers of `convstore serve --workers N`. Replaces a worker as soon as it has died."""

    def keep_subprocess_alive(self) -> None:
        """Check each worker once.

        First closes the parent's copy of the worker's end of the pipe. While that copy is open, the parent does not
        notice if a worker dies during its health check.
        """
        for process in self.processes:
            process.child_conn.close()
        super().keep_subprocess_alive()

    @property
    def failed(self) -> bool:
        """Whether a worker could not start, which ended the server."""
        return any(process.exitcode == _FAILED_TO_START for process in self.processes)
