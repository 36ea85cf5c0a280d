"""The events of one conversation, each as the bytes of its file."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel

from app.api.parameters import ErrorBody, IdInPath, Limit, Moment, PageId, Store, json_response, page_response
from app.model.filters import EventFilter
from app.model.ids import ConversationId
from app.model.page import EventOrder
from app.model.times import to_us
from app.store.read.reader import PAGE_MAX

router = APIRouter(prefix="/api/conversations/{conversation_id}/events", tags=["events"])


class UnreadableEvent(BaseModel):
    """An event of this page's range that cannot be served, or a gap in the log (then without an id)."""

    seq: int
    event_id: str | None
    reason: str


class EventPageBody(BaseModel):
    """A page of events."""

    items: list[dict[str, Any]]
    next_page_id: str | None
    unreadable: list[UnreadableEvent] = []


async def _asked(
    store: Store,
    kind: Annotated[str | None, Query(description="class name of the event, bare or as a dotted path")] = None,
    source: Annotated[str | None, Query(description="agent, user or environment")] = None,
    body: Annotated[str | None, Query(description="a part of a message's text, whatever its case")] = None,
    timestamp__gte: Annotated[Moment | None, Query(description="not before; without a zone: the server's")] = None,
    timestamp__lt: Annotated[Moment | None, Query(description="before; without a zone: the server's")] = None,
) -> EventFilter:
    zone = store.reader.zone
    return EventFilter(
        kind=kind.rsplit(".", 1)[-1] if kind is not None else None,
        source=source,
        body=body,
        timestamp_gte_us=to_us(timestamp__gte, zone) if timestamp__gte is not None else None,
        timestamp_lt_us=to_us(timestamp__lt, zone) if timestamp__lt is not None else None,
    )


Asked = Annotated[EventFilter, Depends(_asked)]


@router.get("/search", responses={200: {"model": EventPageBody}, 404: {"model": ErrorBody}}, response_class=Response)
async def search_events(
    store: Store,
    conversation_id: IdInPath,
    asked: Asked,
    page_id: PageId = None,
    limit: Limit = PAGE_MAX,
    sort_order: EventOrder = EventOrder.TIMESTAMP,
) -> Response:
    """List events in log order or its reverse. Opens the files of the page and no other."""
    page = await store.list_events(
        ConversationId(conversation_id), asked, order=sort_order, page_id=page_id, limit=limit
    )
    more = {"unreadable": [event._asdict() for event in page.unreadable]} if page.unreadable else {}
    return page_response(page.items, page.next_page_id, **more)


@router.get("/count", responses={404: {"model": ErrorBody}})
async def count_events(store: Store, conversation_id: IdInPath, asked: Asked) -> int:
    """Count events under the filters of search."""
    return await store.count_events(ConversationId(conversation_id), asked)


@router.get("/{event_id}", responses={200: {"model": dict[str, Any]}, 404: {"model": ErrorBody}})
async def get_event(store: Store, conversation_id: IdInPath, event_id: str) -> Response:
    """Return one event."""
    return json_response(await store.get_event(ConversationId(conversation_id), event_id))
