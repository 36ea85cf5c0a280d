"""Filters, facets and counts begin with the few or read the table once, on a database that was never analysed."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence

import pytest

from app.index import conversation_list, facet_counts, filter_sql
from app.index.conversation_list import ListShape
from app.model.facets import FacetKind
from app.model.page import COLUMN_ORDERS, SortOrder
from tests.index.plans import LISTED, of_conversations, plan


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
    sql = facet_counts.facets_sql(tuple((kind, False) for kind in FacetKind), ("q", *LISTED))
    assert len([step for step in plan(database, sql) if "message_fts" in step]) == 1


def test_tags_of_all_are_counted_without_a_look_at_each_conversation(database: sqlite3.Connection) -> None:
    for keyed in (False, True):
        steps = plan(database, facet_counts.facets_sql(((FacetKind.TAG, keyed),), LISTED))
        assert not [step for step in steps if "SEARCH conversation USING INTEGER PRIMARY KEY" in step]


def of_facets(database: sqlite3.Connection, kinds: Sequence[FacetKind], names: tuple[str, ...]) -> list[str]:
    steps = plan(database, facet_counts.facets_sql(tuple((kind, False) for kind in kinds), names))
    return [step for step in steps if re.match(r"(SCAN|SEARCH) conversation\b", step)]


MAXIMUM = "SEARCH conversation USING COVERING INDEX ix_conversation_{} (archived=?)"
FEW = {
    "parent": "ix_conversation_parent (parent=?)",
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


def test_a_part_of_a_title_is_found_by_its_trigrams(database: sqlite3.Connection) -> None:
    _, reading = conversation_list.list_sqls(ListShape(SortOrder.COST_DESC, ("long title", "workspace", *LISTED)))
    assert [step for step in plan(database, reading) if "title_fts" in step] == [
        "SCAN title_fts VIRTUAL TABLE INDEX 0:M1"
    ]
    assert of_conversations(database, reading) == {"SEARCH conversation USING INTEGER PRIMARY KEY (rowid=?)"}


@pytest.mark.parametrize(("name", "found"), [("tag 0", "key=?"), ("tag and value 0", "key=? AND value=?")])
def test_tags_are_found_in_their_index_and_looked_up_by_row(
    database: sqlite3.Connection, name: str, found: str
) -> None:
    walking, reading = conversation_list.list_sqls(ListShape(SortOrder.COST_DESC, (name, "workspace", *LISTED)))
    tags = [step for step in plan(database, reading) if "conversation_tag" in step]
    assert tags == [f"SEARCH conversation_tag USING COVERING INDEX ix_conversation_tag_key ({found})"]
    assert {*of_conversations(database, reading)} == {"SEARCH conversation USING INTEGER PRIMARY KEY (rowid=?)"}
    tags = [step for step in plan(database, walking) if "conversation_tag" in step]
    assert tags == ["SEARCH conversation_tag USING PRIMARY KEY (conversation=? AND key=?)"]


@pytest.mark.parametrize("name", filter_sql._CLAUSES)
def test_a_count_is_in_an_index_or_begins_with_the_few_or_reads_the_table_once(
    database: sqlite3.Connection, name: str
) -> None:
    [step] = of_conversations(database, conversation_list.count_sql((name, "workspace", *LISTED)))
    alone = filter_sql.columns_of((name, "workspace")) <= {"workspace", "archived"}
    others = {"unreadable": "ix_conversation_unreadable", **dict.fromkeys(("q", "long title"), "INTEGER PRIMARY KEY")}
    found = {**FEW, **others}.get(name, "SCAN conversation")
    assert ("COVERING INDEX ix_conversation_workspace (archived=? AND workspace=?)" if alone else found) in step
