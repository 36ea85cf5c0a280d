"""Every statement that reads walks an index and sorts nothing, on a database that was never analysed."""

from __future__ import annotations

import asyncio
import inspect
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain, combinations
from pathlib import Path
from types import ModuleType

import pytest

from app.index import changes, conversations, events, facets, filtering, listing, rows, schema, sweeping
from app.index.engine import Index
from app.index.listing import Shape
from app.index.statements import Sql
from app.index.tables import conversation
from app.model.conversation import ConversationFiles, IndexedRow, LogSummary, fold
from app.model.event import EventFacts, EventRow, LogChange
from app.model.facets import FacetKind
from app.model.filters import Status
from app.model.ids import ConversationId, EventName
from app.model.page import COLUMN_ORDERS, EventOrder, SortOrder
from tests.builders import make_id

ROWS = 3000
EVENT_FILTERS = ("kind", "source", "timestamp_gte", "timestamp_lt")
STATUSES = list(Status)
RANGED = filtering.RANGED
BY_STATUS = [order for order in COLUMN_ORDERS if order.column in ("created_at", "updated_at")]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("plans") / "index.db"
    schema.upgrade(path)
    asyncio.run(fill(path))
    with closing(sqlite3.connect(path)) as connection:
        yield connection


async def fill(path: Path) -> None:
    index = Index(path, readers=1, busy_timeout_s=5)
    await index.open()
    log = [
        EventRow(EventName(seq, "an-event-id"), EventFacts("MessageEvent", "user", seq, None)) for seq in range(ROWS)
    ]
    async with index.write() as connection:
        await conversations.upsert_many(connection, [indexed(number) for number in range(ROWS)])
        await events.apply_changes(connection, [LogChange(1, log, [])])
    await index.close()


