"""The events of one conversation: search, count, get, stream; and append a message or a batch.

Every event is sent as the bytes of its file.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from functools import partial
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ...errors import EventNotFound, InvalidConversation
from ...files.lease import Lease
from ...files.log.event_log import RawEvent
from ...model.agent_server.message_request import MessageRequest
from ...model.event import image_urls
from ...model.filters import EventFilter
from ...model.ids import SEQ_MAX, ConversationId, EventName
from ...model.image import parse_data_url
from ...model.page import EventOrder
from ...model.text.cut_texts import fit_event
from ...model.times import to_us
from ...store.admin.erase import erase_event
from ...store.read.event_reader import BegunWindow, EventReader
from ...store.read.event_reader import UnreadableEvent as UnreadableAt
from ...store.read.index_reader import PAGE_MAX
from ..error_responses import ErrorBody
from ..openapi import AnyEvent
from ..params import IdInPath, IdToWrite, Limit, PageId, Store, WritableStore
from ..query_filters import Moment
from ..responses import (
    EraseAnswer,
    Success,
    Warned,
    ending_stream,
    json_response,
    make_erase_answer,
)
from ..streamed import (
    EVENT_STREAM,
    EventStream,
    StreamedResponse,
    put_aside,
    sent_event,
    sent_event_in_pieces,
    until_client_leaves,
)
from .agents import needs_agent
from .direct_routes import append_message
from .event_pages import respond_with_page, send_items
from .leases import Generation, Owner

router = APIRouter(prefix="/api/conversations/{conversation_id}/events", tags=["events"])
write_router = APIRouter(
    prefix="/api/conversations/{conversation_id}/events",
    responses={404: {"model": ErrorBody}, 409: {"model": ErrorBody}, 422: {"model": ErrorBody}},
)

T = TypeVar("T")

_BATCH_MAX = 1000
_IMAGE_HEADERS = {
    "Cache-Control": "private, max-age=86400, immutable",
}


class UnreadableEvent(BaseModel):
    """An event of this page that cannot be served, or a gap in the log (then without an id)."""

    seq: int
    event_id: str | None
    reason: str


class EventPageBody(BaseModel):
    """A page of events."""

    items: list[dict[str, Any]]
    next_page_id: str | None
    unreadable: list[UnreadableEvent] = []


class NumberedEvent(BaseModel):
    """An event with its number in the log."""

    seq: int
    event: dict[str, Any]
    truncated_bytes: int = Field(description="how many bytes less than its file it has, because long texts are cut")


class WindowBody(BaseModel):
    """The events numbered `first` to `last` of a log with `count` events."""

    first: int
    last: int
    count: int
    items: list[NumberedEvent]
    unreadable: list[UnreadableEvent]


class Batch(BaseModel):
    """Events to append with one acknowledgement.

    With `owner` and `generation`, they are appended under that client's lease.
    """

    model_config = ConfigDict(extra="forbid")

    events: list[AnyEvent] = Field(min_length=1, max_length=_BATCH_MAX)
    owner: Owner | None = None
    generation: Generation | None = None


class AppendedEvent(BaseModel):
    """An event that is durable in the log."""

    seq: int
    event_id: str


class BatchAnswer(BaseModel):
    """The appended events in order."""

    items: list[AppendedEvent]
    warning: Warned = None


async def _parse_filter(
    store: Store,
    kind: Annotated[str | None, Query(description="the class name of the event, with or without its module")] = None,
    source: Annotated[str | None, Query(description="agent, user or environment")] = None,
    body: Annotated[str | None, Query(description="a part of a message's text; case is ignored")] = None,
    timestamp__gte: Annotated[
        Moment | None, Query(description="at this time or later; a time without a zone is in the server's zone")
    ] = None,
    timestamp__lt: Annotated[
        Moment | None, Query(description="before this time; a time without a zone is in the server's zone")
    ] = None,
) -> EventFilter:
    zone = store.reader.zone
    return EventFilter(
        kind=kind.rsplit(".", 1)[-1] if kind is not None else None,
        source=source,
        body=body,
        timestamp_gte_us=to_us(timestamp__gte, zone) if timestamp__gte is not None else None,
        timestamp_lt_us=to_us(timestamp__lt, zone) if timestamp__lt is not None else None,
    )


Filter = Annotated[EventFilter, Depends(_parse_filter)]


async def _find_start(
    store: Store,
    conversation_id: IdInPath,
    after: Annotated[
        str | None, Query(description="the id of an event: only later events; `latest`: only new events")
    ] = None,
    last_event_id: Annotated[
        str | None, Header(description="the same as `after`, sent by browsers that reconnect; takes precedence")
    ] = None,
) -> EventName | None:
    """Return the event to start after. Runs before the answer begins, so that an error still gets its status."""
    store.followers.require_room()
    event_log = await store.open_log(ConversationId(conversation_id))
    event_id = last_event_id or after
    if event_id is None:
        return None
    return await event_log.find_last() if event_id == "latest" else await event_log.get_name(event_id)


@router.get(
    "/stream",
    response_class=EventStream,
    status_code=200,
    responses={200: EVENT_STREAM, 404: {"model": ErrorBody}, 503: {"model": ErrorBody}},
)
async def stream_events(
    store: Store,
    conversation_id: IdInPath,
    start: Annotated[EventName | None, Depends(_find_start)],
    numbered: Annotated[
        bool, Query(description='the data is `{"seq": 5, "event": {...}}`, with the number of the event in the log')
    ] = False,
) -> EventStream:
    """Send a conversation's events, including new ones.

    `id` is the event's id, so `Last-Event-ID` continues after it. If the number of an event is not higher than the one
    before, the events from this number on were removed, because their append failed.
    """
    return EventStream(_follow(store, ConversationId(conversation_id), start, numbered=numbered))


async def _follow(
    store: Store, conversation_id: ConversationId, start: EventName | None, *, numbered: bool
) -> AsyncGenerator[bytes, None]:
    with ending_stream(f"conversation {conversation_id}"):
        log = await store.open_log(conversation_id)
        async with aclosing(store.follow(conversation_id, after=start, whole=False)) as batches:
            async for batch in batches:
                if not batch:
                    yield b""
                for event in batch:
                    before, after = (b'{"seq":%d,"event":' % event.name.seq, b"}") if numbered else (b"", b"")
                    if not event.large:
                        yield sent_event(b"%b%b%b" % (before, event.raw, after), event_id=event.name.event_id)
                        continue
                    with suppress(EventNotFound):  # the event just became unreadable, so it is left out like others
                        pieces = await log.open_large(event.name)
                        whole = _surround(before, pieces, after)
                        async with aclosing(sent_event_in_pieces(whole, event.name.event_id)) as sent:
                            async for piece in sent:
                                yield piece


async def _surround(before: bytes, pieces: AsyncGenerator[bytes, None], after: bytes) -> AsyncGenerator[bytes, None]:
    yield before
    async with aclosing(pieces):
        async for piece in pieces:
            yield piece
    yield after


@router.get("/search", responses={200: {"model": EventPageBody}, 404: {"model": ErrorBody}}, response_class=Response)
async def search_events(
    request: Request,
    store: Store,
    conversation_id: IdInPath,
    event_filter: Filter,
    page_id: PageId = None,
    limit: Limit = PAGE_MAX,
    sort_order: EventOrder = EventOrder.TIMESTAMP,
) -> Response:
    """List events in log order or its reverse. Opens only the files of the page's events."""
    wanted = ConversationId(conversation_id)
    log = await store.open_log(wanted)
    page = await _find_texts(request, event_filter, log.begin_page(event_filter, sort_order, page_id, limit))
    return respond_with_page(log, page)


