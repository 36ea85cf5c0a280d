"""Every statement that reads walks an index and sorts nothing, on a database that was never analysed."""

from __future__ import annotations

import asyncio
import inspect
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, combinations
from pathlib import Path
from types import ModuleType

import pytest

from app.index import changes, conversations, events, schema, sweeping
from app.index.engine import Index
from app.index.statements import Sql
from app.model.conversation import ConversationFiles, IndexedRow, LogSummary, fold
from app.model.event import EventFacts, EventRow, LogChange
from app.model.filters import Status
from app.model.ids import ConversationId, EventName
from app.model.page import EventOrder, SortOrder
from tests.builders import make_id

ROWS = 3000
EVENT_FILTERS = ("kind", "source", "timestamp_gte", "timestamp_lt")
STATUSES = list(Status)


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


def unfiltered() -> dict[str, Sql]:
    """Return the statements that go over all conversations, or begin with the first of all."""
    first_pages = {
        f"list {order}": conversations.list_sql(order, (), after=False, bounded=False) for order in SortOrder
    }
    return first_pages | {"count": conversations.count_sql(()), "totals": conversations._totals_sql()}


def narrowed() -> dict[str, Sql]:
    """Return all other statements that read: each names a status, a place, a conversation or an id."""
    following = {
        f"list {order} {names} {bounded=}": conversations.list_sql(order, names, after=True, bounded=bounded)
        for order in SortOrder
        for names in ((), ("status",))
        for bounded in (False, True)
    }
    with_status = {
        f"list {order} with status": conversations.list_sql(order, ("status",), after=False, bounded=False)
        for order in SortOrder
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
        "count with status": conversations.count_sql(("status",)),
        "find one": conversations._find_sql(1),
        "find a hundred": conversations._find_sql(100),
        "find by prefix": conversations._prefix_sql(),
        "locate": conversations._locate_sql(),
        "where all are": conversations._located_sql(()),
        "signatures": conversations._signatures_sql(),
        "behind": conversations._behind_sql(),
        "rows before they are written": conversations._before_sql(100),
        "rows before they are deleted": conversations._doomed_sql(),
        "unreadable events": events._unreadable_sql(),
        "find event": events._find_sql(),
        "final response": events._final_sql(),
        "known events": events._known_sql(100),
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
    touching = re.compile(r"(SCAN|SEARCH) (conversation|conversation_info|child|event)\b")
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
        "SEARCH conversation USING COVERING INDEX ix_conversation_updated_at (updated_at>?)",
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


@pytest.mark.parametrize(("order", "names"), [(order, names) for order in SortOrder for names in ((), ("status",))])
def test_a_following_page_begins_at_its_place(
    database: sqlite3.Connection, order: SortOrder, names: tuple[str, ...]
) -> None:
    sql = conversations.list_sql(order, names, after=True, bounded=False)
    sign = "<" if order.descending else ">"
    assert f"({order.column},uuid){sign}(?,?)" in plan(database, sql)[0]


@pytest.mark.parametrize("order", EventOrder)
def test_a_following_page_of_events_begins_at_its_place(database: sqlite3.Connection, order: EventOrder) -> None:
    sign = "<" if order is EventOrder.TIMESTAMP_DESC else ">"
    step = plan(database, events.list_sql(order, (), after=True))[0]
    assert step == f"SEARCH event USING PRIMARY KEY (conversation=? AND (seq,event_id){sign}(?,?))"


def test_these_plans_are_those_of_a_database_that_was_never_analysed(database: sqlite3.Connection) -> None:
    assert database.execute("SELECT name FROM sqlite_master WHERE name LIKE 'sqlite_stat%'").fetchall() == []
    assert database.execute("SELECT count(*) FROM conversation").fetchone() == (ROWS,)
    assert database.execute("SELECT count(*) FROM event").fetchone() == (ROWS,)


WRITING = {"_own_sql", "_until_sql"} | {"_upsert_sql", "_upsert_info_sql", "_settle_sql", "_delete_sql"}
SEEN = {
    conversations: {"list_sql", "count_sql", "_find_sql", "_locate_sql", "_prefix_sql", "_signatures_sql"}
    | {"_behind_sql", "_totals_sql", "_before_sql", "_doomed_sql", "_located_sql"},
    events: {"list_sql", "count_sql", "_unreadable_sql", "_find_sql", "_final_sql", "_known_sql", "_rows_sql"},
    sweeping: {"_active_sql", "_walk_sql", "_some_sql"},
}


@pytest.mark.parametrize("module", SEEN, ids=lambda module: module.__name__)
def test_no_statement_is_forgotten_here(module: ModuleType) -> None:
    makers = {name for name, _ in inspect.getmembers(module, callable) if name.endswith("_sql")}
    assert makers - WRITING == SEEN[module]
