"""Transactions of several processes: one at a time, and none holds up the others for long."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from functools import partial

import psycopg
import pytest

from app import Settings
from app.errors import IndexUnusable
from app.index.connections import WriteConnection
from app.index.dialect import Sql
from app.index.engine import Index
from app.index.opening import make_index
from app.index.postgres import write_connection

pytestmark = [pytest.mark.long, pytest.mark.postgres]

_DAYS = Sql("SELECT day FROM tally_day", {})


async def test_a_process_that_says_nothing_in_its_transaction_loses_it(
    index: Index, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_connection, "_SILENT_S", 0.2)
    begun, over = threading.Event(), threading.Event()

    def stop(_: WriteConnection) -> None:
        begun.set()
        assert over.wait(60)

    other = make_index(settings, readers=1)
    await other.make_ready(5)
    try:
        writing = asyncio.create_task(index.write(stop))
        assert await asyncio.to_thread(begun.wait, 30)
        await other.write(lambda _: None)  # does not wait for the end of the first transaction
        over.set()
        with pytest.raises(IndexUnusable):
            await writing
        await index.write(lambda _: None)
    finally:
        over.set()
        await other.close()


async def test_statements_that_wait_for_others_fail_with_these_and_nothing_is_written(index: Index) -> None:
    into = "INSERT INTO tally_day VALUES ('a', 0, 'b', {}, 1)"
    add, wrong, other = (Sql(into.format(one), {}) for one in ("7", "'x'", "8"))

    def write(connection: WriteConnection, first: Sql, last: Sql) -> int:
        connection.execute_many(first, [{}])
        number = len(connection.fetch_all(_DAYS))
        connection.execute_many(last, [{}])  # goes with the commit
        return number

    for first, last in ((wrong, add), (add, wrong)):
        with pytest.raises(IndexUnusable):
            await index.write(partial(write, first=first, last=last))
    assert await index.write(partial(write, first=add, last=other)) == 1
    assert await index.write(lambda connection: len(connection.fetch_all(_DAYS))) == 2


async def test_changed_rows_are_counted_also_after_statements_that_waited(index: Index) -> None:
    add = Sql("INSERT INTO tally_day VALUES ('a', 0, 'b', :day, 1) ON CONFLICT DO NOTHING", {})

    def write(connection: WriteConnection) -> list[int]:
        connection.execute_many(add, [{"day": 1}])
        return [connection.count_changed(add, [{"day": day} for day in days]) for days in ([1, 2, 3], [3], [], [4])]

    assert await index.write(write) == [2, 0, 0, 1]


async def test_a_transaction_whose_error_was_ignored_is_not_called_committed(index: Index) -> None:
    def write(connection: WriteConnection) -> None:
        connection.execute_many(Sql("INSERT INTO tally_day VALUES ('a', 0, 'b', 1, 1)", {}), [{}])
        with suppress(psycopg.Error):
            connection.fetch_all(Sql("SELECT 1 / 0", {}))

    with pytest.raises(IndexUnusable):
        await index.write(write)
    assert await index.write(lambda connection: connection.fetch_all(_DAYS)) == []
