"""Followers: clients that follow the events of a conversation, or the changes of the list.

Events come in log order, each once. Old and new events are read in the same way: as a page after the last event that
the client has, after the rows were brought up to date. So no event is lost or repeated between replay and live events.
A writer in this process notifies its followers at once. Changes by other programs are found by polling, which costs
three stats each time.

A follower in another process may receive events whose append then fails, for example with EIO at the directory's fsync.
The writer removes such events, and the next events get their numbers. The follower then continues after the last event
that still exists, so that its client receives every acknowledged event. For this it remembers the events that it
yielded, until the length marker counts them: from then on nothing removes them.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import takewhile

from ...errors import TooManyFollowers
from ...files.log.event_log import RawEvent
from ...index import change_feed, state
from ...index.engine import Index
from ...model.change_token import ChangePage, ChangeToken, token_after_all
from ...model.filters import EventFilter
from ...model.ids import ConversationId, EventName
from ...model.page import View
from .event_reader import EventReader

_BATCH = 100
_EVERY_S = 0.5
"""How often a follower polls, also in a conversation that was idle for a year: an open page shows an event within a
second. A poll takes 0.3 ms, so 100 open pages take 6 % of a core.
"""
_IDLE_AFTER = 120
"""After this many polls without a new event, a follower forgets the events that nothing can remove."""
_REFUSED_MOST = 120
"""After this many polls at which the operating system refused to read an event, the event is left out."""

_ALL = EventFilter()


class Followers:
    """The followers in this process, by conversation. A conversation without followers uses no memory."""

    def __init__(self, maximum: int, tell: Callable[[ConversationId], None] | None = None) -> None:
        """`tell` tells other processes which conversation was written here."""
        self._maximum = maximum
        self._tell = tell
        self._number = 0
        self.closed = False
        self._notified: dict[ConversationId, set[asyncio.Event]] = {}

    def notify(self, conversation_id: ConversationId) -> None:
        """Make the followers of a conversation poll now, also those of other hosts."""
        self.notify_here(conversation_id)
        if self._tell is not None:
            self._tell(conversation_id)

    def notify_here(self, conversation_id: ConversationId) -> None:
        """Make the followers of a conversation in this process poll now."""
        for notified in self._notified.get(conversation_id, ()):
            notified.set()

    def close(self) -> None:
        """End all followers before the process ends."""
        self.closed = True
        for conversation_id in self._notified:
            self.notify_here(conversation_id)

    def require_room(self) -> None:
        """Raise TooManyFollowers if there are as many followers as the settings allow."""
        if self._number >= self._maximum:
            raise TooManyFollowers(
                f"{self._number} clients are already following conversations here; try again later, "
                "or raise CONVSTORE_FOLLOWERS"
            )

    @contextmanager
    def subscribe(self, conversation_id: ConversationId) -> Iterator[asyncio.Event]:
        """Yield an asyncio.Event that `notify` sets. Raises TooManyFollowers, like `require_room`."""
        self.require_room()
        notified = asyncio.Event()
        self._number += 1
        self._notified.setdefault(conversation_id, set()).add(notified)
        try:
            yield notified
        finally:
            self._number -= 1
            others = self._notified[conversation_id]
            others.discard(notified)
            if not others:
                del self._notified[conversation_id]


async def follow_events(
    open_log: Callable[[], Awaitable[EventReader]], notified: asyncio.Event, after: EventName | None
) -> AsyncGenerator[list[RawEvent], None]:
    """Yield the readable events after `after` (None: all), and then new ones, in batches.

    After each poll without a new event, an empty batch is yielded, so that the caller can check other things. If the
    operating system refuses to read an event, the follower retries for a minute and then leaves the event out.
    """
    quiet = refused = 0
    sent = _Sent(after)
    if after is not None:
        settled = await _is_settled(open_log, after)
        sent.add([after] if settled else await (await open_log()).list_names(0, after))
    while True:
        notified.clear()
        log = await open_log()
        if sent.last is not None and not await log.has_event(sent.last):
            log = await open_log()  # a sync may have deleted the rows after they were updated, to read the files again
            await sent.step_back(log)
        found = await log.list_after(_ALL, sent.last, _BATCH)
        ready = list(takewhile(lambda event: not event.failed, found))
        refused = refused + 1 if len(ready) < len(found) else 0
        if refused <= _REFUSED_MOST:
            found = ready
        yield [event for event in found if event.unreadable is None]
        if found:
            sent.add([event.name for event in found])
            quiet = 0
        else:
            quiet += 1
            if quiet % _IDLE_AFTER == 0 and sent.last is not None and await _is_settled(open_log, sent.last):
                sent = _Sent(sent.last, [sent.last])  # many idle followers should use little memory
            with suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_S):
                    await notified.wait()


async def _is_settled(open_log: Callable[[], Awaitable[EventReader]], name: EventName) -> bool:
    """Whether nothing removes this event any more.

    The marker is looked at before the event. Otherwise the event may be removed in between, and the marker may count
    the event that took its number.
    """
    return await (await open_log()).is_marked(name.seq) and await (await open_log()).has_event(name)


class _Sent:
    """The events that a follower yielded and that a failed append may remove. Each takes 8 bytes."""

    def __init__(self, last: EventName | None, names: Sequence[EventName] = ()) -> None:
        self.last = last
        """The event after which the follower continues. None: it begins with the first event."""
        self._first_seq = 0
        self._hashes = array("q")
        self.add(names)

    def add(self, names: Sequence[EventName]) -> None:
        """Remember the next events."""
        if names:
            self._first_seq = self._first_seq if self._hashes else names[0].seq
            self._hashes.extend(map(hash, names))
            self.last = names[-1]

    async def step_back(self, log: EventReader) -> None:
        """Forget the removed events, so that `last` is the last one that still exists.

        If none of them exists, `last` sorts before the first of them.
        """
        if self.last is None or not self._hashes:
            return
        existing = {hash(name): name for name in await log.list_names(self._first_seq, self.last)}
        while self._hashes and self._hashes[-1] not in existing:
            self._hashes.pop()
        self.last = existing[self._hashes[-1]] if self._hashes else EventName(self._first_seq, "")


EVERYTHING = ConversationId("*")
"""The id that followers of the list subscribe to. It means all conversations."""

_POLL_S = 0.2


async def get_latest_token(index: Index) -> ChangeToken:
    """Return the token after the last change."""
    async with index.read(whole=True) as connection:
        position = await state.get_revision(connection)
    return token_after_all(position.epoch, position.revision)


async def list_changes(index: Index, since: ChangeToken | None, limit: int, view: View = View.FULL) -> ChangePage:
    """Return the next changes after a token. None starts at the beginning."""
    async with index.read(whole=True) as connection, connection.snapshot():
        return await change_feed.list_changes(connection, since, limit, view)


async def wait_for_changes(
    index: Index,
    followers: Followers,
    since: ChangeToken | None,
    limit: int,
    wait_s: float,
    is_gone: Callable[[], Awaitable[bool]] | None = None,
    view: View = View.FULL,
) -> ChangePage:
    """Return the next changes after a token as soon as there are any.

    Returns an empty page after `wait_s` seconds, or if `is_gone` says that the client has gone.
    """
    deadline = time.monotonic() + wait_s
    with followers.subscribe(EVERYTHING) as notified:
        while True:
            state = await index.find_state()
            page = await list_changes(index, since, limit, view)
            if page.items:
                return page
            while True:
                notified.clear()
                if await index.find_state() != state:
                    break
                if followers.closed or time.monotonic() >= deadline or (is_gone and await is_gone()):
                    return page
                try:
                    async with asyncio.timeout(_POLL_S):
                        await notified.wait()
                except TimeoutError:
                    continue


async def follow_changes(
    index: Index, followers: Followers, since: ChangeToken | None, limit: int, every_s: float, view: View = View.FULL
) -> AsyncGenerator[ChangePage, None]:
    """Yield the changes after a token and then new ones, in pages.

    Yields an empty page after `every_s` without a change.
    """
    while not followers.closed:
        page = await wait_for_changes(index, followers, since, limit, every_s, view=view)
        yield page
        since = page.next
