"""What the checks of a database find, and what mends it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from app.index import consistency
from app.index.dialect import Sql
from app.index.sqlite import integrity
from app.index.sqlite.database import Index
from tests.index.builders import make_row, put

LOOSE = Sql("INSERT INTO message_fts (rowid, text) VALUES (7, 'loose')", {})


async def test_a_sound_index_has_no_faults(index: Index) -> None:
    await put(index, make_row(1))
    async with index.read() as connection:
        assert await integrity.list_damaged(connection) == []
        assert await consistency.list_orphans(connection) == []
    assert integrity.list_unsound_text_indexes(index.path) == []


async def test_rows_without_a_conversation_are_found_and_deleted(index: Index) -> None:
    await put(index, make_row(1))
    with closing(sqlite3.connect(index.path)) as database, database:
        database.execute("INSERT INTO conversation_info (conversation, body) VALUES (99, x'00')")
        fault = "a row of conversation_info belongs to a missing row of conversation"
        assert integrity.find_faults(database, whole=True) == [fault]
    await index.write(consistency.delete_orphans)
    async with index.read() as connection:
        assert await consistency.list_orphans(connection) == []


async def test_a_text_index_of_other_words_is_found_and_rebuilt(index: Index) -> None:
    await put(index, make_row(1))
    await index.write(lambda connection: connection.execute_many(LOOSE, [{}]))
    assert integrity.list_unsound_text_indexes(index.path) == ["words"]
    await index.write(lambda connection: integrity.rebuild_text_index(connection, "words"))
    assert integrity.list_unsound_text_indexes(index.path) == []


async def test_a_copy_is_of_one_moment_while_the_index_is_open(index: Index, tmp_path: Path) -> None:
    await put(index, make_row(1), make_row(2))
    integrity.copy_database(index.path, tmp_path / "copy.db")
    await put(index, make_row(3))
    with closing(sqlite3.connect(tmp_path / "copy.db")) as database:
        assert integrity.count_rows(database)["conversation"] == 2
