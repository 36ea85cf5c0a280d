"""Answers that are expensive and may be some seconds old: each is made once at a time, and kept for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """The result of `make`, at most `seconds` old. Requests that come while it is being made wait for it."""

    def __init__(self, make: Callable[[], Awaitable[T]], seconds: float) -> None:
        self._make = make
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self._found: tuple[float, T] | None = None

    @property
    def age_s(self) -> float:
        """The number of seconds since the result was made, or 0 without one."""
        return 0.0 if self._found is None else time.monotonic() - self._found[0]

    async def get(self) -> T:
        """Return the result. An error is not kept: the next request tries again."""
        async with self._lock:
            if self._found is None or time.monotonic() - self._found[0] > self._seconds:
                self._found = None
                self._found = (time.monotonic(), await self._make())
            return self._found[1]
