"""How lists and counts go through the index, on a database that was never analysed."""

from __future__ import annotations

import sqlite3

import pytest

from app.index import conversation_list, filter_sql
from app.index.conversation_list import Family, ListShape
from app.index.sqlite.database import Index
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId
from app.model.page import COLUMN_ORDERS, SortOrder
from tests.builders import make_id
from tests.index.builders import make_row, put
from tests.index.plans import LISTED, of_conversations

MAXIMUM = "SEARCH conversation USING COVERING INDEX ix_conversation_{} (archived=?)"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("order", COLUMN_ORDERS)
def test_a_page_with_another_filter_looks_through_a_bounded_number_of_rows_first(
    database: sqlite3.Connection, order: SortOrder, after: bool
) -> None:
    walking = conversation_list.walking_sql(ListShape(order, ("workspace", "model", "top level", *LISTED), after=after))
    sign = "<" if order.descending else ">"
    place = f" AND ({order.column},uuid){sign}(?,?)" if after else ""
    assert of_conversations(database, walking) == {
        "SEARCH conversation USING INTEGER PRIMARY KEY (rowid=?)",
        f"SEARCH conversation USING INDEX ix_conversation_{order.column} (archived=?{place})",
        *([] if after or order.descending else [MAXIMUM.format(order.column)]),
    }
    assert "LIMIT :walked" in walking.text


FEW = {
    "parent": "ix_conversation_parent (parent=?)",
    "orphaned": "ix_conversation_parent (parent>?)",
    "forked_from": "ix_conversation_forked_from (forked_from=?)",
    "owned": "ix_conversation_owner_until (owner_until>?)",
}


@pytest.mark.parametrize("name", filter_sql._CLAUSES)
def test_a_page_that_sorts_begins_with_the_few_or_reads_the_table_once(database: sqlite3.Connection, name: str) -> None:
    sql = conversation_list.reading_sql(ListShape(SortOrder.COST_DESC, (name, "workspace", *LISTED)))
    found = "SCAN conversation"
    if name in FEW:
        found = f"SEARCH conversation USING INDEX {FEW[name]}"
    elif name == "unreadable":
        found = "SCAN conversation USING INDEX ix_conversation_unreadable"
    elif name in ("q", "long title", "active"):
        found = "SEARCH conversation USING INTEGER PRIMARY KEY (rowid=?)"
    assert of_conversations(database, sql) == {"SEARCH conversation USING INTEGER PRIMARY KEY (rowid=?)", found}


@pytest.mark.parametrize("name", filter_sql._CLAUSES)
def test_a_count_is_in_an_index_or_begins_with_the_few_or_reads_the_table_once(
    database: sqlite3.Connection, name: str
) -> None:
    [step] = of_conversations(database, conversation_list.count_sql((name, "workspace", *LISTED)))
    alone = filter_sql.columns_of((name, "workspace")) <= {"workspace", "archived"}
    others = {
        "unreadable": "ix_conversation_unreadable",
        **dict.fromkeys(("q", "long title", "active"), "INTEGER PRIMARY KEY"),
    }
    found = {**FEW, **others}.get(name, "SCAN conversation")
    assert ("COVERING INDEX ix_conversation_workspace (archived=? AND workspace" if alone else found) in step


async def test_children_are_counted_with_their_statuses(index: Index) -> None:
    await put(index, make_row(1), make_row(2, parent=1), make_row(3, parent=1), make_row(4, parent=1), make_row(5))
    ids = [ConversationId(make_id(number)) for number in (1, 5, 9)]
    async with index.read() as connection:
        assert await conversation_list.list_families(connection, []) == {}
        found = await conversation_list.list_families(connection, ids)
    assert found == {ids[0]: Family(3, frozenset({"error"}), 0.0)}


async def test_a_child_is_folded_only_under_a_parent_that_matches_and_has_no_parent(index: Index) -> None:
    await put(
        index, make_row(1), make_row(2, parent=1), make_row(3, parent=2), make_row(4, parent=9), make_row(5, parent=5),
        make_row(6, title="else"), make_row(7, parent=6), make_row(8, parent=9), make_row(9, parent=8),
    )  # fmt: skip
    asked = ConversationFilter(title_contains="title", folded=True)
    async with index.read() as connection:
        page = await conversation_list.list_conversations(connection, asked, SortOrder.CREATED_AT, None, 100)
    assert {*page.ids} == {make_id(number) for number in (1, 3, 4, 5, 7, 8, 9)}
