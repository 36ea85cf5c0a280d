"""Copying the event rows of a conversation to another one."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import pytest
from sqlalchemy import select

from app.index import activity, event_copies, event_rows, log_blocks, messages
from app.index.connections import NO_PARAMS, Params, WriteConnection
from app.index.dialect import Sql, compiled
from app.index.log_blocks import BLOCK, ROWS_READ
from app.index.sqlite.database import Index
from app.index.tables import conversation
from app.model.event import EventFacts, EventRow, LogChange
from app.model.filters import LookIn
from app.model.ids import ConversationId, EventName
from app.model.text.tokenizer import parse_question
from tests.builders import make_id
from tests.index.builders import make_row, put

ONE, TWO = ConversationId(make_id(1)), ConversationId(make_id(2))
HOUR_US = 3_600_000_000


def make_event(seq: int, *, unreadable: bool = False, hour: int = 0) -> EventRow:
    facts = EventFacts("ActionEvent", "agent", hour * HOUR_US + seq, "terminal", f"said{seq}", (f"/p/{seq}",), "did")
    if unreadable:
        return EventRow(EventName(seq, f"event-{seq}"), facts._replace(text="", edits=(), tool_text=""), "torn")
    return EventRow(EventName(seq, f"event-{seq}"), facts)


async def write_log(index: Index, key: int, events: list[EventRow]) -> None:
    await index.write(partial(event_rows.apply_changes, changes=[LogChange(key, events, [])]))


async def copy(index: Index, first: int, last: int) -> None:
    await index.write(partial(event_copies.copy_events, source=ONE, target=TWO, first=first, last=last))


async def list_rows(index: Index, key: int) -> list[EventRow]:
    async with index.read() as connection:
        assert await activity.list_miscounted(connection) == []
        assert await log_blocks.list_miscounted(connection) == []
        assert await messages.list_stray(connection) == []
        return await event_rows.list_rows(connection, key)


_SAYING = compiled(select(conversation.c.id).where(messages.saying(conversation.c.id)).order_by(conversation.c.id))


async def keys_that_say(index: Index, word: str) -> list[int]:
    asked = messages.parameters_of(parse_question(f"{word} "), LookIn.ALL)
    async with index.read() as connection:
        return [key for [key] in await connection.fetch_all(_SAYING, asked)]


@pytest.mark.parametrize(
    ("first", "last"), [(0, 9), (0, ROWS_READ + 2 * BLOCK - 1), (ROWS_READ + 3, ROWS_READ + BLOCK), (7, 5000)]
)
async def test_readable_events_are_copied_with_their_texts_edits_and_counts(
    index: Index, first: int, last: int
) -> None:
    events = [make_event(seq, unreadable=seq % 9 == 1) for seq in range(ROWS_READ + 3 * BLOCK)]
    await put(index, make_row(1, title="One"), make_row(2, title="Two"))
    await write_log(index, 1, events)
    await copy(index, first, last)
    wanted = [event for event in events if first <= event.name.seq <= last and event.unreadable is None]
    assert await list_rows(index, 2) == wanted
    assert await keys_that_say(index, f"said{wanted[-1].name.seq}") == [1, 2]


async def test_nothing_is_copied_where_there_are_rows_already(index: Index) -> None:
    await put(index, make_row(1), make_row(2))
    await write_log(index, 1, [make_event(seq) for seq in range(10)])
    other = make_event(3)._replace(name=EventName(3, "another"))
    await write_log(index, 2, [other])
    await copy(index, 0, 4)
    await copy(index, 5, 9)
    await copy(index, 5, 9)
    assert [row.name.seq for row in await list_rows(index, 2)] == [3, 5, 6, 7, 8, 9]


async def test_a_text_whose_place_is_taken_is_left_to_its_file(index: Index) -> None:
    await put(index, make_row(1, title="One"), make_row(2, title="Two"))
    await write_log(index, 1, [make_event(seq) for seq in range(6)])
    await write_log(index, 2, [make_event(8), make_event(9)])
    await copy(index, 0, 2)
    assert [row.name.seq for row in await list_rows(index, 2)] == [8, 9]
    assert await keys_that_say(index, "said2") == [1]


class Counting:
    """A write connection that counts the rows which go from the database to Python, or back."""

    def __init__(self, connection: WriteConnection) -> None:
        self._connection = connection
        self.rows = 0

    def fetch_all(self, sql: Sql, params: Params = NO_PARAMS) -> list[tuple[object, ...]]:
        rows = self._connection.fetch_all(sql, params)
        self.rows += len(rows)
        return rows

    def execute_many(self, sql: Sql, rows: Iterable[Params]) -> None:
        self.count_changed(sql, rows)

    def count_changed(self, sql: Sql, rows: Iterable[Params]) -> int:
        rows = list(rows)
        self.rows += len(rows)
        return self._connection.count_changed(sql, rows)


async def test_no_row_of_an_event_goes_through_python(index: Index) -> None:
    await put(index, make_row(1), make_row(2))
    await write_log(index, 1, [make_event(seq) for seq in range(ROWS_READ + BLOCK)])

    def count(connection: WriteConnection) -> int:
        counting = Counting(connection)
        event_copies.copy_events(counting, ONE, TWO, first=0, last=2047)  # type: ignore[arg-type]
        return counting.rows

    assert await index.write(count) == 1
    assert len(await list_rows(index, 2)) == ROWS_READ + BLOCK
