"""Short reads in the event loop's thread, and what is left to a connection with a thread of its own."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from app.errors import IndexRebuilding, IndexUnusable
from app.index.dialect import Sql
from app.index.sqlite import loop_connection
from app.index.sqlite.database import Index
from tests.index.builders import opened

ONE = Sql("SELECT :number", {}, short=True)
LONG = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 500000) SELECT count(*) FROM n"


@pytest.fixture
def lent(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """One entry for each time that a connection of the pool is lent. No statement takes long because of others."""
    times: list[object] = []
    read = Index.read

    def lend(self: Index, **given: bool) -> object:
        times.append(given)
        return read(self, **given)

    monkeypatch.setattr(Index, "read", lend)
    monkeypatch.setattr(loop_connection, "_SLOW_S", 3600)
    return times


async def test_a_short_statement_runs_in_this_thread_while_the_pool_is_busy(path: Path) -> None:
    async with opened(path) as index, index.read(), index.read():
        connection = index.read_here()
        assert await connection.fetch_all(ONE, {"number": 7}) == [(7,)]
        assert await connection.fetch_one(ONE, {"number": 8}) == (8,)
        assert threading.current_thread() is threading.main_thread()


async def test_other_statements_and_those_that_are_too_long_run_in_the_pool(path: Path, lent: list[object]) -> None:
    async with opened(path) as index:
        connection = index.read_here()
        assert await connection.fetch_all(Sql("SELECT 1", {})) == [(1,)]
        assert await connection.fetch_all(Sql(LONG, {}, short=True)) == [(500_000,)]
        assert await connection.fetch_all(ONE, {"number": 7}) == [(7,)]
    assert len(lent) == 2


async def test_after_a_slow_disk_all_statements_run_in_the_pool_for_a_while(
    path: Path, lent: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(path) as index:
        connection = index.read_here()
        for slow_s, rest_s, number in ((-1, 0, 0), (-1, 3600, 0), (3600, 0, 1), (3600, 0, 2)):
            monkeypatch.setattr(loop_connection, "_SLOW_S", slow_s)
            monkeypatch.setattr(loop_connection, "_REST_S", rest_s)
            assert await connection.fetch_all(ONE, {"number": number}) == [(number,)]
            assert len(lent) == number


async def test_it_cannot_write_and_says_what_is_wrong(path: Path) -> None:
    async with opened(path) as index:
        with pytest.raises(IndexUnusable, match="readonly database"):
            await index.read_here().fetch_all(Sql("DELETE FROM revision", {}, short=True))


async def test_a_list_of_an_index_that_is_being_rebuilt_is_refused(path: Path) -> None:
    async with opened(path) as index:
        index._rebuilding = True
        with pytest.raises(IndexRebuilding):
            index.read_here(whole=True)
        assert await index.read_here().fetch_all(ONE, {"number": 1}) == [(1,)]
