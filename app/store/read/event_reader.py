"""The events of a conversation whose rows are up to date: names come from the index, contents from the files."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from itertools import groupby
from typing import NamedTuple, TypeVar

from ...errors import EventNotFound
from ...files.layout import LargeFile
from ...files.log import event_log
from ...files.log.branches import find_on_branch
from ...files.log.event_log import RawEvent
from ...index import event_rows
from ...model.event import final_response, message_text, parse_json_object
from ...model.filters import EventFilter, digest
from ...model.ids import ConversationId, EventName, dashed
from ...model.page import Cursor, EventOrder, decode_token, encode_token
from ..context import StoreContext

T = TypeVar("T")

_BATCH = 100
_SEQ_MAX = 2**63 - 1
_ANY = EventFilter()
_ID_DIGITS_MIN = 8
_match_number = re.compile(r"[0-9]{1,18}").fullmatch


class UnreadableEvent(NamedTuple):
    """An event that cannot be served, or a gap in the log (`event_id` is None), and the reason."""

    seq: int
    event_id: str | None
    reason: str


class EventPage(NamedTuple):
    """Events as the bytes of their files, the unreadable events between them, and the token of the next page."""

    items: list[bytes]
    unreadable: list[UnreadableEvent]
    next_page_id: str | None


class BegunWindow(NamedTuple):
    """The names of the events numbered `first` to `last`, and the unreadable ones and gaps among them.

    `total` counts the whole log. A window ends early if its files have more bytes than requested, but it has at least
    one event. `size_bytes` is the size of its files.
    """

    first: int
    last: int
    total: int
    names: list[EventName]
    unreadable: list[UnreadableEvent]
    is_cut: bool
    """Whether the log has more of the requested numbers, for which the files had too many bytes."""
    size_bytes: int


class BegunPage(NamedTuple):
    """A page of events: the first ones were read, the others are only names. An ordinary page was read completely."""

    events: list[RawEvent]
    rest: list[EventName]
    unreadable: list[UnreadableEvent]
    """The unreadable events that the index knows. Others in `events` and `rest` are found when they are read."""
    next_page_id: str | None
    order: EventOrder


def sort_unreadable(found: Iterable[UnreadableEvent], order: EventOrder) -> list[UnreadableEvent]:
    """Return the unreadable events of a page in its order."""
    return sorted(found, reverse=order is EventOrder.TIMESTAMP_DESC)


class EventReader:
    """Reads the log of one conversation."""

    def __init__(self, context: StoreContext, conversation_id: ConversationId, directory: str) -> None:
        self._context = context
        self._id = conversation_id
        self._directory = directory

    async def list_events(self, filter_: EventFilter, order: EventOrder, page_id: str | None, limit: int) -> EventPage:
        """Return a page of events, all of it in memory."""
        page = await self.begin_page(filter_, order, page_id, limit)
        events = [event async for event in self.read_whole(page)]
        unreadable = [UnreadableEvent(*event.name, event.unreadable) for event in events if event.unreadable]
        return EventPage(
            [event.raw for event in events if not event.unreadable],
            sort_unreadable([*page.unreadable, *unreadable], order),
            page.next_page_id,
        )

    async def begin_page(self, filter_: EventFilter, order: EventOrder, page_id: str | None, limit: int) -> BegunPage:
        """Find the events of a page and read the first of them, with one call of a worker thread."""
        query = digest(order, filter_, self._id)
        after = None if page_id is None else decode_token(page_id, query, int)
        find = self._list_names if filter_.body is None else self._search_names
        names, more = await find(filter_, order, after, limit)
        last = names[-1] if more else None
        events = await self.read_first(names)
        return BegunPage(
            events,
            names[len(events) :],
            await self._list_unreadable_between(order, after, last),
            encode_token(Cursor(*last), query) if last else None,
            order,
        )

    async def read_on(self, events: list[RawEvent], rest: list[EventName]) -> AsyncGenerator[RawEvent, None]:
        """Yield the events, then read and yield the rest in batches. Large events are not read."""
        while True:
            for event in events:
                yield event
            if not rest:
                return
            events = await self.read_first(rest)
            rest = rest[len(events) :]

    async def measure(self, name: EventName) -> int:
        """Return the size of an event's file in bytes, 0 if it is missing."""
        [size] = await asyncio.to_thread(event_log.measure, self._context.reader, self._directory, [name])
        return size

    async def read_whole(self, page: BegunPage) -> AsyncGenerator[RawEvent, None]:
        """Yield the events of a page with the bytes of the large ones, each of which is read when it is asked for."""
        async with aclosing(self.read_on(page.events, page.rest)) as events:
            async for event in events:
                only = [await self._load(event)]
                yield only.pop()  # so the bytes are not in memory while the next event is read

    async def open_large(self, name: EventName) -> AsyncGenerator[bytes, None]:
        """Check a large event, and return a generator of its bytes. Raises EventNotFound if it cannot be served."""
        return await self._context.large_events.open(self._context.reader, self._directory, name)

    def whole(self, name: EventName) -> AbstractAsyncContextManager[RawEvent]:
        """Yield a large event with its bytes. It waits while too many large events are in memory."""
        return self._context.large_events.whole(self._context.reader, self._directory, name)

    async def _load(self, event: RawEvent) -> RawEvent:
        if not event.large:
            return event
        async with self.whole(event.name) as loaded:
            return loaded

    async def list_after(self, filter_: EventFilter, after: EventName | None, limit: int) -> list[RawEvent]:
        """Return the next events after `after` (None: from the first): `limit`, or as many as one batch holds.

        A large event is not read. None means that there are no more.
        """
        cursor = None if after is None else Cursor(*after)
        names, _ = await self._list_names(filter_, EventOrder.TIMESTAMP, cursor, limit)
        return await self.read_first(names)

    async def load_all(self, events: Iterable[RawEvent]) -> list[RawEvent]:
        """Return the events with the bytes of the large ones."""
        return [await self._load(event) for event in events]

    async def begin_window(self, first: int, limit: int, max_bytes: int) -> BegunWindow:
        """Find the events with `limit` numbers from `first` on, of which the files have at most `max_bytes`."""
        first = max(first, 0)
        end = min(first + limit, _SEQ_MAX)
        async with self._context.index.read() as connection, connection.snapshot():
            count, last_seq = await event_rows.count_log(connection, self._id)
            names = await event_rows.list_between(connection, self._id, first, end - 1)
            gone = await event_rows.list_unreadable(connection, self._id, first, end - 1)
        sizes = await asyncio.to_thread(event_log.measure, self._context.reader, self._directory, names)
        within = _fit(names, sizes, max_bytes)
        last = names[len(within)].seq - 1 if len(within) < len(names) else min(end - 1, last_seq)
        unreadable = [UnreadableEvent(name.seq, name.event_id or None, why) for name, why in gone if name.seq <= last]
        return BegunWindow(first, last, count, within, unreadable, len(within) < len(names), sum(sizes[: len(within)]))

    async def list_of_kind(self, kind: str, first: int, last: int) -> list[EventName]:
        """Return the names of the readable events of one kind between two numbers, in log order."""
        async with self._context.index.read() as connection:
            return await event_rows.list_of_kind(connection, self._id, kind, first, last)

    async def work_on(self, names: Sequence[EventName], work: Callable[[Iterator[RawEvent]], T]) -> T:
        """Return `work(events)`, called in a thread. Each event is read when it is taken; do not keep its bytes.

        Calls with large events wait for each other, so that one of them is in memory.
        """
        return await self._context.large_events.work_on(self._context.reader, self._directory, names, work)

    async def list_starts(self, size: int, *, said: bool = False) -> list[int]:
        """Return the first numbers of the sections of `size` numbers in which the log has events.

        With `said`, return only the sections with something that was said (`event_rows.list_said_starts`).
        """
        find = event_rows.list_said_starts if said else event_rows.list_starts
        async with self._context.index.read() as connection:
            return await find(connection, self._id, size)

    async def find_next_speaker(self, seq: int) -> str | None:
        """Return who says something next after a number, `user` or `agent`, or None if nobody does."""
        async with self._context.index.read() as connection:
            return await event_rows.find_next_speaker(connection, self._id, seq)

    async def read_last(self, number: int | None) -> AsyncGenerator[RawEvent | UnreadableEvent, None]:
        """Yield the last events (None: all), and the unreadable ones among them, in log order, one at a time.

        Do not keep the bytes of events: then at most one batch, or one large event, is in memory.
        """
        token = None if number is None else await self._find_page_of_last(number)
        left = _SEQ_MAX if number is None else number
        while left:
            page = await self.begin_page(_ANY, EventOrder.TIMESTAMP, token, min(left, _BATCH))
            left -= len(page.events) + len(page.rest)
            for unreadable in page.unreadable:
                yield unreadable
            async with aclosing(self.read_whole(page)) as events:
                async for event in events:
                    yield UnreadableEvent(*event.name, event.unreadable) if event.unreadable else event
            token = page.next_page_id
            if token is None:
                return

    async def _find_page_of_last(self, number: int) -> str | None:
        """Return the token of the page that begins with the last `number` readable events, None if there are no more.

        The page after the token is in log order.
        """
        names, _ = await self._list_names(_ANY, EventOrder.TIMESTAMP_DESC, None, number + 1)
        query = digest(EventOrder.TIMESTAMP, _ANY, self._id)
        return encode_token(Cursor(*names[number]), query) if len(names) > number else None

    async def list_names(self, first: int, last: EventName) -> list[EventName]:
        """Return the names of the readable events from the number `first` to the event `last`, in log order."""
        async with self._context.index.read() as connection:
            names = await event_rows.list_between(connection, self._id, first, last.seq)
        return [name for name in names if name <= last]

    async def is_marked(self, seq: int) -> bool:
        """Whether the length marker counts the event with this number."""
        async with self._context.index.read() as connection:
            _, last_seq = await event_rows.count_log(connection, self._id)
        return seq <= last_seq and await asyncio.to_thread(
            event_log.is_marked, self._context.reader, self._directory, last_seq + 1
        )

    async def has_event(self, name: EventName) -> bool:
        """Whether the log still has an event. A failed append removes its events."""
        async with self._context.index.read() as connection:
            return await event_rows.has_event(connection, self._id, name)

    async def find_last(self) -> EventName | None:
        """Return the name of the last readable event, or None if there is none."""
        names, _ = await self._list_names(_ANY, EventOrder.TIMESTAMP_DESC, None, 1)
        return names[0] if names else None

    async def get_name(self, event_id: str) -> EventName:
        """Return the name of an event, or raise EventNotFound."""
        name = await event_rows.find_event(self._context.index.read_here(), self._id, event_id)
        if name is None:
            raise self._no_event(event_id)
        return name

    async def find_seq(self, text: str) -> int:
        """Return the number of the event with this id, or the number that `text` spells.

        An id may consist of digits, so the log is asked first.

        Raises:
            EventNotFound: `text` is neither.
        """
        is_number = _match_number(text) is not None
        if not is_number or len(text) >= _ID_DIGITS_MIN:
            async with self._context.index.read() as connection:
                name = await event_rows.find_event(connection, self._id, text)
            if name is not None:
                return name.seq
        if not is_number:
            raise self._no_event(text)
        return int(text)

    def _no_event(self, event_id: str) -> EventNotFound:
        return EventNotFound(f"conversation {dashed(self._id)} has no event {event_id[:64]!r}")

    async def count_events(self, filter_: EventFilter) -> int:
        """Return the number of readable events that match. With `filter_.body`, all messages are read."""
        if filter_.body is not None:
            return sum([1 async for _ in self._search(filter_, EventOrder.TIMESTAMP, None)])
        async with self._context.index.read() as connection:
            return await event_rows.count_events(connection, self._id, filter_)

    async def get_event(self, event_id: str) -> bytes:
        """Return the bytes of one event's file."""
        return await self.work_on_event(event_id, bytes)

    async def work_on_event(self, event_id: str, work: Callable[[bytes], T]) -> T:
        """Return `work(raw)` of one event's file, called as by `work_on`."""
        return await self.work_on([await self.get_name(event_id)], lambda events: work(take_readable(events)))

    async def begin_event(self, event_id: str) -> RawEvent:
        """Return one event. A large one is not read. Raises EventNotFound if it cannot be served."""
        [event] = await self.read_first([await self.get_name(event_id)])
        _require_readable(event)
        return event

    async def find_names(self, event_ids: Sequence[str]) -> list[EventName | None]:
        """Return the names of several events, None for each that does not exist."""
        async with self._context.index.read() as connection:
            return [await event_rows.find_event(connection, self._id, event_id) for event_id in event_ids]

    async def get_final_response(self) -> str:
        """Return the agent's last finish message or plain message on the active branch, or "" if there is none."""
        return await self.work_on_final_response(str)

    async def work_on_final_response(self, work: Callable[[str], T]) -> T:
        """Return `work(text)` of the final response, called as by `work_on`."""
        name = await self._find_response()
        if name is None:
            return work("")
        return await self.work_on([name], lambda events: work(final_response(parse_json_object(take_readable(events)))))

    async def _find_response(self) -> EventName | None:
        """Return the last response on the active branch. It is almost always one of the last in the log."""
        for most in (_BATCH, _SEQ_MAX):
            async with self._context.index.read() as connection:
                responses = await event_rows.list_responses(connection, self._id, most)
            name = await self._find_on_branch(responses) if responses else None
            if name is not None or len(responses) < most:
                return name
        return None

    async def _find_on_branch(self, wanted: Sequence[EventName]) -> EventName | None:
        find = partial(find_on_branch, self._context.reader, self._directory, wanted)
        try:
            return await asyncio.to_thread(find, max_bytes=event_log.HOP_BYTES)
        except LargeFile:
            return await self._context.large_events.run(lambda _: find())

    async def read_first(self, names: list[EventName]) -> list[RawEvent]:
        """Read the first of these events, as many as one batch holds. A large event is not read."""
        if not names:
            return []
        return await asyncio.to_thread(event_log.read_hop, self._context.reader, self._directory, names)

    async def _list_names(
        self, filter_: EventFilter, order: EventOrder, after: Cursor[int] | None, limit: int
    ) -> tuple[list[EventName], bool]:
        """Return at most `limit` names, and whether there are more."""
        here = self._context.index.read_here()
        names = await event_rows.list_events(here, self._id, filter_, order, after, limit + 1)
        return names[:limit], len(names) > limit

    async def _search_names(
        self, filter_: EventFilter, order: EventOrder, after: Cursor[int] | None, limit: int
    ) -> tuple[list[EventName], bool]:
        """Return at most `limit` names of messages that contain `filter_.body`, and whether there are more."""
        found: list[EventName] = []
        async with aclosing(self._search(filter_, order, after)) as names:
            async for name in names:
                found.append(name)
                if len(found) > limit:
                    break
        return found[:limit], len(found) > limit

    async def _search(
        self, filter_: EventFilter, order: EventOrder, after: Cursor[int] | None
    ) -> AsyncGenerator[EventName, None]:
        """Read the messages and yield the names of those that contain `filter_.body`. One batch is in memory."""
        text = (filter_.body or "").lower()
        more = filter_.kind in (None, "MessageEvent")
        while more:
            names, more = await self._list_names(filter_, order, after, _BATCH)
            async with aclosing(self.read_on([], names)) as events:
                async for event in events:
                    if await self._contains(event, text):
                        yield event.name
            after = Cursor(*names[-1]) if names else after

    async def _contains(self, event: RawEvent, text: str) -> bool:
        if event.large:
            large = self._context.large_events
            return await large.contains(self._context.reader, self._directory, event.name, text)
        return not event.unreadable and text in message_text(parse_json_object(event.raw)).lower()

    async def _list_unreadable_between(
        self, order: EventOrder, after: Cursor[int] | None, last: EventName | None
    ) -> list[UnreadableEvent]:
        """Return the unreadable events from the end of the previous page to the end of this page."""
        if order is EventOrder.TIMESTAMP:
            first, final = (min(after.key, _SEQ_MAX - 1) + 1 if after else 0), (last.seq if last else _SEQ_MAX)
        else:
            first, final = (last.seq if last else 0), (max(after.key, 1) - 1 if after else _SEQ_MAX)
        found = await event_rows.list_unreadable(self._context.index.read_here(), self._id, first, final)
        return [UnreadableEvent(name.seq, name.event_id or None, reason) for name, reason in found]


def _fit(names: list[EventName], sizes: list[int], max_bytes: int) -> list[EventName]:
    """Return the first names whose files have at most `max_bytes`, at least one. Equal numbers are never separated."""
    within: list[EventName] = []
    size_bytes = 0
    for _, same in groupby(zip(names, sizes, strict=True), key=lambda measured: measured[0].seq):
        measured = list(same)
        size_bytes += sum(size for _, size in measured)
        if within and size_bytes > max_bytes:
            break
        within += [name for name, _ in measured]
    return within


def take_readable(events: Iterator[RawEvent]) -> bytes:
    """Return the bytes of the next event. Raises EventNotFound if it is unreadable."""
    return _require_readable(next(events))


def _require_readable(event: RawEvent) -> bytes:
    if event.unreadable:
        raise EventNotFound(f"event {event.name.event_id} cannot be served: {event.unreadable}")
    return event.raw
