"""Which index each condition of a filter uses, and that what a user typed is no syntax."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace

import pytest

from app.index import conversation_list, facet_counts, tally
from app.index.conversation_list import ListShape
from app.index.filter_sql import compile_filter, mark_rare
from app.index.sqlite.database import Index
from app.model.conversation import IndexedRow
from app.model.facets import FacetKind
from app.model.filters import ConversationFilter
from app.model.page import COLUMN_ORDERS, SortOrder
from tests.index.builders import make_row, put
from tests.index.plans import LISTED, of_conversations, plan


def test_a_part_of_a_title_is_found_by_its_trigrams(database: sqlite3.Connection) -> None:
    reading = conversation_list.reading_sql(ListShape(SortOrder.COST_DESC, ("long title", "workspace", *LISTED)))
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
    shape = ListShape(SortOrder.COST_DESC, (name, "workspace", *LISTED))
    walking, reading = conversation_list.walking_sql(shape), conversation_list.reading_sql(shape)
    tags = [step for step in plan(database, reading) if "conversation_tag" in step]
    assert tags == [f"SEARCH conversation_tag USING COVERING INDEX ix_conversation_tag_key ({one})" for one in found]
    assert {*of_conversations(database, reading)} == {"SEARCH conversation USING INTEGER PRIMARY KEY (rowid=?)"}
    tags = [step for step in plan(database, walking) if "conversation_tag" in step]
    assert len(tags) == len(found)
    assert all("conversation=?" in step and "key=?" in step for step in tags)


@pytest.mark.parametrize("shelves", [("archived 0",), ("archived 0 1",), ()])
@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("workspace", "workspace"), ("one of 2 model", "model"), ("agent_kind", "agent_kind"), ("status", "status"),
        ("workspace_under", "workspace"),
    ],
)  # fmt: skip
def test_a_rare_value_is_found_in_its_index_and_the_rest_checked(
    database: sqlite3.Connection, name: str, column: str, shelves: tuple[str, ...]
) -> None:
    names = mark_rare((name, "tag p 0", "long title", "top level", "cost_gte", *shelves), name)
    for sql in (
        conversation_list.reading_sql(ListShape(SortOrder.COST_DESC, names)),
        conversation_list.count_sql(names),
        facet_counts.facets_sql(((FacetKind.DAY, False),), names),
    ):
        found = of_conversations(database, sql) - {"SEARCH conversation USING INTEGER PRIMARY KEY (rowid=?)"}
        assert found
        beginning = rf"SEARCH conversation USING INDEX ix_conversation_{column}\w* \(archived=\? AND {column}"
        assert all(re.match(beginning, one) for one in found)


async def rarest(index: Index, asked: ConversationFilter) -> list[str]:
    """Return the conditions from whose rows a statement starts."""
    names, values = compile_filter(asked)
    marked = await tally.find_rare(index.read_here(), names, values)
    return [name for name, before in zip(marked, names, strict=True) if name != before]


async def test_the_condition_that_fewest_pass_is_started_from_if_these_are_few(index: Index) -> None:
    def row(number: int, workspace: str, model: str) -> IndexedRow:
        plain = make_row(number)
        return plain._replace(row=plain.row._replace(workspace=workspace, model=model))

    often = [row(number, "/often", "one") for number in range(1, 60)]
    await put(index, *often, row(60, "/seldom", "two"), row(61, "/often", "two"))
    seldom, unknown = ConversationFilter(workspaces=("/seldom",)), ConversationFilter(workspaces=("/unknown",))
    assert await rarest(index, seldom) == ["rare workspace"]
    assert await rarest(index, replace(seldom, model="two")) == ["rare workspace"]
    assert await rarest(index, replace(unknown, model="two")) == ["rare workspace"]
    assert await rarest(index, ConversationFilter(model="two", workspaces=("/often",))) == ["rare model"]
    assert await rarest(index, ConversationFilter(workspaces=("/often",), cost_gte=1.0)) == []
    assert await rarest(index, replace(seldom, q="word")) == []


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
    walking = conversation_list.walking_sql(ListShape(order, (name, *LISTED), after=True))
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
