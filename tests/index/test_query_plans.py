"""Every statement that reads walks an index and sorts nothing, on a database that was never analysed."""

from __future__ import annotations

import inspect
import re
import sqlite3
from collections.abc import Callable
from itertools import chain, combinations
from types import ModuleType

import pytest

from app.index import (
    activity,
    change_feed,
    conversation_list,
    conversation_lookup,
    conversation_rows,
    event_outline,
    event_rows,
    facet_counts,
    file_edits,
    filter_sql,
)
from app.index.conversation_list import ListShape
from app.index.dialect import Sql
from app.model.page import COLUMN_ORDERS, EventOrder, SortOrder, View
from tests.index.plans import LISTED, ROWS, plan

EVENT_FILTERS = ("kind", "source", "timestamp_gte", "timestamp_lt")
RANGED = filter_sql.RANGED
BY_STATUS = [order for order in COLUMN_ORDERS if order.column in ("created_at", "updated_at")]
WITH_STATUS = ("status", "archived 0")


def unfiltered() -> dict[str, Sql]:
    """Return the statements that go over all conversations, or begin with the first of all."""
    first_pages = {f"list {order}": conversation_list.ordered_sql(ListShape(order, LISTED)) for order in COLUMN_ORDERS}
    return (
        first_pages
        | {"count": conversation_list.count_sql(()), "totals": conversation_lookup._totals_sql()}
        | {"open": conversation_lookup._dirty_sql()}
    )


def narrowed() -> dict[str, Sql]:
    """Return all other statements that read: each names a status, a place, a conversation or an id."""
    following = {
        f"list {order} {bounded=}": conversation_list.ordered_sql(ListShape(order, LISTED, after=True, bounded=bounded))
        for order in COLUMN_ORDERS
        for bounded in (False, True)
    }
    with_status = {
        f"list {order} with status {after=} {bounded=}": conversation_list.ordered_sql(
            ListShape(order, WITH_STATUS, after, bounded)
        )
        for order in BY_STATUS
        for after, bounded in ((False, False), (True, False), (True, True))
    }
    filters = list(chain.from_iterable(combinations(EVENT_FILTERS, size) for size in range(len(EVENT_FILTERS) + 1)))
    event_pages = {
        f"events {order} {names} {after=}": event_rows.list_sql(order, names, after=after)
        for order in EventOrder
        for names in filters
        for after in (False, True)
    }
    return {
        **following,
        **with_status,
        **event_pages,
        **{f"count events {names}": event_rows.count_sql(names) for names in filters},
        "count": conversation_list.count_sql(LISTED),
        "count with status": conversation_list.count_sql(WITH_STATUS),
        **{
            f"count with {name}": conversation_list.count_sql((f"{name}_gte", f"{name}_lt", *LISTED)) for name in RANGED
        },
        "find one": conversation_lookup._find_sql(one=True),
        "find a hundred": conversation_lookup._find_sql(one=False),
        "find by prefix": conversation_lookup._prefix_sql(),
        "locate": conversation_lookup._locate_sql(),
        "locate with its body": conversation_lookup._locate_with_body_sql(),
        **{f"where all are {name}": conversation_list.located_sql((name,)) for name in filter_sql._CLAUSES},
        "signatures": conversation_lookup._signatures_sql(),
        "behind": conversation_lookup._behind_sql(),
        "children": conversation_lookup._children_sql(),
        "rows before they are written": conversation_rows.known_sql(),
        "a remembered row before it is written": conversation_rows._versions_sql(of_one=True),
        "remembered rows before they are written": conversation_rows._versions_sql(of_one=False),
        "rows before they are deleted": conversation_rows._doomed_sql(),
        "unreadable events": event_rows._unreadable_sql(),
        "find event": event_rows._find_sql(),
        "has event": event_rows._has_sql(),
        "find several events": event_rows._seqs_sql(),
        "events between": event_rows._between_sql(),
        "events of a kind": event_rows._of_kind_sql(),
        "size of a log": event_rows._count_log_sql(),
        "length of a log": event_rows._length_sql(),
        **{f"an end of a log {last=}": event_rows._end_sql(last=last) for last in (False, True)},
        "final response": event_rows._responses_sql(),
        "known events": event_rows._known_sql(),
        "directories": event_rows._directories_sql(),
        "whole log": event_rows._rows_sql(),
        "next of a walk": conversation_lookup._walk_sql(),
        "seen by id": conversation_lookup._some_sql(),
        "seen by key": conversation_lookup._keyed_sql(),
    }


UNFILTERED, NARROWED = unfiltered(), narrowed()


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
        step
        for step in plan(database, change_feed._changes_sql(View.FULL))
        if re.search(r"(conversation|deletion) USING", step)
    ]
    assert steps == [
        "SEARCH conversation USING INDEX ix_conversation_revision ((revision,uuid)>(?,?))",
        "SEARCH deletion USING COVERING INDEX ix_deletion_revision ((revision,uuid)>(?,?))",
    ]


def test_active_conversations_are_found_by_small_indexes_and_walked_by_key(database: sqlite3.Connection) -> None:
    steps = [step for step in plan(database, conversation_lookup._active_sql()) if "conversation" in step]
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
    shape = ListShape(order, names, after=True)
    sign = "<" if order.descending else ">"
    first = "archived=? AND status=?" if names == WITH_STATUS else "archived=?"
    assert conversation_list.is_in_order(shape)
    assert f"({first} AND ({order.column},uuid){sign}(?,?))" in plan(database, conversation_list.ordered_sql(shape))[0]


