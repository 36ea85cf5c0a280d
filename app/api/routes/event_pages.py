"""A page of a conversation's events as an answer: at once if one batch holds it, otherwise event by event."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import orjson
from starlette.responses import Response

from ...errors import EventNotFound
from ...files.log.event_log import RawEvent
from ...model.ids import EventName
from ...store.read.event_reader import BegunPage, EventReader, UnreadableEvent, sort_unreadable
from ..responses import page_response
from ..streamed import StreamedResponse


def respond_with_page(log: EventReader, page: BegunPage) -> Response:
    """Answer with the events of a page as the bytes of their files."""
    if page.rest or (page.events and page.events[-1].large):  # nothing is read after a large event
        return StreamedResponse(_send_page(log, page), "application/json")
    unreadable = [UnreadableEvent(*event.name, event.unreadable) for event in page.events if event.unreadable]
    items = [event.raw for event in page.events if not event.unreadable]
    return page_response(items, page.next_page_id, **_tell_unreadable(page, unreadable))


def _tell_unreadable(page: BegunPage, found: list[UnreadableEvent]) -> dict[str, object]:
    told = sort_unreadable([*page.unreadable, *found], page.order)
    return {"unreadable": [event._asdict() for event in told]} if told else {}


async def _send_page(log: EventReader, page: BegunPage) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a page, one event after the other. The unreadable events come last."""
    unreadable: list[UnreadableEvent] = []
    yield b'{"items":['
    async with aclosing(send_items(log, page.events, page.rest, unreadable)) as pieces:
        async for piece in pieces:
            yield piece
    rest = orjson.dumps({"next_page_id": page.next_page_id, **_tell_unreadable(page, unreadable)})
    yield b"],%b" % rest[1:]


async def send_items(
    log: EventReader,
    events: list[RawEvent],
    rest: list[EventName],
    unreadable: list[UnreadableEvent],
    *,
    numbered: bool = False,
) -> AsyncGenerator[bytes, None]:
    """Yield the items of a JSON list, one event after the other, and add the unreadable ones to `unreadable`."""
    between = b""
    async with aclosing(log.read_on(events, rest)) as read:
        async for event in read:
            if event.unreadable:
                unreadable.append(UnreadableEvent(*event.name, event.unreadable))
                continue
            before = b'%b{"seq":%d,"event":' % (between, event.name.seq) if numbered else between
            after = b',"truncated_bytes":0}' if numbered else b""
            if not event.large:
                yield b"%b%b%b" % (before, event.raw, after)
            else:
                try:
                    pieces = await log.open_large(event.name)
                except EventNotFound as error:
                    unreadable.append(UnreadableEvent(*event.name, str(error)))
                    continue
                yield before
                async with aclosing(pieces):
                    async for piece in pieces:
                        yield piece
                yield after
            between = b","
