"""The counts of events in the blocks of long logs, and what is read from them."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from app.index import event_copies, event_outline, event_rows, log_blocks
from app.index.event_outline import BINS, Bin, Outline
from app.index.log_blocks import BLOCK, ROWS_READ
from app.index.sqlite import migrations
from app.index.sqlite.database import Index
from app.model.event import EventFacts, EventRow, LogChange
from app.model.filters import EventFilter
from app.model.ids import ConversationId, EventName
from app.model.page import EventOrder
from tests.builders import index_database, make_id
from tests.index.builders import make_row, put
from tests.index.plans import plan

ONE = ConversationId(make_id(1))
SHAPES = (
    ("MessageEvent", "user", None),
    ("MessageEvent", "agent", None),
    ("ActionEvent", "agent", "file_editor"),
    ("ActionEvent", "agent", "terminal"),
    ("AgentErrorEvent", "agent", "terminal"),
    ("Condensation", "environment", ""),
    ("Condensation", "environment", None),
)


def make_event(random: Random, seq: int) -> EventRow:
    kind, source, tool = random.choice(SHAPES)
    reason = "torn" if random.random() < 0.01 else None
    return EventRow(EventName(seq, f"event-{seq}"), EventFacts(kind, source, seq, tool, ""), reason)


async def apply(index: Index, *changes: LogChange) -> None:
    await index.write(lambda connection: event_rows.apply_changes(connection, changes))


async def miscounted(index: Index) -> list[tuple[int, int]]:
    async with index.read() as connection:
        return await log_blocks.list_miscounted(connection)


async def blocks(index: Index) -> list[tuple[object, ...]]:
    await index.write(lambda _: None)
    with index_database(index.path) as db:
        return list(db.execute("SELECT * FROM log_block ORDER BY conversation, block, kind, source, tool"))


def count_plainly(rows: list[EventRow]) -> Outline:
    """Return the outline as it is defined: one look at each event."""
    length = rows[-1].name.seq + 1
    kinds = Counter((row.facts.kind, row.facts.source, row.facts.tool or None) for row in rows)
    bins: dict[int, Counter[str]] = {}
    turns = []
    marks = []
    for row in rows:
        kind, source, _, tool, *_ = row.facts
        is_turn = (kind, source) == ("MessageEvent", "user")
        is_error = kind == "AgentErrorEvent" or row.unreadable is not None
        here = bins.setdefault(row.name.seq * BINS // length, Counter())
        here["all"] += 1
        here["user"] += is_turn
        here["edits"] += (kind, tool) == ("ActionEvent", "file_editor")
        here["errors"] += is_error
        if is_turn and row.unreadable is None:
            turns.append(event_outline.Turn(*row.name, row.facts.timestamp_us, ""))
        if is_error or kind == "Condensation":
            marks.append(event_outline.Mark(*row.name, kind, tool))
    order = sorted(kinds.items(), key=lambda one: (-one[1], one[0][:2], one[0][2] or ""))
    return Outline(
        total=len(rows),
        unreadable=sum(row.unreadable is not None for row in rows),
        edits=0,
        last_seq=length - 1,
        kinds=[(*kind, number) for kind, number in order],
        turns=turns[: event_outline.TURNS_MAX],
        marks=marks[: event_outline.MARKS_MAX],
        bins=[
            Bin(
                number,
                one["user"],
                one["edits"],
                one["errors"],
                one["all"] - one["user"] - one["edits"] - one["errors"],
            )
            for number, one in sorted(bins.items())
        ],
    )


@pytest.mark.long
async def test_an_outline_is_that_of_a_look_at_each_event(index: Index) -> None:
    random = Random(5)  # noqa: S311 - made-up data
    for number, length in enumerate((1, ROWS_READ, ROWS_READ + 1, 5000, 40_000), 1):
        seqs = [seq for seq in range(length) if seq == length - 1 or random.random() < 0.9]
        rows = [make_event(random, seq) for seq in seqs]
        await put(index, make_row(number))
        await apply(index, LogChange(number, rows, []))
        async with index.read() as connection:
            outline = await event_outline.read_outline(connection, ConversationId(make_id(number)))
        assert without_steps(outline) == count_plainly(rows)


def without_steps(outline: Outline) -> Outline:
    """Return an outline without what is read of the order of events (`tests/index/test_event_outline.py`)."""
    turns = [turn._replace(edits=0, commands=0, others=0) for turn in outline.turns]
    return outline._replace(turns=turns, bins=[one._replace(took_us=0) for one in outline.bins])


def list_said_plainly(rows: list[EventRow]) -> list[int]:
    """Return the numbers of what was said as it is defined: one look at each event, from the last to the first."""
    said, answered = [], False
    for row in reversed(rows):
        speaker = row.facts.source if row.facts.kind == "MessageEvent" and row.unreadable is None else ""
        is_answer = speaker == "agent" and not answered
        if is_answer or row.unreadable or speaker == "user" or row.facts.kind == "AgentErrorEvent":
            said.append(row.name.seq)
        answered = speaker == "agent" or (answered and speaker != "user")
    return said


async def test_counts_by_kind_and_source_are_those_of_a_look_at_each_event(index: Index) -> None:
    random = Random(7)  # noqa: S311 - made-up data
    rows = [make_event(random, seq) for seq in range(3000)]
    await put(index, make_row(1))
    await apply(index, LogChange(1, rows, []))
    readable = [row.facts for row in rows if row.unreadable is None]
    async with index.read() as connection:
        for kind in ("MessageEvent", "AgentErrorEvent", "Nothing", None):
            for source in ("user", "agent", None):
                asked = EventFilter(kind=kind, source=source)
                expected = [one for one in readable if kind in (one.kind, None) and source in (one.source, None)]
                assert await event_rows.count_events(connection, ONE, asked) == len(expected)
        assert await event_rows.count_log(connection, ONE) == (3000, 2999)
        for size in (1, 50):
            starts = {seq // size * size for seq in list_said_plainly(rows)}
            assert await event_rows.list_said_starts(connection, ONE, size) == sorted(starts)


async def test_any_changes_leave_the_counts_of_the_event_rows(index: Index) -> None:
    random = Random(11)  # noqa: S311 - made-up data
    await put(index, make_row(1), make_row(2))
    for _ in range(60):
        seqs = random.sample(range(ROWS_READ - BLOCK, ROWS_READ + 3 * BLOCK), 40)
        gone = [EventName(seq, f"event-{seq}") for seq in seqs[30:]]
        await apply(index, LogChange(random.randint(1, 2), [make_event(random, seq) for seq in seqs[:30]], gone))
        assert await miscounted(index) == []
    assert await blocks(index)
    await index.write(event_rows.delete_all)
    assert await blocks(index) == []


async def test_a_short_log_has_no_blocks(index: Index) -> None:
    random = Random(13)  # noqa: S311 - made-up data
    await put(index, make_row(1))
    await apply(index, LogChange(1, [make_event(random, seq) for seq in range(ROWS_READ)], []))
    assert await blocks(index) == []


async def test_wrong_counts_are_found_and_counted_anew(index: Index) -> None:
    random = Random(17)  # noqa: S311 - made-up data
    await put(index, make_row(1))
    await apply(index, LogChange(1, [make_event(random, seq) for seq in range(ROWS_READ + 2 * BLOCK)], []))
    with index_database(index.path) as db:
        db.execute(
            "UPDATE log_block SET events = events + 1 WHERE block = ? AND kind = 'Condensation'",
            [1 + ROWS_READ // BLOCK],
        )
    wrong = await miscounted(index)
    assert wrong == [(1, ROWS_READ + BLOCK)]
    await index.write(lambda connection: log_blocks.recount(connection, wrong))
    assert await miscounted(index) == []


async def test_copied_events_are_counted(index: Index) -> None:
    random = Random(19)  # noqa: S311 - made-up data
    await put(index, make_row(1), make_row(2))
    await apply(index, LogChange(1, [make_event(random, seq) for seq in range(ROWS_READ + BLOCK)], []))
    two = ConversationId(make_id(2))
    await index.write(
        lambda connection: event_copies.copy_events(connection, ONE, two, first=0, last=ROWS_READ + BLOCK // 2)
    )
    assert {row[0] for row in await blocks(index)} == {1, 2}
    assert await miscounted(index) == []


async def test_the_migration_counts_the_events_of_an_older_index(path: Path, index: Index) -> None:
    random = Random(23)  # noqa: S311 - made-up data
    await put(index, make_row(1))
    await apply(index, LogChange(1, [make_event(random, seq) for seq in range(ROWS_READ + 3 * BLOCK)], []))
    before = await blocks(index)
    await index.close()
    migrations.downgrade(path, "0010")
    migrations.upgrade(path)
    with index_database(path) as db:
        assert (
            db.execute("SELECT * FROM log_block ORDER BY conversation, block, kind, source, tool").fetchall() == before
        )


def test_an_outline_reads_only_the_first_rows_of_a_log_and_its_blocks(database: sqlite3.Connection) -> None:
    bounded = "SEARCH event USING PRIMARY KEY (conversation=? AND seq"
    for sql in (
        event_outline._KINDS,
        event_outline._BINS,
        event_rows._count_log_sql(),
        event_rows.count_sql(("kind",)),
    ):
        steps = [step for step in plan(database, sql) if step.startswith(("SCAN event", "SEARCH event"))]
        assert [
            step for step in steps if not step.startswith((bounded, "SEARCH event USING PRIMARY KEY (conversation=?)"))
        ] == []
        assert any(step.startswith(bounded) for step in steps)
    for sql, name in ((event_outline._TURNS, "ix_event_turns"), (event_outline._MARKS, "ix_event_marks")):
        steps = plan(database, sql)
        assert [step for step in steps if " event " in step] == [f"SEARCH event USING INDEX {name} (conversation=?)"]
        assert not [step for step in steps if "TEMP B-TREE" in step]


async def test_a_page_of_a_kind_ends_with_the_last_block_that_has_it(index: Index) -> None:
    await put(index, make_row(1))
    seqs = range(ROWS_READ + 4 * BLOCK)
    rare = {5: "Early", ROWS_READ + BLOCK - 1: "Middle", seqs[-1]: "Late", ROWS_READ - 1: "Middle"}
    rows = [EventRow(EventName(seq, f"event-{seq}"), EventFacts(rare.get(seq, "X"), "user", seq, None)) for seq in seqs]
    await apply(index, LogChange(1, rows, []))
    async with index.read() as connection:
        for order in EventOrder:
            for kind in ("Early", "Middle", "Late", "Never"):
                found = await event_rows.list_events(connection, ONE, EventFilter(kind=kind), order, None, 9)
                wanted = sorted(seq for seq, name in rare.items() if name == kind)
                assert [name.seq for name in found] == (wanted if order is EventOrder.TIMESTAMP else wanted[::-1])
    sql = event_rows.list_sql(EventOrder.TIMESTAMP, ("kind",), after=False)
    with closing(sqlite3.connect(index.path)) as db:
        steps = plan(db, sql)
    assert "SEARCH event USING PRIMARY KEY (conversation=? AND seq<?)" in steps
