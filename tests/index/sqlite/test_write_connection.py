"""A transaction: whom it holds off, and what it leaves behind."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from app.index import state
from app.index.connections import WriteConnection
from tests.conftest import transaction
from tests.index.builders import opened, stored_revision


async def test_the_writer_has_its_pragmas(path: Path) -> None:
    normal = 1
    pragmas = {"query_only": 0, "mmap_size": 0, "foreign_keys": 1, "synchronous": normal, "journal_mode": "wal"}

    def find(connection: WriteConnection) -> dict[str, object]:
        return {name: connection.execute(text(f"PRAGMA {name}"))[0][0] for name in pragmas}

    async with opened(path) as index:
        assert await index.write(find) == pragmas


async def test_a_block_holds_off_other_writers_from_its_beginning(path: Path) -> None:
    async with opened(path) as index, transaction(index):
        with (
            closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="database is locked"),
        ):
            other.execute("BEGIN IMMEDIATE")


async def test_a_written_block_is_seen_by_others(path: Path) -> None:
    async with opened(path) as index:

        def write(connection: WriteConnection) -> None:
            state.bump_revision(connection)
            assert stored_revision(path) == 0

        await index.write(write)
        assert stored_revision(path) == 1


def bump_and_fail(connection: WriteConnection) -> None:
    state.bump_revision(connection)
    raise LookupError


async def test_a_block_that_raises_is_rolled_back(path: Path) -> None:
    async with opened(path) as index:
        with pytest.raises(LookupError):
            await index.write(bump_and_fail)
        assert stored_revision(path) == 0
        await index.write(state.bump_revision)
        assert stored_revision(path) == 1
