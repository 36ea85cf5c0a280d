"""Subscriptions: the events of one conversation as they come, and the changes of the list as they come.

The events come in log order, each once. Replay and live are one thing: the page after the last event that was given,
read from the index, which an opening brings in step with the files. So nothing is lost or given twice where one ends
and the other begins. A writer in this process notifies its subscribers at once; what other programs write is found by
looking, three stats each time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile

from app.errors import TooManyFollowers
from app.files.log.event_log import RawEvent
from app.index import change_feed, state
from app.index.sqlite.database import Index
from app.model.change_token import ChangePage, ChangeToken, token_after_all
from app.model.filters import EventFilter
from app.model.ids import ConversationId, EventName
from app.store.read.event_reader import EventReader

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

    def notify(self, conversation_id: ConversationId) -> None:
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
    def subscribe(self, conversation_id: ConversationId) -> Iterator[asyncio.Event]:
        """Give an event that `notify` sets.

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


async def follow_events(
    open_log: Callable[[], Awaitable[EventReader]], woken: asyncio.Event, after: EventName | None
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


EVERYTHING = ConversationId("*")
"""What a follower of the list follows, in place of a conversation's id."""

_POLL_S = 0.2


async def get_latest_token(index: Index) -> ChangeToken:
    """Return the place after everything that has changed until now."""
    async with index.read(whole=True) as connection:
        position = await state.get_revision(connection)
    return token_after_all(position.epoch, position.revision)


async def list_changes(index: Index, since: ChangeToken | None, limit: int) -> ChangePage:
    """Return the next changes after a place; None is the beginning."""
    async with index.read(whole=True) as connection, connection.snapshot():
        return await change_feed.list_changes(connection, since, limit)


async def wait_for_changes(
    index: Index,
    followers: Followers,
    since: ChangeToken | None,
    limit: int,
    wait_s: float,
    is_gone: Callable[[], Awaitable[bool]] | None = None,
) -> ChangePage:
    """Return the next changes after a place, as soon as there are any; none when there are none in `wait_s`.

    It waits no longer once `is_gone` says that nobody wants to know any more.
    """
    deadline = time.monotonic() + wait_s
    with followers.subscribe(EVERYTHING) as woken:
        while True:
            state = index.find_state()
            page = await list_changes(index, since, limit)
            if page.items:
                return page
            while index.find_state() == state:
                if followers.closed or time.monotonic() >= deadline or (is_gone and await is_gone()):
                    return page
                try:
                    await asyncio.wait_for(woken.wait(), _POLL_S)
                except TimeoutError:
                    continue


async def follow_changes(
    index: Index, followers: Followers, since: ChangeToken | None, limit: int, every_s: float
) -> AsyncGenerator[ChangePage, None]:
    """Give the changes after a place and those to come, in pages; an empty page when nothing changed in `every_s`."""
    while not followers.closed:
        page = await wait_for_changes(index, followers, since, limit, every_s)
        yield page
        since = page.next
