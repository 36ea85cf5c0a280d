"""Memory settings of a process, and child processes for reading, which are spawned, small, and end with their parent.

Each child imports this module, so the module imports nothing that a child does not need.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing import connection, parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_LARGE_BYTES = 1 << 17
_ARENAS = 2


def return_large_blocks() -> None:
    """Make glibc return each freed block of 128 kB or more to the operating system at once.

    By default, glibc raises this limit up to 32 MB as larger blocks are freed. Blocks below the limit come from an
    arena of the thread, and small blocks that are still in use keep freed memory in the arena. Other C libraries are
    not changed.
    """
    import ctypes  # noqa: PLC0415 - only servers need it

    with suppress(AttributeError, OSError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        set_option(_M_ARENA_MAX, _ARENAS)


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
