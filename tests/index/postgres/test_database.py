"""An index in PostgreSQL answers whether anything changed, for all that ask at the same time."""

from __future__ import annotations

import asyncio

import pytest

from app.index.engine import Index
from app.index.postgres.database import Index as PostgresIndex
from tests.index.builders import make_row, put

pytestmark = [pytest.mark.long, pytest.mark.postgres]


async def test_requests_that_wait_share_the_next_question(index: Index) -> None:
    assert isinstance(index, PostgresIndex)
    before = index._asked
    states = await asyncio.gather(*(index.find_state() for _ in range(20)))
    assert len({*states}) == 1
    assert index._asked - before == 2


async def test_a_request_never_gets_an_answer_from_before_it_came(index: Index) -> None:
    await index.find_state()
    for number in range(20):
        early = [asyncio.create_task(index.find_state()) for _ in range(3)]
        await asyncio.sleep(0)  # the first question is under way
        await put(index, make_row(number))
        after = await index.find_state()
        assert after == await index.find_state()
        await asyncio.gather(*early)
