"""A read connection to PostgreSQL after callers that left, and its time limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from app.errors import QueryTooSlow
from app.index.dialect import Sql
from app.index.postgres.read_connection import PostgresReadConnection
from app.index.postgres.server import Server

pytestmark = [pytest.mark.long, pytest.mark.postgres]

_COUNT = Sql("SELECT count(*) FROM seen", {})
_SLEEP = Sql("SELECT pg_sleep(3)", {})


@pytest.fixture
def writer(postgres_url: str, schema: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        connection.execute(f"SET search_path TO {schema}")
        connection.execute("CREATE TABLE seen ()")
        yield connection


@pytest.fixture
async def reader(postgres_url: str, schema: str) -> AsyncIterator[PostgresReadConnection]:
    reader = PostgresReadConnection(Server(postgres_url, schema))
    yield reader
    await reader.close()


async def _read(reader: PostgresReadConnection) -> None:
    async with reader.snapshot():
        await reader.fetch_all(_COUNT)
        await reader.fetch_all(_SLEEP)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("after_s", [0, 0.2])
async def test_after_a_caller_left_a_snapshot_all_commits_are_seen(
    reader: PostgresReadConnection, writer: psycopg.Connection[tuple[object, ...]], after_s: float, times: int
) -> None:
    await reader.fetch_all(_COUNT)
    reading = asyncio.create_task(_read(reader))
    await asyncio.sleep(after_s)
    time.sleep(0.05)  # noqa: ASYNC251 - the answer to BEGIN waits in the socket, and the loop does not know of it
    for _ in range(times):
        reading.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await reading
    for number in range(3):
        assert await reader.fetch_all(_COUNT) == [(number,)]
        writer.execute("INSERT INTO seen DEFAULT VALUES")


async def test_each_snapshot_has_its_time_limit(reader: PostgresReadConnection) -> None:
    for _ in range(3):
        reader.deadline = time.monotonic() + 0.3
        with pytest.raises(QueryTooSlow):
            async with reader.snapshot():
                await reader.fetch_all(_SLEEP)
