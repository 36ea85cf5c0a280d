"""Statements that the event loop sends and receives itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import psycopg
import pytest

from app.index.postgres.loop_driver import LoopDriver
from app.index.postgres.server import Server

pytestmark = [pytest.mark.long, pytest.mark.postgres]

_PREPARED = "SELECT count(*) FROM pg_prepared_statements"
_PROCESS = "SELECT pg_backend_pid()"


@pytest.fixture
async def driver(postgres_url: str) -> AsyncIterator[LoopDriver]:
    driver = LoopDriver(await Server(postgres_url, "public").connect_to_read())
    yield driver
    driver.close()


def _end(url: str, process: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s)", (process,))


async def test_values_pass_both_ways(driver: LoopDriver) -> None:
    given = {"text": "a\0b %", "number": 2**40, "none": None, "true": True, "bytes": b"\0\xff", "real": 0.5}
    asked = (
        "SELECT %(text)s::text, %(number)s, %(none)s::text, %(true)s, %(bytes)s::bytea, %(real)s, %(text)s::text,"
        " 7 %% 4, sum(1::bigint), '{\"a\": 1}'::json"
    )
    for _ in range(8):  # before and after it is prepared
        rows = await driver.fetch(asked, given)
        assert rows == [("a\0b %", 2**40, None, 1, b"\0\xff", 0.5, "a\0b %", 3, 1, '{"a": 1}')]


async def test_long_parameters_and_large_results_are_whole(driver: LoopDriver) -> None:
    text = "x" * 5_000_000
    assert await driver.fetch("SELECT %(text)s::text", {"text": text}) == [(text,)]
    rows = await driver.fetch("SELECT one, repeat('y', 100) FROM generate_series(1, 30000) AS each(one)", {})
    assert (len(rows), rows[-1]) == (30_000, (30_000, "y" * 100))


async def test_a_statement_that_is_often_run_is_prepared_once(driver: LoopDriver) -> None:
    for number in range(20):
        assert await driver.fetch("SELECT %(number)s + 1", {"number": number}) == [(number + 1,)]
        await driver.fetch("SELECT %(number)s + 2", {"number": number}, prepare=False)
    assert await driver.fetch(_PREPARED, {}, prepare=False) == [(1,)]


async def test_a_hundred_statements_stay_prepared_at_most(driver: LoopDriver) -> None:
    for number in range(120):
        for _ in range(6):
            assert await driver.fetch(f"SELECT {number}", {}) == [(number,)]
    [[prepared]] = await driver.fetch(_PREPARED, {}, prepare=False)
    assert prepared == 20


async def test_an_error_leaves_the_connection_usable(driver: LoopDriver) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        await driver.fetch("SELECT 1 / 0", {})
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        await driver.fetch("CREATE TABLE one ()", {})
    assert await driver.fetch("SELECT 1", {}) == [(1,)]


async def test_a_statement_whose_caller_left_is_ended(driver: LoopDriver, postgres_url: str) -> None:
    running = asyncio.create_task(driver.fetch("SELECT pg_sleep(60)", {}))
    await asyncio.sleep(0.2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await driver.fetch("SELECT 1", {}) == [(1,)]
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        asleep = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep(60%%'"
        assert connection.execute(asleep).fetchone() == (0,)


async def _leave_when_the_answer_has_come(running: asyncio.Task[object]) -> None:
    await asyncio.sleep(0)
    time.sleep(0.1)  # noqa: ASYNC251 - the answer waits in the socket, and the loop does not know of it
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_caller_that_leaves_as_the_answer_comes_costs_nothing(postgres_url: str) -> None:
    uvloop = pytest.importorskip("uvloop")  # it calls back for a socket before it goes on with a cancelled task

    async def leave() -> None:
        driver = LoopDriver(await Server(postgres_url, "public").connect_to_read())
        [[process]] = await driver.fetch(_PROCESS, {})
        await _leave_when_the_answer_has_come(asyncio.create_task(driver.fetch("SELECT 1", {})))
        assert await driver.fetch(_PROCESS, {}) == [(process,)]
        driver.close()

    await asyncio.to_thread(uvloop.run, leave())


async def test_a_caller_may_leave_while_its_statement_is_prepared(driver: LoopDriver) -> None:
    for _ in range(5):
        await driver.fetch("SELECT 1", {})
    await _leave_when_the_answer_has_come(asyncio.create_task(driver.fetch("SELECT 1", {})))
    for _ in range(20):
        assert await driver.fetch("SELECT 1", {}) == [(1,)]


async def test_a_caller_that_is_cancelled_twice_leaves_no_statement(driver: LoopDriver, postgres_url: str) -> None:
    [[process]] = await driver.fetch(_PROCESS, {})
    running = asyncio.create_task(driver.fetch("SELECT pg_sleep(60)", {}))
    await asyncio.sleep(0.2)
    running.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert driver.closed
    async with asyncio.timeout(5):
        while await asyncio.to_thread(_is_there, postgres_url, process):
            await asyncio.sleep(0.01)


def _is_there(url: str, process: int) -> bool:
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (process,))
        return found.fetchone() is not None


async def test_a_prepared_statement_survives_a_new_type_of_a_column(driver: LoopDriver, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE retyped (number INT)")
        try:
            for _ in range(8):
                await driver.fetch("SELECT number FROM retyped", {})
            connection.execute("ALTER TABLE retyped ALTER number TYPE BIGINT")
            for _ in range(8):
                assert await driver.fetch("SELECT number FROM retyped", {}) == []
        finally:
            connection.execute("DROP TABLE retyped")


async def test_a_connection_that_is_ended_counts_as_closed(driver: LoopDriver, postgres_url: str) -> None:
    [[process]] = await driver.fetch(_PROCESS, {})
    running = asyncio.create_task(driver.fetch("SELECT pg_sleep(60)", {}))
    await asyncio.sleep(0.2)
    await asyncio.to_thread(_end, postgres_url, process)
    with pytest.raises(psycopg.OperationalError):
        await running
    assert driver.closed
    with pytest.raises(psycopg.OperationalError):
        await driver.fetch("SELECT 1", {})


async def test_the_end_of_a_connection_at_rest_is_noticed(driver: LoopDriver, postgres_url: str) -> None:
    [[process]] = await driver.fetch(_PROCESS, {})
    await asyncio.to_thread(_end, postgres_url, process)
    async with asyncio.timeout(5):
        while not driver.closed:
            await asyncio.sleep(0.01)
