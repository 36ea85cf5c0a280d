"""Statements for PostgreSQL: a page is planned once."""

from __future__ import annotations

import pytest
from sqlalchemy import bindparam, select

from app.index import conversation_list, facet_counts
from app.index.dialect import Sql, compiled
from app.index.engine import Index
from app.index.postgres.statements import translate
from app.index.tables import conversation
from app.model.facets import parse_facets
from app.model.filters import ConversationFilter
from app.model.page import SortOrder
from tests.index.builders import make_row, put

pytestmark = [pytest.mark.long, pytest.mark.postgres]

_PLANS = Sql("SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE statement LIKE '% AS page %'", {})

_FACETS = Sql(
    "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%tally_day%'",
    {},
)


def test_limits_are_numbers_in_the_text() -> None:
    sql = compiled(select(conversation.c.id).where(conversation.c.id > bindparam("id")).limit(bindparam("row_limit")))
    text = translate(sql).limited_text({"id": 1, "row_limit": 21})
    assert text.endswith("LIMIT 21")
    assert "%(id)s" in text


async def test_a_page_is_planned_for_its_first_requests_alone(index: Index) -> None:
    await put(index, *(make_row(number, created_us=number) for number in range(50)))
    async with index.read() as connection:
        for _ in range(12):
            await conversation_list.list_conversations(connection, ConversationFilter(), SortOrder.CREATED_AT, None, 20)
        [[custom, generic]] = await connection.fetch_all(_PLANS)
    assert custom <= 5  # as many as PostgreSQL makes before it keeps one
    assert generic > 0


async def test_facets_of_any_length_are_one_statement(index: Index) -> None:
    by = parse_facets("status,model,day")
    async with index.read() as connection:
        for limit in range(1, 9):
            await facet_counts.count_facets(connection, ConversationFilter(), by, limit)
        [[statements]] = await connection.fetch_all(_FACETS)
    assert statements == 1
