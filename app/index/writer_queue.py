"""The queue of writers in one process: threads and tasks take turns in the order in which they asked."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, asynccontextmanager
from typing import NamedTuple


class Asked(NamedTuple):
    """A position in the queue. `turn` is done when the turn has come; cancelling it before that leaves the queue."""

    turn: Future[None]
    at: float
    """The time of the request on the monotonic clock."""


_COME: Future[None] = Future()
"""A turn that has come. Whoever asks while nobody writes gets this one, because making another takes 10 us."""

_COME.set_result(None)


class WriterQueue:
    """The waiting writers of one process, in the order of their requests."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._waiting: deque[Future[None]] = deque()

    def ask(self) -> Asked:
        """Ask for a turn."""
        with self._guard:
            if not self._taken:
                self._taken = True
                return Asked(_COME, time.monotonic())
            asked = Asked(Future(), time.monotonic())
            self._waiting.append(asked.turn)
            return asked

    def turn(self, asked: Asked) -> AbstractContextManager[None]:
        """Wait in this thread for the turn, and hold it during the block.

        Raises:
            concurrent.futures.CancelledError: the turn was cancelled.
        """
        return _Turn(self, asked)

    @asynccontextmanager
    async def turn_of_task(self) -> AsyncIterator[None]:
        """Ask for a turn, wait for it in this task, and hold it during the block."""
        asked = self.ask()
        try:
            await asyncio.wrap_future(asked.turn)
        except asyncio.CancelledError:
            if not asked.turn.cancel():  # the turn had come, but the task was cancelled before it noticed
                self.pass_on()
            raise
        try:
            yield
        finally:
            self.pass_on()

    def pass_on(self) -> None:
        """Give the turn to the next writer."""
        with self._guard:
            while self._waiting:
                following = self._waiting.popleft()
                if following.set_running_or_notify_cancel():
                    following.set_result(None)
                    return
            self._taken = False


class _Turn(AbstractContextManager[None]):
    """A class, because an append takes one, and a generator takes longer than the locks."""

    __slots__ = ("_asked", "_queue")

    def __init__(self, queue: WriterQueue, asked: Asked) -> None:
        self._queue, self._asked = queue, asked

    def __enter__(self) -> None:
        if self._asked.turn is not _COME:
            self._asked.turn.result()

    def __exit__(self, *_: object) -> None:
        self._queue.pass_on()