@router.get("/count", responses={404: {"model": ErrorBody}})
async def count_events(request: Request, store: Store, conversation_id: IdInPath, event_filter: Filter) -> int:
    """Count events under the filters of search."""
    log = await store.open_log(ConversationId(conversation_id))
    return await _find_texts(request, event_filter, log.count_events(event_filter))


async def _find_texts(request: Request, event_filter: EventFilter, work: Awaitable[T]) -> T:
    """Return the result of some work. A filter by text reads many events, so that work ends when the client leaves."""
    return await (work if event_filter.body is None else until_client_leaves(request, work))


@router.get("/window", responses={200: {"model": WindowBody}, 404: {"model": ErrorBody}}, response_class=Response)
async def get_window(
    request: Request,
    store: Store,
    conversation_id: IdInPath,
    around: Annotated[str | None, Query(description="the id of an event, or its number in the log")] = None,
    before: Annotated[int, Query(ge=0, le=500, description="the number of events before it")] = 50,
    after: Annotated[int, Query(ge=0, le=500, description="the number of events after it")] = 50,
    start: Annotated[
        int, Query(alias="from", ge=0, le=SEQ_MAX, description="without `around`: the number of the first event")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="without `around`: the number of events")] = 100,
    max_bytes: Annotated[
        int,
        Query(
            ge=1,
            le=64 << 20,
            description="the maximum size of the window in bytes; it has at least one event, "
            "whose long texts are cut in the middle if it is larger alone",
        ),
    ] = 4 << 20,
) -> Response:
    """Return the events around one event, or from a number on, each with its number in the log."""
    log = await store.open_log(ConversationId(conversation_id))
    if around is not None:
        seq = await log.find_seq(around)
        start = max(seq - before, 0)
        limit = seq + after + 1 - start
    window = await log.begin_window(start, limit, max_bytes)
    if window.size_bytes > max_bytes:
        work = log.work_on(window.names, partial(_make_cut_window, window, max_bytes // len(window.names)))
        return await until_client_leaves(request, work)
    return await _respond(log, window.names, lambda events, rest: _send_window(log, window, events, rest))


def _make_cut_window(window: BegunWindow, max_bytes: int, events: Iterator[RawEvent]) -> Response:
    """Return the answer with a window of events that are too large, each cut to `max_bytes`."""
    items, unreadable = [], [*window.unreadable]
    for event in events:
        if event.unreadable:
            unreadable.append(UnreadableAt(*event.name, event.unreadable))
            continue
        cut = fit_event(event.raw, max_bytes)
        less = len(event.raw) - len(cut)
        items.append(b'{"seq":%d,"event":%b,"truncated_bytes":%d}' % (event.name.seq, cut, less))
    return put_aside([b'{"items":[', b",".join(items), b"],", _end_of_window(window, unreadable)], "application/json")


def _end_of_window(window: BegunWindow, unreadable: list[UnreadableAt]) -> bytes:
    told = [event._asdict() for event in sorted(unreadable)]
    return orjson.dumps({"first": window.first, "last": window.last, "count": window.total, "unreadable": told})[1:]


async def _respond(
    log: EventReader,
    names: list[EventName],
    send: Callable[[list[RawEvent], list[EventName]], AsyncGenerator[bytes, None]],
) -> Response:
    """Answer with the JSON that `send` yields: at once if one batch holds the events, otherwise as they are read."""
    events = await log.read_first(names)
    pieces = send(events, names[len(events) :])
    if len(events) < len(names) or any(event.large for event in events):
        return StreamedResponse(pieces, "application/json")
    return json_response(b"".join([piece async for piece in pieces]))


async def _send_window(
    log: EventReader, window: BegunWindow, events: list[RawEvent], rest: list[EventName]
) -> AsyncGenerator[bytes, None]:
    unreadable: list[UnreadableAt] = []
    yield b'{"items":['
    async with aclosing(send_items(log, events, rest, unreadable, numbered=True)) as pieces:
        async for piece in pieces:
            yield piece
    yield b"],%b" % _end_of_window(window, [*window.unreadable, *unreadable])


@router.get("", responses={200: {"model": list[dict[str, Any] | None]}, 404: {"model": ErrorBody}})
async def find_events(
    store: Store, conversation_id: IdInPath, event_ids: Annotated[list[str], Body(max_length=_BATCH_MAX)]
) -> Response:
    """Return several events in the requested order, null for each that is missing. The ids are a list in the body."""
    log = await store.open_log(ConversationId(conversation_id))
    names = await log.find_names(event_ids)
    found = [name for name in names if name is not None]
    return await _respond(log, found, lambda events, rest: _send_found(log, names, events, rest))


async def _send_found(
    log: EventReader, names: list[EventName | None], events: list[RawEvent], rest: list[EventName]
) -> AsyncGenerator[bytes, None]:
    between = b"["
    async with aclosing(log.read_on(events, rest)) as read:
        for name in names:
            event = None if name is None else await anext(read)
            if event is None or not event.large:
                yield b"%b%b" % (between, b"null" if event is None or event.unreadable else event.raw)
            else:
                yield between
                try:
                    pieces = await log.open_large(event.name)
                except EventNotFound:
                    yield b"null"
                else:
                    async with aclosing(pieces):
                        async for piece in pieces:
                            yield piece
            between = b","
    yield b"[]" if between == b"[" else b"]"


@router.get("/{event_id}", responses={200: {"model": dict[str, Any]}, 404: {"model": ErrorBody}})
async def get_event(request: Request, store: Store, conversation_id: IdInPath, event_id: str) -> Response:
    """Return one event."""
    log = await store.open_log(ConversationId(conversation_id))
    event = await log.begin_event(event_id)
    if not event.large:
        return json_response(event.raw)
    return StreamedResponse(await until_client_leaves(request, log.open_large(event.name)), "application/json")


@router.get(
    "/{event_id}/images/{number}",
    response_class=Response,
    responses={200: {"content": {"image/*": {}}}, 404: {"model": ErrorBody}},
)
async def get_image(
    request: Request,
    store: Store,
    conversation_id: IdInPath,
    event_id: str,
    number: Annotated[int, Path(ge=0, le=10_000)],
) -> Response:
    """Return an image that is in an event, counted from 0: a PNG, JPEG, GIF or WebP by its bytes."""
    log = await store.open_log(ConversationId(conversation_id))
    work = log.work_on_event(event_id, partial(_make_image, number=number))
    answer = await until_client_leaves(request, work)
    if answer is None:
        raise EventNotFound(f"event {event_id[:64]} has no image {number} that can be shown; see its `image_urls`")
    return answer


def _make_image(raw: bytes, number: int) -> Response | None:
    urls = image_urls(orjson.loads(raw))
    image = parse_data_url(urls[number]) if number < len(urls) else None
    try:
        return None if image is None else put_aside(image.pieces, image.media_type, _IMAGE_HEADERS)
    except ValueError:
        return None


@write_router.post("", tags=["writing"], responses={501: {"model": ErrorBody}}, response_model_exclude_none=True)
async def send_message(store: WritableStore, conversation_id: IdToWrite, request: MessageRequest) -> Success:
    """Append a message. A user's message makes a finished or stuck conversation idle."""
    if request.run:
        await store.get_conversation(ConversationId(conversation_id))  # 404 comes first, as in agent-server
        raise needs_agent("run this conversation", "leave `run` out to append the message")
    return Success(warning=await append_message(store, ConversationId(conversation_id), request))


@write_router.post("/{event_id}/erase", tags=["writing"])
async def erase_one_event(
    store: WritableStore,
    conversation_id: IdToWrite,
    event_id: Annotated[str, Path(max_length=200)],
    force: bool = False,
) -> EraseAnswer:
    """Erase the texts of one event, such as what a tool printed, and search for what is left of them.

    The event keeps its place, id, time and kind. Its texts become `[erased]`.
    """
    return make_erase_answer(await erase_event(store, ConversationId(conversation_id), event_id, force=force))


@write_router.post("/batch", tags=["owning"], status_code=201, response_model_exclude_none=True)
async def append_batch(store: WritableStore, conversation_id: IdToWrite, request: Batch) -> BatchAnswer:
    """Append events of any kind, durably. A missing id, timestamp or parent is filled in."""
    if (request.owner is None) != (request.generation is None):
        raise InvalidConversation("owner and generation must be given together")
    held = None
    if request.owner is not None and request.generation is not None:
        held = Lease(request.owner, request.generation, 0.0)
    async with store.writer(ConversationId(conversation_id), held=held) as conversation:
        done = await conversation.append_batch(request.events)
    items = [AppendedEvent(seq=one.seq, event_id=one.event_id) for one in done]
    return BatchAnswer(items=items, warning=done[0].warning)
