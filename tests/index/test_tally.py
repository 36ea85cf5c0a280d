"""The kept counts of conversations, and the counts and facets that are read from them."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random

import pytest

from app.index import conversation_list, conversation_rows, facet_counts, tally
from app.index.sqlite import migrations
from app.index.sqlite.database import Index
from app.index.tally import DAY_US
from app.model.conversation import ConversationRow, IndexedRow
from app.model.facets import Facet, FacetKind, parse_facets
from app.model.filters import ConversationFilter, Status
from tests.builders import index_database
from tests.index.builders import make_row, put
from tests.index.plans import LISTED, plan

TABLES = ("tally", "tally_day")
TIMES = ("created_at", "updated_at", "last_event_at")


def change(random: Random, row: IndexedRow) -> IndexedRow:
    """Return the row of a conversation after any change."""
    keys = random.sample(("area", "team", "kind"), random.randint(0, 3))
    created, updated, last = (random.randrange(-5 * DAY_US, 5 * DAY_US, DAY_US // 4) for _ in TIMES)
    return row._replace(
        row=row.row._replace(
            status=random.choice(list(Status)),
            model=random.choice((None, "", "a/model", "another")),
            workspace=random.choice((None, "/w", "/w/1", "/x")),
            agent_kind=random.choice(("Agent", "ACPAgent")),
            archived=random.choice((0, 0, 0, 1, 2, 3)),
            tags=tuple((key, random.choice(("", "one", "two"))) for key in sorted(keys)),
            created_at=created,
            updated_at=updated,
            last_event_at=last,
        )
    )


async def fill(index: Index, random: Random, number: int) -> list[IndexedRow]:
    rows = [change(random, make_row(one)) for one in range(1, number + 1)]
    await put(index, *rows)
    return rows


async def miscounted(index: Index) -> list[str]:
    async with index.read() as connection:
        return await tally.list_miscounted(connection)


def kept(path: Path) -> list[list[tuple[object, ...]]]:
    with index_database(path) as db:
        return [db.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4").fetchall() for table in TABLES]


async def test_any_changes_leave_the_counts_of_the_rows(index: Index) -> None:
    random = Random(3)  # noqa: S311 - made-up data
    for _ in range(40):
        numbers = random.sample(range(1, 12), 5)
        await put(index, *(change(random, make_row(number)) for number in numbers[:3]))
        gone = [make_row(number).row.directory for number in numbers[3:]]
        await index.write(partial(conversation_rows.delete_many, directories=gone))
        assert await miscounted(index) == []
    assert not [row for table in kept(index.path) for row in table if row[-1] == 0]


async def test_wrong_counts_are_found_and_counted_anew(index: Index) -> None:
    await fill(index, Random(5), 20)  # noqa: S311 - made-up data
    right = kept(index.path)
    with index_database(index.path) as db:
        db.execute("UPDATE tally SET number = number + 1 WHERE facet IN ('', 'tag:area')")
        db.execute("DELETE FROM tally_day WHERE name = 'updated_at'")
    assert await miscounted(index) == ["all", "tag:area", "updated_at"]
    await index.write(tally.recount)
    assert (await miscounted(index), kept(index.path)) == ([], right)


async def test_the_migration_counts_the_conversations_of_an_older_index(path: Path, index: Index) -> None:
    await fill(index, Random(7), 60)  # noqa: S311 - made-up data
    before = kept(path)
    await index.close()
    migrations.downgrade(path, "0010")
    migrations.upgrade(path)
    assert kept(path) == before


def spans() -> list[tuple[int | None, int | None]]:
    """Return spans of time with ends at midnight and beside it, of no day, part of a day, and many days."""
    ends = [None, *(day * DAY_US + more for day in (-3, 0, 1, 4) for more in (-1, 0, 1, DAY_US // 2))]
    return [(since, until) for since in ends for until in ends if since or until]


def in_span(time: str, since: int | None, until: int | None) -> ConversationFilter:
    match time:
        case "created_at":
            return ConversationFilter(created_at_gte_us=since, created_at_lt_us=until)
        case "updated_at":
            return ConversationFilter(updated_at_gte_us=since, updated_at_lt_us=until)
    return ConversationFilter(last_event_at_gte_us=since, last_event_at_lt_us=until)


@pytest.mark.parametrize("time", TIMES)
async def test_a_count_in_a_span_of_time_is_that_of_the_rows(index: Index, time: str) -> None:
    rows = [one.row for one in await fill(index, Random(11), 80)]  # noqa: S311 - made-up data
    for since, until in spans():
        span = in_span(time, since, until)
        for statuses in ((), (Status.ERROR,), (Status.ERROR, Status.IDLE)):
            expected = sum(
                row.archived == 0
                and (not statuses or row.status in statuses)
                and (since is None or getattr(row, time) >= since)
                and (until is None or getattr(row, time) < until)
                for row in rows
            )
            async with index.read() as connection:
                counted = await conversation_list.count_conversations(connection, replace(span, statuses=statuses))
            assert counted == expected, (since, until, statuses)


FILTERS: dict[str, tuple[ConversationFilter, Callable[[ConversationRow], bool]]] = {
    "nothing": (ConversationFilter(), lambda row: row.archived == 0),
    "every shelf": (ConversationFilter(archived=None, subagents=None), lambda _: True),
    "two shelves": (ConversationFilter(archived=None), lambda row: row.archived in (0, 1)),
    "one status": (
        ConversationFilter(statuses=(Status.ERROR,)),
        lambda row: (row.archived, row.status) == (0, "error"),
    ),
    "a model": (ConversationFilter(model="a/model"), lambda row: (row.archived, row.model) == (0, "a/model")),
    "two workspaces": (
        ConversationFilter(workspaces=("/w", "/x")),
        lambda row: row.archived == 0 and row.workspace in ("/w", "/x"),
    ),
    "below a workspace": (
        ConversationFilter(workspace_under="/w"),
        lambda row: row.archived == 0 and row.workspace in ("/w", "/w/1"),
    ),
}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("limit", [1, 50])
async def test_facets_and_counts_are_those_of_the_rows(index: Index, name: str, limit: int) -> None:
    rows = [one.row for one in await fill(index, Random(13), 80)]  # noqa: S311 - made-up data
    asked, matches = FILTERS[name]
    matching = [row for row in rows if matches(row)]
    facets = parse_facets("status,model,workspace,agent_kind,tag,tag:area,day,month")
    async with index.read() as connection:
        together = await facet_counts.count_facets(connection, asked, facets, limit)
        alone = [await facet_counts.count_facets(connection, asked, [facet], limit) for facet in facets]
        assert await conversation_list.count_conversations(connection, asked) == len(matching)
    assert [one.count for one in (together, *alone)] == [len(matching)] * (1 + len(facets))
    for facet, one in zip(facets, alone, strict=True):
        counts = together.by[facet.name]
        assert one.by[facet.name] == counts
        values = [value for row in matching for value in values_of(row, facet)]
        ordered = sorted(Counter(one for one in values if one is not None).items(), key=lambda it: (-it[1], it[0]))
        missing = values.count(None)
        assert (counts.values, counts.null) == (ordered[:limit], missing), facet
        assert counts.other == sum(count for _, count in ordered[limit:])


def values_of(row: ConversationRow, facet: Facet) -> list[str | None]:
    created = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=row.created_at)).date().isoformat()
    match facet.kind:
        case FacetKind.TAG if facet.tag_key:
            return [dict(row.tags).get(facet.tag_key)]
        case FacetKind.TAG:
            return [key for key, _ in row.tags] or [None]
        case FacetKind.DAY:
            return [created]
        case FacetKind.MONTH:
            return [created[:7]]
    return [getattr(row, facet.kind.value)]


def test_facets_of_all_read_no_conversation(database: sqlite3.Connection) -> None:
    kinds = tuple((kind, False) for kind in FacetKind)
    for sql in (
        facet_counts.facets_sql((*kinds, (FacetKind.TAG, True)), LISTED),
        facet_counts.facets_sql(((FacetKind.TAG, True),), LISTED),
        facet_counts.facets_sql(((FacetKind.STATUS, False),), ("one of 2 status", *LISTED)),
        facet_counts.facets_sql(((FacetKind.WORKSPACE, False),), ("workspace_under", *LISTED)),
    ):
        steps = plan(database, sql)
        assert not [step for step in steps if " conversation" in step]
    steps = plan(database, facet_counts.facets_sql(((FacetKind.MODEL, False),), LISTED))
    assert "SEARCH tally USING COVERING INDEX ix_tally_number (facet=? AND archived=?)" in steps


def test_a_count_in_a_span_of_time_reads_two_days(database: sqlite3.Connection) -> None:
    found = tally.find_count(("created_at_gte", "created_at_lt", "status", *LISTED), {"created_at_gte": 0})
    assert found is not None
    index = "ix_conversation_status_created_at (archived=? AND status=? AND created_at>? AND created_at<?)"
    steps = [step for step in plan(database, found[0]) if " conversation" in step]
    assert steps == [f"SEARCH conversation USING COVERING INDEX {index}"] * 2
