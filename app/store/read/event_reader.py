"""The events of one conversation that was brought in step: which they are says the index, what they say their files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from app.errors import EventNotFound
from app.files.log import event_log
from app.files.log.branches import find_on_branch
from app.files.log.event_log import RawEvent
from app.index import event_rows
from app.model.event import final_response, message_text, parse_json_object
from app.model.filters import EventFilter, digest
from app.model.ids import ConversationId, EventName, dashed
from app.model.page import Cursor, EventOrder, decode_token, encode_token
from app.store.context import StoreContext

_BATCH = 100
_SEQ_MAX = 2**63 - 1
_ANY = EventFilter()


class UnreadableEvent(NamedTuple):
    """An event that cannot be served, or a gap in the log (then without an id), with the reason."""

    seq: int
    event_id: str | None
    reason: str


class EventPage(NamedTuple):
    """Events as the bytes of their files, what lies between them and cannot be served, and the next page's token."""

    items: list[bytes]
    unreadable: list[UnreadableEvent]
    next_page_id: str | None


class _Found(NamedTuple):
    events: list[RawEvent]
    last: EventName | None
    """The last one, when more follow it."""


class EventReader:
    """The log of one conversation."""

    def __init__(self, context: StoreContext, conversation_id: ConversationId, directory: str) -> None:
        self._context = context
        self._id = conversation_id
        self._directory = directory

    async def list_events(self, asked: EventFilter, order: EventOrder, page_id: str | None, limit: int) -> EventPage:
        """Return a page. Opens the files of the page alone; with `asked.body`, messages until the page is full."""
        query = digest(order, asked, self._id)
        after = None if page_id is None else decode_token(page_id, query, int)
        find = self._find if asked.body is None else self._find_by_text
        found = await find(asked, order, after, limit)
        unreadable = [UnreadableEvent(*event.name, event.unreadable) for event in found.events if event.unreadable]
        unreadable += await self._unreadable_between(order, after, found.last)
        return EventPage(
            [event.raw for event in found.events if not event.unreadable],
            sorted(unreadable, reverse=order is EventOrder.TIMESTAMP_DESC),
            encode_token(Cursor(*found.last), query) if found.last else None,
        )

    async def list_after(self, asked: EventFilter, after: EventName | None, limit: int) -> list[RawEvent]:
        """Return the events after `after` (None: from the first), at most `limit`, with the bytes of their files."""
        cursor = None if after is None else Cursor(*after)
        names, _ = await self._names(asked, EventOrder.TIMESTAMP, cursor, limit)
        return await self._read(names)

    async def list_last(self, number: int) -> list[RawEvent]:
        """Return the last `number` events in log order, also one whose file just became unreadable."""
        names, _ = await self._names(_ANY, EventOrder.TIMESTAMP_DESC, None, number)
        return await self._read(names[::-1])

    async def find_last(self) -> EventName | None:
        """Return the name of the last readable event, or None when there is none."""
        names, _ = await self._names(_ANY, EventOrder.TIMESTAMP_DESC, None, 1)
        return names[0] if names else None

    async def get_name(self, event_id: str) -> EventName:
        """Return the name of an event.

        Raises:
            EventNotFound: there is no such event.
        """
        async with self._context.index.read() as connection:
            name = await event_rows.find_event(connection, self._id, event_id)
        if name is None:
            raise EventNotFound(f"conversation {dashed(self._id)} has no event {event_id[:64]!r}")
        return name

    async def count_events(self, asked: EventFilter) -> int:
        """Return how many readable events the filter admits; with `asked.body`, by reading all messages."""
        if asked.body is not None:
            return await self._count_by_text(asked)
        async with self._context.index.read() as connection:
            return await event_rows.count_events(connection, self._id, asked)

    async def get_event(self, event_id: str) -> bytes:
        """Return the bytes of one event's file."""
        return await self._read_one(await self.get_name(event_id))

    async def get_final_response(self) -> str:
        """Return the agent's last finish message or message on the active branch, "" when there is none."""
        async with self._context.index.read() as connection:
            responses = await event_rows.list_responses(connection, self._id)
        if not responses:
            return ""
        name = await asyncio.to_thread(find_on_branch, self._context.reader, self._directory, responses)
        return "" if name is None else final_response(parse_json_object(await self._read_one(name)))

    async def _read(self, names: list[EventName]) -> list[RawEvent]:
        return await asyncio.to_thread(event_log.read_events, self._context.reader, self._directory, names)

    async def _read_one(self, name: EventName) -> bytes:
        [event] = await self._read([name])
        if event.unreadable:
            raise EventNotFound(f"event {name.event_id} cannot be served: {event.unreadable}")
        return event.raw

    async def _names(
        self, asked: EventFilter, order: EventOrder, after: Cursor[int] | None, limit: int
    ) -> tuple[list[EventName], bool]:
        """Return at most `limit` names, and whether there are more."""
        async with self._context.index.read() as connection:
            names = await event_rows.list_events(connection, self._id, asked, order, after, limit + 1)
        return names[:limit], len(names) > limit

    async def _find(self, asked: EventFilter, order: EventOrder, after: Cursor[int] | None, limit: int) -> _Found:
        names, more = await self._names(asked, order, after, limit)
        return _Found(await self._read(names), names[-1] if more else None)

    async def _find_by_text(
        self, asked: EventFilter, order: EventOrder, after: Cursor[int] | None, limit: int
    ) -> _Found:
        found: list[RawEvent] = []
        async with aclosing(self._search(asked, order, after)) as batches:
            async for batch in batches:
                found += batch
                if len(found) > limit:
                    break
        return _Found(found[:limit], found[limit - 1].name if len(found) > limit else None)

    async def _count_by_text(self, asked: EventFilter) -> int:
        return sum([len(found) async for found in self._search(asked, EventOrder.TIMESTAMP, None)])

    async def _search(
        self, asked: EventFilter, order: EventOrder, after: Cursor[int] | None
    ) -> AsyncGenerator[list[RawEvent], None]:
        """Give of each batch of messages those that say `asked.body`."""
        wanted = (asked.body or "").lower()
        more = asked.kind in (None, "MessageEvent")
        while more:
            names, more = await self._names(asked, order, after, _BATCH)
            yield [event for event in await self._read(names) if _says(event, wanted)]
            after = Cursor(*names[-1]) if names else after

    async def _unreadable_between(
        self, order: EventOrder, after: Cursor[int] | None, last: EventName | None
    ) -> list[UnreadableEvent]:
        """Return what the index knows as unreadable between the page before and the end of this one."""
        if order is EventOrder.TIMESTAMP:
            first, final = (min(after.key, _SEQ_MAX - 1) + 1 if after else 0), (last.seq if last else _SEQ_MAX)
        else:
            first, final = (last.seq if last else 0), (max(after.key, 1) - 1 if after else _SEQ_MAX)
        async with self._context.index.read() as connection:
            found = await event_rows.list_unreadable(connection, self._id, first, final)
        return [UnreadableEvent(name.seq, name.event_id or None, reason) for name, reason in found]


def _says(event: RawEvent, wanted: str) -> bool:
    return not event.unreadable and wanted in message_text(parse_json_object(event.raw)).lower()
