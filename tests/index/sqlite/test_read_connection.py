"""A connection that cannot write, and that can be stopped."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.errors import IndexUnusable
from app.index import state
from app.index.dialect import Sql
from app.index.sqlite.database import Index
from tests.index.builders import opened


def sql(statement: str) -> Sql:
    return Sql(statement, {})


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO revision (id, epoch, revision) VALUES (2, 'x', 0)",
        "DELETE FROM revision",
        "CREATE TABLE t (x)",
        "PRAGMA user_version=1",
    ],
)
async def test_a_read_connection_cannot_write(path: Path, statement: str) -> None:
    async with opened(path) as index, index.read() as connection:
        with pytest.raises(IndexUnusable, match="readonly database"):
            await connection.fetch_all(sql(statement))


async def test_every_read_connection_is_read_only_and_never_checkpoints(path: Path) -> None:
    pragmas = {"query_only": 1, "mmap_size": 0, "wal_autocheckpoint": 0, "busy_timeout": 5000, "journal_mode": "wal"}
    async with opened(path) as index, index.read() as one, index.read() as two:
        for connection in (one, two):
            found = {name: (await connection.fetch_all(sql(f"PRAGMA {name}")))[0][0] for name in pragmas}
            assert found == pragmas


async def test_rows_are_kept_until_another_connection_commits(path: Path) -> None:
    statement = sql("SELECT revision, hex(randomblob(8)) FROM revision")
    async with opened(path) as index, index.read() as connection:
        first = await connection.fetch_kept(statement)
        assert await connection.fetch_kept(statement) == first
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("UPDATE revision SET revision = 77")
        [[revision, chance]] = await connection.fetch_kept(statement)
        assert revision == 77
        assert chance != first[0][1]


@pytest.mark.parametrize("steps", range(1, 8))
async def test_who_is_cancelled_in_a_snapshot_leaves_no_old_state_to_the_next(path: Path, steps: int) -> None:
    async def look(index: Index) -> int:
        async with index.read() as connection, connection.snapshot():
            return (await state.get_revision(connection)).revision

    async with opened(path, readers=1) as index:
        looking = asyncio.create_task(look(index))
        for _ in range(steps):
            await asyncio.sleep(0)
        looking.cancel()
        await asyncio.wait([looking])
        async with index.read() as connection:
            await state.get_revision(connection)
        revision = await index.write(state.bump_revision)
        assert await look(index) == revision


async def test_a_query_whose_caller_is_cancelled_keeps_nobody_waiting(path: Path) -> None:
    endless = "WITH RECURSIVE one (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM one) SELECT count(*) FROM one"

    async def look(index: Index, statement: str) -> list[tuple[int]]:
        async with index.read(within_s=10) as connection:
            return await connection.fetch_all(sql(statement))

    async with opened(path, readers=1) as index:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(look(index, endless), 0.2)
        assert await asyncio.wait_for(look(index, "SELECT 1"), 5) == [(1,)]
