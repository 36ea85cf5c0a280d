"""The events of each conversation in each quarter of an hour."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from random import Random

import pytest

from app.index import activity, event_rows
from app.index.activity import HourCount, SpanCount
from app.index.sqlite import migrations
from app.index.sqlite.database import Index
from app.model.event import EventFacts, EventRow, LogChange
from app.model.filters import ConversationFilter
from app.model.ids import EventName
from app.model.periods import QUARTER_US
from tests.builders import index_database
from tests.index.builders import make_row, put
from tests.index.plans import LISTED, plan

MONDAY = 4 * 96
"""The first quarter of Monday, 5 January 1970."""


def at(seq: int, time_us: int | None) -> EventRow:
    return EventRow(EventName(seq, f"event-{seq}"), EventFacts("MessageEvent", "user", time_us, None, ""))


async def apply(index: Index, *changes: LogChange) -> None:
    await index.write(lambda connection: event_rows.apply_changes(connection, changes))


async def counted(index: Index) -> list[tuple[int, int, int]]:
    async with index.read() as connection:
        assert await activity.list_miscounted(connection) == []
        quarters = await activity.list_quarters(connection, -(2**40), 2**40)
        spans = await activity.count_spans(connection, ConversationFilter(), [(one, one) for one in quarters], None)
    return [(quarters[one.place], one.conversations, one.events) for one in spans]


async def test_new_events_are_counted_in_their_quarter_of_an_hour(index: Index) -> None:
    await put(index, make_row(1), make_row(2))
    times = [0, QUARTER_US - 1, QUARTER_US, None, -1]
    await apply(index, LogChange(1, [at(seq, time) for seq, time in enumerate(times)], []))
    await apply(index, LogChange(2, [at(0, 5)], []), LogChange(1, [at(5, 6)], []))
    assert await counted(index) == [(-1, 1, 1), (0, 2, 4), (1, 1, 1)]


async def test_changed_and_deleted_events_are_counted_anew(index: Index) -> None:
    await put(index, make_row(1))
    await apply(index, LogChange(1, [at(0, 0), at(1, 0), at(2, QUARTER_US)], []))
    await apply(index, LogChange(1, [at(0, 7 * QUARTER_US)], [EventName(2, "event-2")]))
    assert await counted(index) == [(0, 1, 1), (7, 1, 1)]
    await index.write(event_rows.delete_all)
    assert await counted(index) == []


async def test_any_changes_leave_the_counts_of_the_event_rows(index: Index) -> None:
    random = Random(3)  # noqa: S311 - made-up data
    await put(index, *map(make_row, range(1, 4)))
    for _ in range(60):
        numbers = random.sample(range(8), 4)
        time_us = random.choice([None, -QUARTER_US, 0, random.randrange(-(10**10), 10**10)])
        gone = [EventName(number, f"event-{number}") for number in numbers[2:]]
        await apply(index, LogChange(random.randint(1, 3), [at(number, time_us) for number in numbers[:2]], gone))
        async with index.read() as connection:
            assert await activity.list_miscounted(connection) == []


async def test_events_are_counted_by_weekday_and_hour_of_a_zone(index: Index) -> None:
    await put(index, make_row(1))
    await apply(index, LogChange(1, [at(seq, (MONDAY + seq) * QUARTER_US) for seq in range(5)], []))
    async with index.read() as connection:
        utc = await activity.count_hours(connection, ConversationFilter(), 0, 0)
        west = await activity.count_hours(connection, ConversationFilter(), MONDAY + 1, -2)
    assert utc == [HourCount(0, 0, 4), HourCount(0, 1, 1)]
    assert sorted(west) == [HourCount(0, 0, 3), HourCount(6, 23, 1)]


async def test_a_conversation_counts_once_in_a_span_under_any_filter(index: Index) -> None:
    await put(index, make_row(1, parent=7), make_row(2))
    await apply(index, *(LogChange(key, [at(seq, seq * QUARTER_US) for seq in range(4)], []) for key in (1, 2)))
    spans = [(0, 1), (3, 9)]
    async with index.read() as connection:
        assert await activity.count_spans(connection, ConversationFilter(), spans, "status") == [
            SpanCount(0, "error", 2, 4),
            SpanCount(1, "error", 2, 2),
        ]
        children = await activity.count_spans(connection, ConversationFilter(top_level=False), spans, None)
    assert children == [SpanCount(0, "", 1, 2), SpanCount(1, "", 1, 1)]


@pytest.mark.parametrize("names", [LISTED, ("q", "active", "status", *LISTED)])
def test_a_span_reads_its_own_counts_and_no_event(database: sqlite3.Connection, names: tuple[str, ...]) -> None:
    for sql in (activity._spans_sql(names, "model"), activity._hours_sql(names)):
        steps = plan(database, sql)
        assert any(step.startswith("SEARCH activity USING COVERING INDEX ix_activity_quarter") for step in steps)
        assert not [step for step in steps if "event" in step or step.startswith("SCAN conv") or "AUTOMATIC" in step]


async def test_the_migration_counts_the_events_of_an_older_index(path: Path, index: Index) -> None:
    await put(index, make_row(1))
    await apply(index, LogChange(1, [at(seq, (seq - 3) * QUARTER_US // 2) for seq in range(6)] + [at(9, None)], []))
    before = await counted(index)
    await index.close()
    migrations.downgrade(path, "0009")
    migrations.upgrade(path)
    with index_database(path) as db:
        assert db.execute("SELECT quarter, 1, events FROM activity ORDER BY quarter").fetchall() == before
