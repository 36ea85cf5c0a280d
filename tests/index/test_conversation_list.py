"""How lists and counts go through the index, on a database that was never analysed."""

from __future__ import annotations

import sqlite3

import pytest

from app.index import conversation_list, filter_sql
from app.index.conversation_list import ListShape
from app.model.page import COLUMN_ORDERS, SortOrder
from tests.index.plans import LISTED, of_conversations

MAXIMUM = "SEARCH conversation USING COVERING INDEX ix_conversation_{} (archived=?)"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("order", COLUMN_ORDERS)
def test_a_page_with_another_filter_looks_through_a_bounded_number_of_rows_first(
    database: sqlite3.Connection, order: SortOrder, after: bool
) -> None:
    walking, _ = conversation_list.list_sqls(
        ListShape(order, ("workspace", "model", "top level", *LISTED), after=after)
    )
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
    *_, sql = conversation_list.list_sqls(ListShape(SortOrder.COST_DESC, (name, "workspace", *LISTED)))
    found = "SCAN conversation"
    if name in FEW:
        found = f"SEARCH conversation USING INDEX {FEW[name]}"
    elif name == "unreadable":
        found = "SCAN conversation USING INDEX ix_conversation_unreadable"
    elif name in ("q", "long title"):
        found = "SEARCH conversation USING INTEGER PRIMARY KEY (rowid=?)"
    assert of_conversations(database, sql) == {"SEARCH conversation USING INTEGER PRIMARY KEY (rowid=?)", found}


@pytest.mark.parametrize("name", filter_sql._CLAUSES)
def test_a_count_is_in_an_index_or_begins_with_the_few_or_reads_the_table_once(
    database: sqlite3.Connection, name: str
) -> None:
    [step] = of_conversations(database, conversation_list.count_sql((name, "workspace", *LISTED)))
    alone = filter_sql.columns_of((name, "workspace")) <= {"workspace", "archived"}
    others = {"unreadable": "ix_conversation_unreadable", **dict.fromkeys(("q", "long title"), "INTEGER PRIMARY KEY")}
    found = {**FEW, **others}.get(name, "SCAN conversation")
    assert ("COVERING INDEX ix_conversation_workspace (archived=? AND workspace=?)" if alone else found) in step
