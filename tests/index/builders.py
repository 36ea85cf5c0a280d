"""Rows, and an index to write them to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from app import Settings
from app.index import conversation_lookup, conversation_rows, engine
from app.index.opening import make_index
from app.index.sqlite.database import Index
from app.model.conversation import ConversationFiles, IndexedRow, LogSummary, fold
from app.model.event import EventFacts, EventRow
from app.model.filters import Status
from app.model.ids import ConversationId, EventName
from tests.builders import index_database, make_id


@asynccontextmanager
async def opened(path: Path, busy_timeout_s: float = 5, readers: int = 2) -> AsyncIterator[Index]:
    """Open the index of the file `path`, or that in PostgreSQL if the settings name one."""
    settings = Settings(store=path.parent.parent, busy_timeout_s=busy_timeout_s)
    if settings.index_server is None:
        index = Index(path, readers=readers, busy_timeout_s=busy_timeout_s)
        await index.open()
    else:
        index = cast(Index, make_index(settings, readers=readers))
        index.path = path
        await index.make_ready(busy_timeout_s)
    try:
        yield index
    finally:
        await index.close()


def stored_revision(path: Path) -> int:
    """Return the revision as another program sees it."""
    with index_database(path) as db:
        return int(db.execute("SELECT revision FROM revision").fetchone()[0])


def make_row(
    number: int,
    *,
    title: str | None = "A title",
    parent: int | None = None,
    created_us: int = 0,
    status: Status | None = None,
) -> IndexedRow:
    uuid = ConversationId(make_id(number))
    meta = {"title": title, "parent_conversation_id": None if parent is None else make_id(parent)}
    state = {"agent": {"kind": "Agent"}} | ({} if status is None else {"execution_status": status})
    return IndexedRow(fold(ConversationFiles(uuid, uuid, meta, 0, state, LogSummary(), created_us)), b"signature")


def make_message(text: str = "", seq: int = 0) -> EventRow:
    return EventRow(EventName(seq, f"event-{seq}"), EventFacts("MessageEvent", "user", 5, None, text))


async def put(index: engine.Index, *rows: IndexedRow) -> None:
    await index.write(lambda connection: conversation_rows.upsert_many(connection, rows))


async def key_of(index: engine.Index, number: int) -> int:
    async with index.read() as connection:
        [seen] = await conversation_lookup.find_states(connection, [ConversationId(make_id(number))])
    return seen.key