@pytest.mark.parametrize("order", COLUMN_ORDERS)
def test_a_page_with_a_range_of_its_order_walks_that_range(database: sqlite3.Connection, order: SortOrder) -> None:
    if order.column in RANGED:
        shape = ListShape(order, (f"{order.column}_gte", f"{order.column}_lt", *LISTED))
        sql, whole = conversation_list.walk_of(shape)
        assert whole
        assert sql is not None
        assert f"(archived=? AND {order.column}>? AND {order.column}<?)" in plan(database, sql)[0]


def test_sections_are_found_in_the_rows_of_one_conversation(database: sqlite3.Connection) -> None:
    said = [step for step in plan(database, event_rows._SAID_STARTS) if " event " in step]
    bounded = "SEARCH event USING PRIMARY KEY (conversation=? AND seq"
    assert [step for step in said if not step.startswith(("SEARCH event USING INDEX ix_event_", bounded))] == []
    assert said
    speaker = [step for step in plan(database, event_rows._NEXT_SPEAKER) if " event " in step]
    assert speaker == ["SEARCH event USING PRIMARY KEY (conversation=? AND seq>?)"]
    steps = [step for step in plan(database, event_rows._STARTS) if " event " in step]
    assert steps == ["SEARCH event USING PRIMARY KEY (conversation=? AND seq>?)"] * 2


def test_the_steps_of_a_log_are_read_in_its_order(database: sqlite3.Connection) -> None:
    steps = plan(database, event_outline._STEPS)
    assert "SEARCH event USING PRIMARY KEY (conversation=?)" in steps
    assert not [step for step in steps if step.startswith(("SCAN event", "SCAN edit")) or "AUTOMATIC" in step]


@pytest.mark.parametrize("maker", [facet_counts._sums_sql, facet_counts._workspaces_sql])
def test_sums_make_no_index_of_their_own(database: sqlite3.Connection, maker: Callable[..., Sql]) -> None:
    for names in ((), LISTED, ("q", *LISTED)):
        assert not [step for step in plan(database, maker(names)) if "AUTOMATIC" in step]


@pytest.mark.parametrize("order", EventOrder)
def test_a_following_page_of_events_begins_at_its_place(database: sqlite3.Connection, order: EventOrder) -> None:
    sign = "<" if order is EventOrder.TIMESTAMP_DESC else ">"
    step = plan(database, event_rows.list_sql(order, (), after=True))[0]
    assert step == f"SEARCH event USING PRIMARY KEY (conversation=? AND (seq,event_id){sign}(?,?))"


@pytest.mark.parametrize("names", [(), LISTED, ("workspace_under", *LISTED), ("status", "updated_at_gte")])
def test_the_changes_of_a_file_are_found_by_its_path(database: sqlite3.Connection, names: tuple[str, ...]) -> None:
    steps = [step for step in plan(database, file_edits._edits_sql(names)) if re.search(r"(edit|conversation)\b", step)]
    assert steps[0].startswith("SEARCH edit USING COVERING INDEX"), steps
    assert "SEARCH conversation USING INTEGER PRIMARY KEY (rowid=?)" in steps


def test_these_plans_are_those_of_a_database_that_was_never_analysed(database: sqlite3.Connection) -> None:
    assert database.execute("SELECT name FROM sqlite_master WHERE name LIKE 'sqlite_stat%'").fetchall() == []
    assert database.execute("SELECT count(*) FROM conversation").fetchone() == (ROWS,)
    assert database.execute("SELECT count(*) FROM event").fetchone() == (ROWS,)


WRITING = {"_in_step_sql", "_own_sql", "_until_sql", "_delete_tags_sql", "_replace_tag_sql", "_add_tag_sql"}
WRITING |= {"_insert_edits_sql", "_delete_edits_sql", "_any_sql"}
WRITING |= {
    "_insert_info_sql",
    "_update_info_sql",
    "_insert_sql",
    "_update_sql",
    "_upsert_sql",
    "_upsert_info_sql",
    "_delete_sql",
}
SEEN = {
    conversation_lookup: {"_find_sql", "_locate_sql", "_prefix_sql", "_signatures_sql", "_children_sql"}
    | {"_behind_sql", "_totals_sql", "_active_sql", "_newest_sql", "_walk_sql", "_some_sql", "_dirty_sql"}
    | {"_keyed_sql", "_locate_with_body_sql"}
    | {"_placements_sql", "_unreadable_sql"},
    conversation_list: {"_families_sql", "ordered_sql", "walking_sql", "reading_sql", "count_sql", "located_sql"},
    event_rows: {
        "_length_sql",
        "_end_sql",
        "list_sql",
        "count_sql",
        "_unreadable_sql",
        "_find_sql",
        "_has_sql",
        "_seqs_sql",
        "_between_sql",
        "_of_kind_sql",
        "_count_log_sql",
        "_responses_sql",
        "_known_sql",
        "_directories_sql",
        "_rows_sql",
    },
    file_edits: {"_edits_sql"},
    facet_counts: {"facets_sql", "_sums_sql", "_workspaces_sql", "_usage_sql", "_amounts_sql"},
    activity: {"_hours_sql", "_spans_sql"},
    conversation_rows: {"known_sql", "_versions_sql", "_doomed_sql"},
}


@pytest.mark.parametrize("module", SEEN, ids=lambda module: module.__name__)
def test_no_statement_is_forgotten_here(module: ModuleType) -> None:
    makers = {
        name
        for name, maker in inspect.getmembers(module, callable)
        if name.endswith("_sql") and maker.__module__ == module.__name__
    }
    assert makers - WRITING == SEEN[module]


def test_a_short_row_counts_its_errors_in_their_database_index(database: sqlite3.Connection) -> None:
    steps = plan(database, conversation_list.ordered_sql(ListShape(SortOrder.CREATED_AT_DESC, LISTED, view=View.ROW)))
    assert any(step.startswith("SEARCH event USING COVERING INDEX ix_event_errors") for step in steps), steps
