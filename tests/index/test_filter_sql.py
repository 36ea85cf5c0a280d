"""Which index each condition of a filter uses, and that what a user typed is no syntax."""

from __future__ import annotations

import sqlite3

import pytest

from app.index import conversation_list, facet_counts, tally
from app.index.conversation_list import ListShape
from app.index.filter_sql import compile_filter
from app.index.sqlite.database import Index
from app.model.facets import FacetKind
from app.model.filters import ConversationFilter
from app.model.page import COLUMN_ORDERS, SortOrder
from tests.index.builders import make_row, put
from tests.index.plans import LISTED, of_conversations, plan


def test_a_part_of_a_title_is_found_by_its_trigrams(database: sqlite3.Connection) -> None:
    _, reading = conversation_list.list_sqls(ListShape(SortOrder.COST_DESC, ("long title", "workspace", *LISTED)))
    assert [step for step in plan(database, reading) if "title_fts" in step] == [
        "SCAN title_fts VIRTUAL TABLE INDEX 0:M1"
    ]
    assert of_conversations(database, reading) == {"SEARCH conversation USING INTEGER PRIMARY KEY (rowid=?)"}


@pytest.mark.parametrize(
    ("name", "found"),
    [("tag k 0", ["key=?"]), ("tag p 0", ["key=? AND value=?"]), ("tag pk 0", ["key=? AND value=?", "key=?"])],
)
def test_tags_are_found_in_their_index_and_looked_up_by_row(
    database: sqlite3.Connection, name: str, found: list[str]
) -> None:
    walking, reading = conversation_list.list_sqls(ListShape(SortOrder.COST_DESC, (name, "workspace", *LISTED)))
    tags = [step for step in plan(database, reading) if "conversation_tag" in step]
    assert tags == [f"SEARCH conversation_tag USING COVERING INDEX ix_conversation_tag_key ({one})" for one in found]
    assert {*of_conversations(database, reading)} == {"SEARCH conversation USING INTEGER PRIMARY KEY (rowid=?)"}
    tags = [step for step in plan(database, walking) if "conversation_tag" in step]
    assert len(tags) == len(found)
    assert all("conversation=?" in step and "key=?" in step for step in tags)


async def titled(index: Index, part: str) -> tuple[int, int]:
    """Return how many conversations have this in their titles, counted and listed."""
    asked = ConversationFilter(title_contains=part)
    async with index.read() as connection:
        page = await conversation_list.list_conversations(connection, asked, SortOrder.TITLE, None, 100)
        return await conversation_list.count_conversations(connection, asked), len(page.items)


@pytest.mark.parametrize(
    "part", ['say "hi"', '"', '"""', "* OR", "NEAR(", "title_key:", "50%", "_ok_", "a\0b", "日本語"]
)
async def test_what_a_user_typed_is_text_and_no_syntax(index: Index, part: str) -> None:
    await put(index, make_row(1, title=f"<{part}>"), make_row(2, title="title_key say hi OR NEAR abab 50 ok 日本"))
    assert await titled(index, part) == (1, 1)


@pytest.mark.parametrize("names", [("workspace_under",), ("workspace_under", "workspace")])
def test_what_is_below_a_directory_is_a_kept_count(database: sqlite3.Connection, names: tuple[str, ...]) -> None:
    counted = tally.find_count((*names, *LISTED), {})
    assert counted is not None
    for sql in (counted[0], facet_counts.facets_sql(((FacetKind.WORKSPACE, False),), (*names, *LISTED))):
        assert of_conversations(database, sql) == set()


@pytest.mark.parametrize("order", COLUMN_ORDERS)
@pytest.mark.parametrize("name", ["workspace_under", "one of 2 workspace", "not orphaned"])
def test_a_page_under_a_directory_walks_the_index_of_its_order(
    database: sqlite3.Connection, order: SortOrder, name: str
) -> None:
    walking, _ = conversation_list.list_sqls(ListShape(order, (name, *LISTED), after=True))
    sign = "<" if order.descending else ">"
    place = f"(archived=? AND ({order.column},uuid){sign}(?,?))"
    assert f"SEARCH conversation USING INDEX ix_conversation_{order.column} {place}" in plan(database, walking)


def test_what_a_caller_adds_to_the_values_of_a_filter_stays_with_the_caller() -> None:
    asked = ConversationFilter(model="gpt", owned=True)
    names, values = compile_filter(asked)
    values |= {"row_limit": 5, "model": "other"}
    again = compile_filter(asked)
    assert (again.names, again.values["model"], "row_limit" in again.values) == (names, "gpt", False)
    assert isinstance(again.values["now"], int)
