"""Whose turn it is to write to an index, in one process: in the order in which they asked, threads and tasks alike.

Between processes the lock of all decides (`app.index.locking`).
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager


class Turns:
    """The turns of one process, before the lock of all."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._waiting: deque[Future[None]] = deque()

    @asynccontextmanager
    async def awaited(self) -> AsyncIterator[None]:
        """Have a turn, in a task."""
        asked = self._ask()
        if asked is not None:
            try:
                await asyncio.wrap_future(asked)
            except asyncio.CancelledError:
                if not asked.cancel():
                    self._pass_on()
                raise
        try:
            yield
        finally:
            self._pass_on()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Have a turn, in a thread."""
        asked = self._ask()
        if asked is not None:
            asked.result()
        try:
            yield
        finally:
            self._pass_on()

    def _ask(self) -> Future[None] | None:
        """Return what is done once it is the turn of the one who asks; None: it is at once."""
        with self._guard:
            if not self._taken:
                self._taken = True
                return None
            asked: Future[None] = Future()
            self._waiting.append(asked)
            return asked

    def _pass_on(self) -> None:
        with self._guard:
            while self._waiting:
                following = self._waiting.popleft()
                if following.set_running_or_notify_cancel():
                    following.set_result(None)
                    return
            self._taken = False
