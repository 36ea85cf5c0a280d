"""What the tests of known bugs ask a store."""

from __future__ import annotations

from typing import Any

import orjson

from app import ConversationStore
from app.model.ids import ConversationId
from tests.builders import make_event


async def listed(store: ConversationStore, **options: Any) -> list[dict[str, Any]]:
    """Return a page of ConversationInfo, parsed."""
    return [orjson.loads(body) for body in (await store.list_conversations(**options)).items]


async def listed_ids(store: ConversationStore, **options: Any) -> list[str]:
    """Return the ids of a page in its order, without dashes."""
    return [info["id"].replace("-", "") for info in await listed(store, **options)]


async def walked_ids(store: ConversationStore, **options: Any) -> list[list[str]]:
    """Return the ids of every page of a walk."""
    pages: list[list[str]] = []
    page_id = None
    while not pages or page_id:
        page = await store.list_conversations(page_id=page_id, **options)
        pages.append([orjson.loads(body)["id"].replace("-", "") for body in page.items])
        page_id = page.next_page_id
    return pages


async def logged(store: ConversationStore, conversation_id: ConversationId) -> tuple[list[str], list[tuple[int, str]]]:
    """Return the ids of the events served, and (number, reason) of those that cannot be."""
    page = await store.list_events(conversation_id)
    return [orjson.loads(raw)["id"] for raw in page.items], [(bad.seq, bad.reason) for bad in page.unreadable]


def event_ids(*numbers: int) -> list[str]:
    """Return the ids that `make_event` gives to these numbers."""
    return [make_event(number)["id"] for number in numbers]
