"""The server's processes: how a process stops in time, and how a parent keeps its workers running."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from socket import socket
from types import FrameType

from prometheus_client.multiprocess import mark_process_dead
from pydantic import ValidationError
from uvicorn.config import Config
from uvicorn.supervisors import Multiprocess

from .. import logs
from ..errors import InvalidSettings
from ..settings import Settings

log = logging.getLogger(__name__)

_FAILED_TO_START = 3
"""uvicorn's exit code if the application did not start."""


REPLACES = "_CONVSTORE_REPLACES"
"""This variable is in the environment of a worker that replaces a dead one."""

STOPPING = (signal.SIGTERM, signal.SIGINT)
RELOADING = (signal.SIGHUP,)


def is_in_terminal() -> bool:
    """Whether a person started this process in a terminal, where SIGHUP means that the terminal was closed."""
    return sys.stdin is not None and sys.stdin.isatty()


def ignore_sudden_signals() -> None:
    """Ignore the signals that would end a process without notice. Its workers inherit this.

    SIGHUP gets a meaning when the application has started. In a terminal it keeps its own: it ends the process.
    """
    for number in (signal.SIGUSR1, signal.SIGUSR2, *(() if is_in_terminal() else RELOADING)):
        signal.signal(number, signal.SIG_IGN)


def on_signals(numbers: Iterable[signal.Signals], callback: Callable[[], None]) -> None:
    """Call `callback` on the running event loop when one of these signals comes, beside what the signal does already.

    uvicorn waits for unfinished answers before it ends the application. An event stream never finishes by itself, so it
    must be notified of a stop earlier.
    """
    loop = asyncio.get_running_loop()
    for number in numbers:
        before = signal.getsignal(number)

        def handle(number: int, frame: FrameType | None, before: object = before) -> None:
            loop.call_soon_threadsafe(callback)
            if callable(before):
                before(number, frame)

        signal.signal(number, handle)


def reload_log_level(settings: Settings) -> None:
    """Set the log level to that in the settings file now. If the file cannot be used, the level stays."""
    try:
        level = settings.read_log_level()
    except (InvalidSettings, ValidationError, OSError) as error:
        log.error("the settings file cannot be read again, and the log level stays: %s", error)  # noqa: TRY400
        return
    logs.set_level(level)
    if level != settings.log_level:
        settings.log_level = level
        log.warning("the log level is now %s", level)


def end_process_within(seconds: float) -> None:
    """Exit after `seconds` even if a thread hangs in disk I/O. Python itself cannot end a thread.

    Where there is no memory for one more thread, the process ends without this limit.
    """
    with suppress(RuntimeError, MemoryError):
        threading.Thread(target=_end_process, args=(seconds,), daemon=True).start()


def _end_process(after_s: float) -> None:
    time.sleep(after_s)
    log.error("did not stop within %g s and was ended; all acknowledged changes are on disk", after_s)
    os._exit(1)


class Supervisor(Multiprocess):
    """The parent of the workers of `convstore serve --workers N`. Replaces a worker as soon as it has died."""

    def __init__(self, config: Config, sockets: list[socket], reload: Callable[[], None]) -> None:
        super().__init__(config, sockets)
        self._reload = reload

    def init_processes(self) -> None:
        """Start the workers. All that are started later replace one that died, and count themselves as restarts."""
        super().init_processes()
        os.environ[REPLACES] = "1"

    def keep_subprocess_alive(self) -> None:
        """Check each worker once.

        First closes the parent's copy of the worker's end of the pipe. While that copy is open, the parent does not
        notice if a worker dies during its health check.
        """
        before = [process.pid for process in self.processes]
        for process in self.processes:
            process.child_conn.close()
        super().keep_subprocess_alive()
        for pid in {*before} - {process.pid for process in self.processes}:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]

    def handle_hup(self) -> None:
        """Pass SIGHUP on to the workers, which read keys and log level again. uvicorn would restart them."""
        if is_in_terminal():
            self.handle_term()
            return
        self._reload()
        for process in self.processes:
            if process.pid is not None and process.exitcode is None:
                os.kill(process.pid, signal.SIGHUP)

    @property
    def failed(self) -> bool:
        """Whether a worker could not start, which ended the server."""
        return any(process.exitcode == _FAILED_TO_START for process in self.processes)
