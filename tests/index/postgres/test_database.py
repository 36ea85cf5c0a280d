"""An index in PostgreSQL answers whether anything changed, for all that ask at the same time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from app import Settings
from app.index import conversation_rows
from app.index.connections import WriteConnection
from app.index.dialect import Sql
from app.index.engine import Index
from app.index.opening import make_index
from app.index.postgres.database import Index as PostgresIndex
from tests.index.builders import key_of, make_row, put

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


async def test_an_index_is_opened_with_three_connections_and_keeps_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_index(settings)
    await first.make_ready(5)
    await first.close()
    made: list[object] = []

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def connect(*given: object, **named: object) -> Any:
            made.append(given)
            return real(*given, **named)

        return connect

    for owner in (psycopg, psycopg.AsyncConnection):
        monkeypatch.setattr(owner, "connect", counted(owner.connect))
    index = make_index(settings, readers=2)
    await index.make_ready(5)
    async with index.read() as connection:
        await connection.fetch_all(Sql("SELECT 1", {}))
    assert len(made) == 3
    await index.close()


async def test_closing_waits_for_a_transaction_whose_caller_has_left(settings: Settings) -> None:
    index = make_index(settings)
    await index.make_ready(5)
    begun, over = threading.Event(), threading.Event()

    def work(connection: WriteConnection) -> None:
        begun.set()
        assert over.wait(10)
        conversation_rows.upsert_many(connection, [make_row(1)])

    writing = asyncio.create_task(index.write(work))
    assert await asyncio.to_thread(begun.wait, 10)
    while not writing.done():  # it goes on waiting after the first time
        writing.cancel()
        await asyncio.sleep(0.01)
    closing = asyncio.create_task(index.close())
    await asyncio.sleep(0.3)
    assert not closing.done()
    over.set()
    await closing
    index = make_index(settings)
    await index.make_ready(5)
    assert await key_of(index, 1)
    await index.close()
