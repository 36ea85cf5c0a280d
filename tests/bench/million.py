"""An index of a million conversations, and one of a million events, made of rows; CPU time of what is asked of them.

No files are made. Each figure is the CPU time of this process, median of several, so a busy machine changes it little.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import NamedTuple

from app.index import (
    conversation_list,
    conversation_lookup,
    conversation_rows,
    event_outline,
    event_rows,
    facet_counts,
    state,
    tally,
)
from app.index.connections import ReadConnection, WriteConnection
from app.index.sqlite import migrations
from app.index.sqlite.database import Index
from app.model.conversation import ConversationFiles, ConversationRow, IndexedRow, LogSummary, fold
from app.model.event import EventFacts, EventRow, LogChange
from app.model.facets import parse_facets
from app.model.filters import ConversationFilter, EventFilter, Status, Tag
from app.model.ids import ConversationId, EventName
from app.model.page import Cursor, EventOrder, SortOrder
from tests.bench.measure import Sample
from tests.bench.rows import Bound, Row
from tests.bench.shapes import STATUSES, make_meta, make_state, new_id

_BEGIN_US = 1_735_689_600_000_000
_SPAN_US = 60_000_000_000_000
_TEMPLATES = 60
_BATCH = 2000
_TIMES = 7
_LONG_BATCH = 10_000
_LIMIT = 20
_EVENTS = 100

Ask = Callable[[ReadConnection], Awaitable[object]]


class _Asked(NamedTuple):
    """Something that is asked of an index, and the most milliseconds of CPU time that it may take at the large size."""

    ask: Ask
    most_ms: float


def measure_million(directory: Path, number: int) -> list[Row]:
    """Make indexes of a tenth of `number` and of `number` conversations, and of so many events; ask both sizes."""
    return asyncio.run(_measure(directory, number))


async def _measure(directory: Path, number: int) -> list[Row]:
    directory.mkdir()
    small, large = (directory / name for name in ("small.db", "large.db"))
    rates = [await fill(path, size) for path, size in ((small, number // 10), (large, number))]
    rows = [_row("rows of conversations written", "1/CPU s", rates)]
    rows += await _compare(small, large, _of_lists())
    sizes = [path.stat().st_size / size for path, size in ((small, number // 10), (large, number))]
    rows.append(_row("index, without events and texts", "B each", sizes))
    small, large = (directory / name for name in ("short-log.db", "long-log.db"))
    for path, size in ((small, number // 10), (large, number)):
        await fill_log(path, size)
    return rows + await _compare(small, large, _of_logs(number // 20))


def _row(name: str, unit: str, values: list[float]) -> Row:
    small, large = (Sample.of([value]) for value in values)
    return Row(name, unit, small, large)


async def _compare(small: Path, large: Path, asked: dict[str, _Asked]) -> list[Row]:
    samples: list[dict[str, Sample]] = []
    for path in (small, large):
        index = Index(path, readers=1, busy_timeout_s=5)
        await index.open()
        try:
            samples.append({name: await _sample(index, one.ask) for name, one in asked.items()})
        finally:
            await index.close()
    return [
        Row(
            name,
            "CPU ms",
            samples[0][name],
            samples[1][name],
            bound=Bound(f"B ≤ {one.most_ms} ms", samples[1][name].median <= one.most_ms),
        )
        for name, one in asked.items()
    ]


async def _sample(index: Index, ask: Ask) -> Sample:
    times_ms = []
    for _ in range(_TIMES + 1):
        began = time.process_time()
        async with index.read() as connection:
            await ask(connection)
        times_ms.append((time.process_time() - began) * 1000)
    return Sample.of(times_ms[1:])


async def fill(path: Path, number: int, seed: int = 1) -> float:
    """Make an index of so many conversations at `path`, and return how many rows a second of CPU time were written.

    Database indexes are made at the end, because random ids would change a page of each for every row.
    """
    migrations.upgrade(path)
    began = time.process_time()
    with closing(sqlite3.connect(path)) as database:
        named = (
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'conversation' AND sql IS NOT NULL"
        )
        made = database.execute(named).fetchall()
        for name, _ in made:
            database.execute(f"DROP INDEX {name}")
    index = Index(path, readers=1, busy_timeout_s=60)
    await index.open()
    try:
        rows = make_rows(Random(seed))  # noqa: S311 - made-up data
        for begin in range(0, number, _BATCH):
            await index.write(partial(_write, rows=list(islice(rows, min(_BATCH, number - begin)))))
    finally:
        await index.close()
    with closing(sqlite3.connect(path)) as database:
        for _, sql in made:
            database.execute(sql)
    return number / (time.process_time() - began)


def _write(connection: WriteConnection, rows: list[IndexedRow]) -> None:
    conversation_rows.insert_rows(connection, rows, revision=state.bump_revision(connection), events_behind=0)
    tally.add_changes(connection, [(None, one.row) for one in rows])


def make_rows(random: Random) -> Iterator[IndexedRow]:
    """Yield rows of conversations without end."""
    templates = [_make_template(random, number) for number in range(_TEMPLATES)]
    number = 0
    while True:
        template = templates[number % _TEMPLATES]
        uuid = ConversationId(new_id(random).hex)
        created_us = _BEGIN_US + random.randrange(_SPAN_US)
        updated_us = created_us + random.randrange(500_000_000_000)
        body = template.body.replace(template.uuid.encode(), uuid.encode())
        yield IndexedRow(
            template._replace(
                uuid=uuid,
                directory=uuid,
                title=f"{template.title} ({number})",
                title_key=f"{template.title_key} ({number})",
                status=random.choice(STATUSES),
                created_at=created_us,
                updated_at=updated_us,
                last_event_at=updated_us,
                event_count=random.randrange(5, 200),
                cost=random.randrange(10_000) / 1000,
                body=body,
            ),
            random.randbytes(16),
        )
        number += 1


def _make_template(random: Random, number: int) -> ConversationRow:
    conversation_id = new_id(random)
    uuid = ConversationId(conversation_id.hex)
    at = datetime(2025, 1, 2, tzinfo=UTC).isoformat()
    meta = make_meta(conversation_id, title=f"Task {number}", created_at=at, updated_at=at, parent=None)
    state = make_state(conversation_id, status="idle", leaf=str(new_id(random)), skills=[])
    state["workspace"] = meta["workspace"] = {
        "working_dir": f"/home/dev/project{number % 23}",
        "kind": "LocalWorkspace",
    }
    state["agent"]["llm"]["model"] = f"vendor/model-{number % 7}"
    state["tags"] = meta["tags"] = {"area": ("backend", "frontend", "docs")[number % 3]}
    return fold(ConversationFiles(uuid, uuid, meta, 0, state, LogSummary(), _BEGIN_US))


def _of_lists() -> dict[str, _Asked]:
    finished = ConversationFilter(statuses=(Status.FINISHED,))
    since_us, until_us = (_BEGIN_US + _SPAN_US // 4 * part for part in (1, 3))
    half = replace(finished, created_at_gte_us=since_us, created_at_lt_us=until_us)

    def page(asked: ConversationFilter, order: SortOrder = SortOrder.UPDATED_AT_DESC) -> Ask:
        return partial(conversation_list.list_conversations, asked=asked, order=order, page_id=None, limit=_LIMIT)

    def count(asked: ConversationFilter) -> Ask:
        return partial(conversation_list.count_conversations, asked=asked)

    def facets(by: str, asked: ConversationFilter = ConversationFilter()) -> Ask:  # noqa: B008 - frozen
        return partial(facet_counts.count_facets, asked=asked, by=parse_facets(by), limit=_LIMIT)

    tagged = ConversationFilter(tags=(Tag("area", "docs"),), cost_gte=1.0, top_level=True)
    return {
        "a page": _Asked(page(ConversationFilter()), 5),
        "a page with a status": _Asked(page(finished), 5),
        "three filters that many pass": _Asked(page(tagged), 10),
        "three filters that none passes": _Asked(page(replace(tagged, workspaces=("/nowhere",)), SortOrder.TITLE), 100),
        "a count of all": _Asked(count(ConversationFilter()), 5),
        "a count by status": _Asked(count(finished), 5),
        "a count by a range and a status": _Asked(count(half), 60),
        "a count under three filters": _Asked(count(replace(finished, cost_gte=1.0, top_level=True)), 100),
        "two facets": _Asked(facets("status,model"), 100),
        "all seven facets": _Asked(facets("status,model,workspace,agent_kind,tag,day,month"), 250),
        "all seven with a status": _Asked(facets("status,model,workspace,agent_kind,tag,day,month", finished), 1000),
        "two facets under three filters": _Asked(facets("status,model", tagged), 1000),
        "totals": _Asked(conversation_lookup.count_totals, 5),
    }


_ONE = ConversationId("1" * 32)
_KINDS = (
    ("ActionEvent", "agent", "terminal"),
    ("ObservationEvent", "environment", "terminal"),
    ("ActionEvent", "agent", "file_editor"),
    ("ObservationEvent", "environment", "file_editor"),
    ("MessageEvent", "agent", None),
    ("ConversationStateUpdateEvent", "environment", None),
)


async def fill_log(path: Path, number: int) -> None:
    """Make an index of one conversation of so many events: a user speaks in each 500th, each 1,000th is an error."""
    migrations.upgrade(path)
    index = Index(path, readers=1, busy_timeout_s=5)
    await index.open()
    random = Random(number)  # noqa: S311 - made-up data
    summary = LogSummary(event_count=number)
    row = IndexedRow(fold(ConversationFiles(_ONE, _ONE, {}, 0, {"agent": {}}, summary, _BEGIN_US)), b"x" * 16)

    def write(connection: WriteConnection, first: int) -> None:
        if not first:
            conversation_rows.upsert_many(connection, [row])
        rows = [_make_event(random, seq) for seq in range(first, min(first + _LONG_BATCH, number))]
        event_rows.apply_changes(connection, [LogChange(1, rows, [])])

    try:
        for first in range(0, number, _LONG_BATCH):
            await index.write(partial(write, first=first))
    finally:
        await index.close()


def _make_event(random: Random, seq: int) -> EventRow:
    kind, source, tool = _KINDS[seq % len(_KINDS)]
    text = ""
    if seq % 500 == 1:
        kind, source, tool, text = "MessageEvent", "user", None, f"do the task {seq}"
    elif seq % 1000 == 500:
        kind, source = "AgentErrorEvent", "agent"
    facts = EventFacts(kind, source, _BEGIN_US + seq * 1_000_000, tool, text)
    return EventRow(EventName(seq, str(new_id(random))), facts, None)


def _of_logs(middle: int) -> dict[str, _Asked]:
    def page(asked: EventFilter, order: EventOrder, after: Cursor[int] | None = None) -> Ask:
        return partial(event_rows.list_events, uuid=_ONE, asked=asked, order=order, after=after, limit=_EVENTS)

    anything, here = EventFilter(), Cursor(middle, "")
    errors, nothing = EventFilter(kind="AgentErrorEvent"), EventFilter(kind="PauseEvent")
    return {
        "outline of a log": _Asked(partial(event_outline.read_outline, uuid=_ONE), 100),
        "events of a kind": _Asked(partial(event_rows.count_events, uuid=_ONE, asked=errors), 100),
        "all events": _Asked(partial(event_rows.count_log, uuid=_ONE), 100),
        "events in a span of time": _Asked(
            partial(event_rows.count_events, uuid=_ONE, asked=EventFilter(timestamp_gte_us=_BEGIN_US + 5)), 100
        ),
        "a page in the middle": _Asked(page(anything, EventOrder.TIMESTAMP, here), 5),
        "the last page": _Asked(page(anything, EventOrder.TIMESTAMP_DESC), 5),
        "a page of a rare kind": _Asked(page(errors, EventOrder.TIMESTAMP, here), 100),
        "the last page of a rare kind": _Asked(page(errors, EventOrder.TIMESTAMP_DESC), 100),
        "a page of a kind that is not there": _Asked(page(nothing, EventOrder.TIMESTAMP), 100),
        "sections": _Asked(partial(event_rows.list_starts, uuid=_ONE, size=50), 100),
        "sections in which something is said": _Asked(partial(event_rows.list_said_starts, uuid=_ONE, size=50), 100),
        "what an append asks": _Asked(partial(event_rows.find_ends, uuid=_ONE), 5),
        "an event by its id": _Asked(partial(event_rows.find_event, uuid=_ONE, event_id="none"), 100),
        "responses of the agent": _Asked(partial(event_rows.list_responses, uuid=_ONE, most=100), 100),
    }
