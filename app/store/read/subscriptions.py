"""Following one conversation: its events in log order, each once, those that are there and those to come.

Replay and live are one thing: the page after the last event that was given, read from the index, which an opening
brings in step with the files. So nothing is lost or given twice where one ends and the other begins. A writer in this
process wakes its followers at once; what other programs write is found by looking, three stats each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile

from app.errors import TooManyFollowers
from app.files.log.event_log import RawEvent
from app.model.filters import EventFilter
from app.model.ids import ConversationId, EventName
from app.store.read.event_reader import Log

_BATCH = 100
_EAGER_S = 0.5
_IDLE_S = 2.0
_IDLE_AFTER = 120
"""Looks without a find, after which a follower looks only every `_IDLE_S`."""
_REFUSED_MOST = 120
"""Looks at an event that the system refuses to read, after which it is left out."""

_ALL = EventFilter()


class Followers:
    """Who follows which conversation in this process; nothing is kept of one that nobody follows."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._number = 0
        self.closed = False
        self._woken: dict[ConversationId, set[asyncio.Event]] = {}

    def wake(self, conversation_id: ConversationId) -> None:
        """Have the followers of a conversation look at once."""
        for woken in self._woken.get(conversation_id, ()):
            woken.set()

    def close(self) -> None:
        """Have all followers end, as before the process does."""
        self.closed = True
        for all_woken in self._woken.values():
            for woken in all_woken:
                woken.set()

    def require_room(self) -> None:
        """Raise TooManyFollowers when there are as many followers as the settings allow."""
        if self._number >= self._most:
            raise TooManyFollowers(
                f"{self._number} clients follow conversations here already; try again later, "
                "or raise CONVSTORE_FOLLOWERS"
            )

    @contextmanager
    def join(self, conversation_id: ConversationId) -> Iterator[asyncio.Event]:
        """Give what `wake` sets.

        Raises:
            TooManyFollowers: there are as many as the settings allow.
        """
        self.require_room()
        woken = asyncio.Event()
        self._number += 1
        self._woken.setdefault(conversation_id, set()).add(woken)
        try:
            yield woken
        finally:
            self._number -= 1
            others = self._woken[conversation_id]
            others.discard(woken)
            if not others:
                del self._woken[conversation_id]


async def follow(
    open_log: Callable[[], Awaitable[Log]], woken: asyncio.Event, after: EventName | None
) -> AsyncGenerator[list[RawEvent], None]:
    """Give the readable events after `after` (None: all), then those to come, in batches.

    An empty batch is given after each look that found no event, so that a caller can look at other things too. What the
    operating system refuses to read, which may pass, is waited for, for a minute; then it is left out.

    Raises:
        ConversationNotFound: the conversation is gone.
    """
    quiet = refused = 0
    while True:
        woken.clear()
        log = await open_log()
        found = await log.list_after(_ALL, after, _BATCH)
        ready = list(takewhile(lambda event: not event.failed, found))
        refused = refused + 1 if len(ready) < len(found) else 0
        if refused <= _REFUSED_MOST:
            found = ready
        yield [event for event in found if event.unreadable is None]
        if found:
            after, quiet = found[-1].name, 0
        else:
            quiet += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), _EAGER_S if quiet < _IDLE_AFTER else _IDLE_S)
