"""Child processes for reading: spawned, not forked, small, and ended with their parent.

Each such process imports this module, so it imports nothing that they do not need.
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
    """A spawned process that does not import its parent's main program, which would cost more than most reading.

    The process ignores Ctrl-C, which a terminal sends to all its processes. The parent handles it and ends its
    children.
    """

    def start(self) -> None:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the child inherits this mask
        program = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")  # multiprocessing makes the child import this module
        try:
            super().start()
        finally:
            sys.modules["__main__"] = program
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


class Spawn(SpawnContext):
    """The multiprocessing context that starts such processes."""

    Process = _Process


def die_with_parent(signal_number: int = signal.SIGKILL) -> None:
    """Send this process a signal when its parent ends for any reason."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_signal, args=(parent.sentinel, signal_number), daemon=True).start()


def _wait_and_signal(sentinel: int, signal_number: int) -> None:
    connection.wait([sentinel])
    os.kill(os.getpid(), signal_number)
