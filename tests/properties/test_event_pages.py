"""Walks of the events of one conversation, while events are appended and vanish between the pages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from app.index import conversation_lookup, conversation_rows, event_rows
from app.index.connections import WriteConnection
from app.index.sqlite.database import Index
from app.model.conversation import ConversationFiles, IndexedRow, LogSummary, fold
from app.model.event import EventFacts, EventRow, LogChange
from app.model.filters import EventFilter
from app.model.ids import ConversationId, EventName
from app.model.page import Cursor, EventOrder
from tests.builders import make_id
from tests.properties.conftest import Live

KINDS = st.sampled_from(["MessageEvent", "ActionEvent"])
SOURCES = st.sampled_from(["user", "agent"])
FILTERS = st.builds(
    EventFilter,
    kind=st.none() | KINDS,
    source=st.none() | SOURCES,
    timestamp_gte_us=st.none() | st.integers(0, 3),
    timestamp_lt_us=st.none() | st.integers(2, 5),
)
NAMES = st.builds(EventName, st.integers(0, 9), st.sampled_from(["a", "b"]))
SMALL = st.none() | st.integers(0, 5)
FACTS = st.builds(EventFacts, KINDS, SOURCES, SMALL, st.none(), number=SMALL)
ROWS = st.tuples(FACTS, st.sampled_from([None, None, "torn"]))
LOGS = st.dictionaries(NAMES, ROWS).map(lambda log: {name: EventRow(name, *row) for name, row in log.items()})
PAGES_MAX = 60
ONE = ConversationId(make_id(1))


class Step(NamedTuple):
    """What happens between two pages: events are appended after all others, some vanish."""

    appended: list[EventFacts]
    deleted: list[EventName]


STEPS = st.lists(st.builds(Step, st.lists(FACTS, max_size=2), st.lists(NAMES, max_size=1)), max_size=6)


async def fill(index: Index, log: dict[EventName, EventRow]) -> int:
    """Make the index hold one conversation with this log, beside another one, and return its key."""

    def write(connection: WriteConnection) -> None:
        conversation_rows.delete_many(connection, [make_id(1), make_id(2)])
        for uuid in (ONE, ConversationId(make_id(2))):
            row = fold(ConversationFiles(uuid, uuid, {}, 0, {}, LogSummary(), 0))
            conversation_rows.upsert_many(connection, [IndexedRow(row, b"signature")])

    await index.write(write)
    keys = []
    for uuid in (ONE, ConversationId(make_id(2))):
        async with index.read() as reading:
            keys += [seen.key for seen in await conversation_lookup.find_states(reading, [uuid])]
    other = [EventRow(EventName(5, "other"), EventFacts("MessageEvent", "user", 2, None))]
    await index.write(
        lambda connection: event_rows.apply_changes(
            connection, [LogChange(keys[0], list(log.values()), []), LogChange(keys[1], other, [])]
        )
    )
    return keys[0]


async def walk(
    index: Index, key: int, asked: EventFilter, order: EventOrder, *, limit: int, steps: Sequence[Step] = ()
) -> list[EventName]:
    """Return the events on all pages; before the n-th following page, `steps[n]` happens."""
    seen: list[EventName] = []
    after = None
    for page_number in range(PAGES_MAX):
        async with index.read() as connection:
            names = await event_rows.list_events(connection, ONE, asked, order, after, limit)
        seen += names
        if len(names) < limit:
            return seen
        after = Cursor(*names[-1])
        if page_number < len(steps):
            step = steps[page_number]
            rows = [
                EventRow(EventName(100 + 10 * page_number + place, "new"), facts)
                for place, facts in enumerate(step.appended)
            ]
            changes = [LogChange(key, rows, step.deleted)]
            await index.write(partial(event_rows.apply_changes, changes=changes))
    raise AssertionError(f"the walk did not end after {PAGES_MAX} pages")


def admits(asked: EventFilter, row: EventRow) -> bool:
    kind, source, time_us, *_ = row.facts
    if row.unreadable is not None or asked.kind not in (None, kind) or asked.source not in (None, source):
        return False
    first, last = asked.timestamp_gte_us, asked.timestamp_lt_us
    if time_us is None:
        return first is None and last is None
    return (first is None or time_us >= first) and (last is None or time_us < last)


def expected(log: dict[EventName, EventRow], asked: EventFilter, order: EventOrder) -> list[EventName]:
    return sorted((name for name, row in log.items() if admits(asked, row)), reverse=order is EventOrder.TIMESTAMP_DESC)


@given(log=LOGS, asked=FILTERS, order=st.sampled_from(EventOrder), limit=st.integers(1, 12))
@settings(max_examples=80, deadline=None)
def test_a_quiet_walk_is_the_log_in_order_and_as_long_as_the_count(
    live: Live, log: dict[EventName, EventRow], asked: EventFilter, order: EventOrder, limit: int
) -> None:
    async def scenario() -> tuple[list[EventName], int]:
        key = await fill(live.index, log)
        async with live.index.read() as connection:
            count = await event_rows.count_events(connection, ONE, asked)
        return await walk(live.index, key, asked, order, limit=limit), count

    wanted = expected(log, asked, order)
    assert live.run(scenario()) == (wanted, len(wanted))


@given(log=LOGS, asked=FILTERS, order=st.sampled_from(EventOrder), limit=st.integers(1, 3), steps=STEPS)
@settings(max_examples=80, deadline=None)
def test_a_walk_of_a_growing_log_neither_skips_nor_repeats_an_event_that_was_there(
    live: Live,
    *,
    log: dict[EventName, EventRow],
    asked: EventFilter,
    order: EventOrder,
    limit: int,
    steps: list[Step],
) -> None:
    async def scenario() -> list[EventName]:
        return await walk(live.index, await fill(live.index, log), asked, order, limit=limit, steps=steps)

    seen = live.run(scenario())
    deleted = {name for step in steps for name in step.deleted}
    stayed = {name: row for name, row in log.items() if name not in deleted}
    assert [name for name in seen if name in stayed] == expected(stayed, asked, order)
    assert len(seen) == len(set(seen))
