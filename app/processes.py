"""Processes that read: spawned, never forked, small, and gone when their parent is.

Imports nothing that such a process does not need, since each imports this.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from multiprocessing import connection, parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType


class _Process(SpawnProcess):
    """A spawned process that does not import the program of its parent, which costs more than most reading.

    Ctrl-C, which a terminal sends to all of its processes, is the parent's to answer; it ends its children then.
    """

    def start(self) -> None:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which the child inherits
        program = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")  # multiprocessing has the child import what stands here
        try:
            super().start()
        finally:
            sys.modules["__main__"] = program
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


class Spawn(SpawnContext):
    """The context of multiprocessing in which such processes start."""

    Process = _Process


def die_with_parent(signal_number: int = signal.SIGKILL) -> None:
    """Send this process a signal when its parent ends, however the parent ends."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_signal, args=(parent.sentinel, signal_number), daemon=True).start()


def _wait_and_signal(sentinel: int, signal_number: int) -> None:
    connection.wait([sentinel])
    os.kill(os.getpid(), signal_number)
