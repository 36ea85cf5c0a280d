"""The events that changed a file: kept in step with the log, and listed under filters."""

from __future__ import annotations

from typing import Any

from app.index import event_rows, file_edits
from app.index.sqlite.database import Index
from app.model.event import EventFacts, EventRow, LogChange
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId, EventName
from tests.builders import make_id
from tests.index.builders import key_of, make_row, put


def edited(seq: int, *paths: str) -> EventRow:
    return EventRow(
        EventName(seq, f"event-{seq}"), EventFacts("ObservationEvent", "agent", seq, "file_editor", "", paths)
    )


async def found(index: Index, *paths: str, **asked: Any) -> list[tuple[str, int]]:
    wanted = ConversationFilter(**{"archived": None, "subagents": None} | asked)
    async with index.read() as connection:
        edits = await file_edits.list_edits(connection, paths, 10, wanted)
    return [(one.conversation_id, one.seq) for one in edits]


async def test_changes_of_a_file_are_listed_kept_in_step_and_deleted(index: Index) -> None:
    await put(index, make_row(1), make_row(2))
    first, second = await key_of(index, 1), await key_of(index, 2)
    changes = [LogChange(first, [edited(0, "/a", "/b"), edited(1, "/a")], []), LogChange(second, [edited(2, "/a")], [])]
    for _ in range(2):
        await index.write(lambda connection: event_rows.apply_changes(connection, changes))
        assert await found(index, "/a") == [(make_id(2), 2), (make_id(1), 1), (make_id(1), 0)]
    assert await found(index, "/b", "/none") == [(make_id(1), 0)]
    async with index.read() as connection:
        assert await event_rows.list_rows(connection, first) == changes[0].write
    change = LogChange(first, [edited(0, "/c")], [EventName(1, "event-1")])
    await index.write(lambda connection: event_rows.apply_changes(connection, [change]))
    assert await found(index, "/a", "/b", "/c") == [(make_id(2), 2), (make_id(1), 0)]
    assert await found(index, "/b") == []


async def test_changes_of_a_file_are_listed_under_the_filters_of_conversations(index: Index) -> None:
    await put(index, make_row(1), make_row(2), make_row(3, parent=1))
    changes = [LogChange(await key_of(index, number), [edited(0, "/a")], []) for number in (1, 2, 3)]
    await index.write(lambda connection: event_rows.apply_changes(connection, changes))
    assert await found(index, "/a") == [(make_id(3), 0), (make_id(2), 0), (make_id(1), 0)]
    assert await found(index, "/a", parent=ConversationId(make_id(1))) == [(make_id(3), 0)]
    assert await found(index, "/a", workspace_under="/nowhere") == []