def indexed(number: int) -> IndexedRow:
    uuid = ConversationId(make_id(number))
    parent = {"parent_conversation_id": make_id(number // 10)} if number % 3 == 0 else {}
    state = {"agent": {"kind": "Agent"}, "execution_status": STATUSES[number % 8]}
    return IndexedRow(fold(ConversationFiles(uuid, uuid, parent, 0, state, LogSummary(), number // 2)), b"signature")


LISTED = ("not archived",)
WITH_STATUS = ("status", "not archived")


def unfiltered() -> dict[str, Sql]:
    """Return the statements that go over all conversations, or begin with the first of all."""
    first_pages = {f"list {order}": listing.ordered_sql(Shape(order, LISTED)) for order in COLUMN_ORDERS}
    return first_pages | {"count": listing.count_sql(()), "totals": conversations._totals_sql()}


def narrowed() -> dict[str, Sql]:
    """Return all other statements that read: each names a status, a place, a conversation or an id."""
    following = {
        f"list {order} {bounded=}": listing.ordered_sql(Shape(order, LISTED, after=True, bounded=bounded))
        for order in COLUMN_ORDERS
        for bounded in (False, True)
    }
    with_status = {
        f"list {order} with status {after=} {bounded=}": listing.ordered_sql(Shape(order, WITH_STATUS, after, bounded))
        for order in BY_STATUS
        for after, bounded in ((False, False), (True, False), (True, True))
    }
    filters = list(chain.from_iterable(combinations(EVENT_FILTERS, size) for size in range(len(EVENT_FILTERS) + 1)))
    event_pages = {
        f"events {order} {names} {after=}": events.list_sql(order, names, after=after)
        for order in EventOrder
        for names in filters
        for after in (False, True)
    }
    return {
        **following,
        **with_status,
        **event_pages,
        **{f"count events {names}": events.count_sql(names) for names in filters},
        "count": listing.count_sql(LISTED),
        "count with status": listing.count_sql(WITH_STATUS),
        **{f"count with {name}": listing.count_sql((f"{name}_gte", f"{name}_lt", *LISTED)) for name in RANGED},
        "find one": conversations._find_sql(1),
        "find a hundred": conversations._find_sql(100),
        "find by prefix": conversations._prefix_sql(),
        "locate": conversations._locate_sql(),
        **{f"where all are {name}": listing.located_sql((name,)) for name in filtering._CLAUSES},
        "signatures": conversations._signatures_sql(),
        "behind": conversations._behind_sql(),
        "rows before they are written": rows.rows_sql(100, conversation.c.revision),
        "rows before they are deleted": conversations._doomed_sql(),
        "unreadable events": events._unreadable_sql(),
        "find event": events._find_sql(),
        "final response": events._final_sql(),
        "known events": events._known_sql(100),
        "directories": events._directories_sql(100),
        "whole log": events._rows_sql(),
        "next of a walk": sweeping._walk_sql(),
        "seen by id": sweeping._some_sql(100),
    }


UNFILTERED, NARROWED = unfiltered(), narrowed()


def plan(database: sqlite3.Connection, sql: Sql) -> list[str]:
    """Return the steps of a statement's plan."""
    parameters = dict.fromkeys(re.findall(r":(\w+)", sql.text), 1) | dict(sql.constants)
    steps = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {sql.text}", parameters)]
    assert steps
    return steps


def faults(steps: list[str], allowed: str) -> list[str]:
    """Return the steps that sort, or that touch a table in another way than `allowed` says."""
    touching = re.compile(r"(SCAN|SEARCH) (conversation|conversation_info|conversation_tag|child|event)\b")
    return [
        step
        for step in steps
        if "TEMP B-TREE" in step or "AUTOMATIC" in step or (touching.match(step) and not re.match(allowed, step))
    ]


def test_the_change_feed_begins_at_its_place(database: sqlite3.Connection) -> None:
    steps = [
        step for step in plan(database, changes._changes_sql()) if re.search(r"(conversation|deletion) USING", step)
    ]
    assert steps == [
        "SEARCH conversation USING INDEX ix_conversation_revision ((revision,uuid)>(?,?))",
        "SEARCH deletion USING COVERING INDEX ix_deletion_revision ((revision,uuid)>(?,?))",
    ]


def test_active_conversations_are_found_by_small_indexes_and_walked_by_key(database: sqlite3.Connection) -> None:
    steps = [step for step in plan(database, sweeping._active_sql()) if "conversation" in step]
    assert steps == [
        "SEARCH conversation USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH conversation USING COVERING INDEX ix_conversation_updated_at (archived=? AND updated_at>?)",
        "SCAN conversation USING INDEX ix_conversation_events_behind",
        "SCAN conversation USING INDEX ix_conversation_dirty_by",
        "SEARCH conversation USING COVERING INDEX ix_conversation_owner_until (owner_until>?)",
        "SCAN conversation USING INDEX ix_conversation_unsettled",
    ]


SEARCHES = r"SEARCH \w+ USING (COVERING INDEX|INDEX|INTEGER PRIMARY KEY|PRIMARY KEY) "
SEARCHES_OR_WALKS = rf"{SEARCHES}|SCAN conversation USING (COVERING )?INDEX "


@pytest.mark.parametrize("name", NARROWED)
def test_a_narrowed_statement_searches_an_index_and_sorts_nothing(database: sqlite3.Connection, name: str) -> None:
    assert faults(plan(database, NARROWED[name]), SEARCHES) == []


@pytest.mark.parametrize("name", UNFILTERED)
def test_an_unfiltered_statement_walks_an_index_and_sorts_nothing(database: sqlite3.Connection, name: str) -> None:
    assert faults(plan(database, UNFILTERED[name]), SEARCHES_OR_WALKS) == []


@pytest.mark.parametrize(
    ("order", "names"), [*((order, LISTED) for order in COLUMN_ORDERS), *((order, WITH_STATUS) for order in BY_STATUS)]
)
def test_a_following_page_begins_at_its_place(
    database: sqlite3.Connection, order: SortOrder, names: tuple[str, ...]
) -> None:
    shape = Shape(order, names, after=True)
    sign = "<" if order.descending else ">"
    first = "archived=? AND status=?" if names == WITH_STATUS else "archived=?"
    assert listing.is_in_order(shape)
    assert f"({first} AND ({order.column},uuid){sign}(?,?))" in plan(database, listing.ordered_sql(shape))[0]


@pytest.mark.parametrize("order", COLUMN_ORDERS)
def test_a_page_with_a_range_of_its_order_walks_that_range(database: sqlite3.Connection, order: SortOrder) -> None:
    if order.column in RANGED:
        shape = Shape(order, (f"{order.column}_gte", f"{order.column}_lt", *LISTED))
        [sql] = listing.list_sqls(shape)
        assert f"(archived=? AND {order.column}>? AND {order.column}<?)" in plan(database, sql)[0]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("order", COLUMN_ORDERS)
def test_a_page_with_another_filter_looks_through_a_bounded_number_of_rows_first(
    database: sqlite3.Connection, order: SortOrder, after: bool
) -> None:
    walking, _ = listing.list_sqls(Shape(order, ("workspace", "model", "top level", *LISTED), after=after))
    sign = "<" if order.descending else ">"
    place = f" AND ({order.column},uuid){sign}(?,?)" if after else ""
    assert of_conversations(database, walking) == {
        "SEARCH conversation USING INTEGER PRIMARY KEY (rowid=?)",
        f"SEARCH conversation USING INDEX ix_conversation_{order.column} (archived=?{place})",
        *([] if after or order.descending else [MAXIMUM.format(order.column)]),
    }
    assert "LIMIT :walked" in walking.text


def of_conversations(database: sqlite3.Connection, sql: Sql) -> set[str]:
    """Return the steps of a statement's plan that touch the table of conversations."""
    return {step for step in plan(database, sql) if re.match(r"(SCAN|SEARCH) conversation\b", step)}


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        (FacetKind.STATUS, "SEARCH conversation USING COVERING INDEX ix_conversation_status_updated_at (archived=?)"),
        (FacetKind.MODEL, "SEARCH conversation USING COVERING INDEX ix_conversation_model (archived=?)"),
        (FacetKind.WORKSPACE, "SEARCH conversation USING COVERING INDEX ix_conversation_workspace (archived=?)"),
        (FacetKind.AGENT_KIND, "SEARCH conversation USING COVERING INDEX ix_conversation_agent_kind (archived=?)"),
        (FacetKind.DAY, "SEARCH conversation USING COVERING INDEX ix_conversation_created_at (archived=?)"),
    ],
)
def test_a_facet_of_all_is_counted_in_one_index_and_one_under_filters_reads_the_table_once(
    database: sqlite3.Connection, kind: FacetKind, step: str
) -> None:
    assert of_facets(database, [kind], LISTED) == [step]
    assert of_facets(database, [kind], ("top level", *LISTED)) == ["SCAN conversation"]


def test_all_facets_at_once_ask_the_filter_once(database: sqlite3.Connection) -> None:
    assert of_facets(database, list(FacetKind), ("top level", "workspace", *LISTED)) == ["SCAN conversation"]
    sql = facets.facets_sql(tuple((kind, False) for kind in FacetKind), ("q", *LISTED))
    assert len([step for step in plan(database, sql) if "message_fts" in step]) == 1


def test_tags_of_all_are_counted_without_a_look_at_each_conversation(database: sqlite3.Connection) -> None:
    for keyed in (False, True):
        steps = plan(database, facets.facets_sql(((FacetKind.TAG, keyed),), LISTED))
        assert not [step for step in steps if "SEARCH conversation USING INTEGER PRIMARY KEY" in step]


def of_facets(database: sqlite3.Connection, kinds: Sequence[FacetKind], names: tuple[str, ...]) -> list[str]:
    steps = plan(database, facets.facets_sql(tuple((kind, False) for kind in kinds), names))
    return [step for step in steps if re.match(r"(SCAN|SEARCH) conversation\b", step)]


MAXIMUM = "SEARCH conversation USING COVERING INDEX ix_conversation_{} (archived=?)"
FEW = {
    "parent": "ix_conversation_parent (parent=?)",
    "forked_from": "ix_conversation_forked_from (forked_from=?)",
    "owned": "ix_conversation_owner_until (owner_until>?)",
}


@pytest.mark.parametrize("name", filtering._CLAUSES)
def test_a_page_that_sorts_begins_with_the_few_or_reads_the_table_once(database: sqlite3.Connection, name: str) -> None:
    *_, sql = listing.list_sqls(Shape(SortOrder.COST_DESC, (name, "workspace", *LISTED)))
    found = "SCAN conversation"
    if name in FEW:
        found = f"SEARCH conversation USING INDEX {FEW[name]}"
    elif name == "unreadable":
        found = "SCAN conversation USING INDEX ix_conversation_unreadable"
    elif name in ("q", "long title"):
        found = "SEARCH conversation USING INTEGER PRIMARY KEY (rowid=?)"
    assert of_conversations(database, sql) == {"SEARCH conversation USING INTEGER PRIMARY KEY (rowid=?)", found}


def test_a_part_of_a_title_is_found_by_its_trigrams(database: sqlite3.Connection) -> None:
    _, reading = listing.list_sqls(Shape(SortOrder.COST_DESC, ("long title", "workspace", *LISTED)))
    assert [step for step in plan(database, reading) if "title_fts" in step] == [
        "SCAN title_fts VIRTUAL TABLE INDEX 0:M1"
    ]
    assert of_conversations(database, reading) == {"SEARCH conversation USING INTEGER PRIMARY KEY (rowid=?)"}


@pytest.mark.parametrize(("name", "found"), [("tag 0", "key=?"), ("tag and value 0", "key=? AND value=?")])
def test_tags_are_found_in_their_index_and_looked_up_by_row(
    database: sqlite3.Connection, name: str, found: str
) -> None:
    walking, reading = listing.list_sqls(Shape(SortOrder.COST_DESC, (name, "workspace", *LISTED)))
    tags = [step for step in plan(database, reading) if "conversation_tag" in step]
    assert tags == [f"SEARCH conversation_tag USING COVERING INDEX ix_conversation_tag_key ({found})"]
    assert {*of_conversations(database, reading)} == {"SEARCH conversation USING INTEGER PRIMARY KEY (rowid=?)"}
    tags = [step for step in plan(database, walking) if "conversation_tag" in step]
    assert tags == ["SEARCH conversation_tag USING PRIMARY KEY (conversation=? AND key=?)"]


@pytest.mark.parametrize("name", filtering._CLAUSES)
def test_a_count_is_in_an_index_or_begins_with_the_few_or_reads_the_table_once(
    database: sqlite3.Connection, name: str
) -> None:
    [step] = of_conversations(database, listing.count_sql((name, "workspace", *LISTED)))
    alone = filtering.looked_at((name, "workspace")) <= {"workspace", "archived"}
    others = {"unreadable": "ix_conversation_unreadable", **dict.fromkeys(("q", "long title"), "INTEGER PRIMARY KEY")}
    found = {**FEW, **others}.get(name, "SCAN conversation")
    assert ("COVERING INDEX ix_conversation_workspace (archived=? AND workspace=?)" if alone else found) in step


@pytest.mark.parametrize("order", EventOrder)
def test_a_following_page_of_events_begins_at_its_place(database: sqlite3.Connection, order: EventOrder) -> None:
    sign = "<" if order is EventOrder.TIMESTAMP_DESC else ">"
    step = plan(database, events.list_sql(order, (), after=True))[0]
    assert step == f"SEARCH event USING PRIMARY KEY (conversation=? AND (seq,event_id){sign}(?,?))"


def test_these_plans_are_those_of_a_database_that_was_never_analysed(database: sqlite3.Connection) -> None:
    assert database.execute("SELECT name FROM sqlite_master WHERE name LIKE 'sqlite_stat%'").fetchall() == []
    assert database.execute("SELECT count(*) FROM conversation").fetchone() == (ROWS,)
    assert database.execute("SELECT count(*) FROM event").fetchone() == (ROWS,)


WRITING = {"_in_step_sql", "_own_sql", "_until_sql", "_delete_tags_sql", "_replace_tag_sql", "_add_tag_sql"}
WRITING |= {"_insert_info_sql", "_insert_sql", "_update_sql", "_upsert_sql", "_upsert_info_sql", "_delete_sql"}
SEEN = {
    conversations: {"_find_sql", "_locate_sql", "_prefix_sql", "_signatures_sql"}
    | {"_behind_sql", "_totals_sql", "_doomed_sql"},
    listing: {"ordered_sql", "walking_sql", "reading_sql", "count_sql", "located_sql"},
    events: {
        "list_sql",
        "count_sql",
        "_unreadable_sql",
        "_find_sql",
        "_final_sql",
        "_known_sql",
        "_directories_sql",
        "_rows_sql",
    },
    facets: {"facets_sql"},
    rows: {"rows_sql"},
    sweeping: {"_active_sql", "_walk_sql", "_some_sql"},
}


@pytest.mark.parametrize("module", SEEN, ids=lambda module: module.__name__)
def test_no_statement_is_forgotten_here(module: ModuleType) -> None:
    makers = {
        name
        for name, maker in inspect.getmembers(module, callable)
        if name.endswith("_sql") and maker.__module__ == module.__name__
    }
    assert makers - WRITING == SEEN[module]
