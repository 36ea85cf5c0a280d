"""Indexes that do not have what their revision says: they are built again by themselves, and the log says so."""

from __future__ import annotations

import asyncio
import gzip
import logging
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.errors import IndexDamaged
from app.index.sqlite import migrations
from tests.builders import index_path, make_conversation
from tests.cli.conftest import Command, convstore  # noqa: F401 - a fixture
from tests.cli.test_serve import served
from tests.conftest import DATA
from tests.migrations.conftest import synced
from tests.migrations.test_earlier_schemas import EARLIER
from tests.migrations.test_migrations import definitions

CHANGES = {
    "a table less": "DROP TABLE {table}",
    "a column less": "ALTER TABLE {table} DROP COLUMN tool",
    "an index less": "DROP INDEX ix_conversation_unreadable",
}


def first_commit(root: Path) -> Path:
    """Put the index in place that the first commit made: its migration 0001 was another one."""
    path = index_path(root)
    path.write_bytes(gzip.decompress((DATA / "indexes" / "unreleased" / "0001.db.gz").read_bytes()))
    return path


def changed(root: Path, revision: Path, change: str) -> Path:
    path = index_path(root)
    path.write_bytes(gzip.decompress(revision.read_bytes()))
    with closing(sqlite3.connect(path)) as database:
        database.execute(CHANGES[change].format(table="event"))
    return path


def aside(path: Path) -> list[Path]:
    return list(path.parent.glob("index.db.damaged-*"))


@pytest.mark.parametrize("change", ["DELETE FROM alembic_version", "DROP TABLE alembic_version"])
def test_an_index_whose_revision_is_lost_is_built_anew(root: Path, change: str) -> None:
    make_conversation(root)
    before = asyncio.run(synced(root))
    with closing(sqlite3.connect(index_path(root))) as database, database:
        database.execute(change)
    assert asyncio.run(synced(root)) == before
    assert len(aside(index_path(root))) == 1


def test_an_index_of_the_first_commit_becomes_equal_to_a_new_one(
    corpus: Path, pristine_corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = first_commit(corpus)
    shutil.copytree(pristine_corpus, tmp_path / "new")
    assert asyncio.run(synced(corpus)) == asyncio.run(synced(tmp_path / "new"))
    assert "its schema is marked as 0001, but conversation has no AUTOINCREMENT" in caplog.text
    assert "is built again from the files; the damaged one is kept as" in caplog.text
    assert len(aside(path)) == 1


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("revision", [EARLIER[0], EARLIER[-1]], ids=lambda path: str(path.name)[:4])
def test_an_older_one_without_a_part_becomes_equal_to_a_new_one(
    corpus: Path, pristine_corpus: Path, tmp_path: Path, revision: Path, change: str
) -> None:
    path = changed(corpus, revision, change)
    shutil.copytree(pristine_corpus, tmp_path / "new")
    assert asyncio.run(synced(corpus)) == asyncio.run(synced(tmp_path / "new"))
    assert (migrations.drift(path), len(aside(path))) == ([], 1)


@pytest.mark.parametrize("change", CHANGES)
def test_one_of_the_newest_schema_without_a_part_becomes_equal_to_a_new_one(index: Path, change: str) -> None:
    before = asyncio.run(synced(index.parent.parent))
    with closing(sqlite3.connect(index)) as database:
        database.execute(CHANGES[change].format(table="event"))
    assert asyncio.run(synced(index.parent.parent)) == before
    assert (migrations.drift(index), len(aside(index))) == ([], 1)


def test_a_whole_one_is_not_built_again(index: Path) -> None:
    with closing(sqlite3.connect(index)) as database:
        database.execute("CREATE TABLE my_own (a)")
        database.execute("CREATE INDEX my_own_too ON conversation (cost)")
    asyncio.run(synced(index.parent.parent))
    assert aside(index) == []


def test_a_migration_of_it_is_refused(corpus: Path) -> None:
    path = first_commit(corpus)
    before = definitions(path)
    with pytest.raises(IndexDamaged, match="the damaged file is kept under another name"):
        migrations.upgrade(path)
    assert definitions(path) == before


@pytest.mark.long
def test_the_command_and_the_server_list_what_the_files_have(corpus: Path, convstore: Command) -> None:  # noqa: F811
    path = first_commit(corpus)
    ran = convstore("count", "--store", corpus)
    assert (ran.code, ran.out.strip()) == (0, "30")
    assert len(aside(path)) == 1
    first_commit(corpus)
    with served(corpus) as server:
        pass
    assert "its schema is marked as 0001" in server.greeting
