"""From every earlier schema to the newest, and back, with the rows of a whole store."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app import ConversationStore, Settings
from app.index.sqlite import migrations
from app.index.sqlite.migrations import read_revision
from app.index.tables import metadata
from app.model.conversation import join_bodies
from app.model.filters import ConversationFilter
from tests.conftest import DATA
from tests.migrations.conftest import revisions, synced
from tests.migrations.test_migrations import definitions

EARLIER = sorted((DATA / "indexes").glob("*.db.gz"))


@pytest.mark.parametrize("earlier", EARLIER, ids=lambda path: path.name.removesuffix(".db.gz"))
def test_an_index_of_an_earlier_release_becomes_equal_to_a_new_one(
    corpus: Path, pristine_corpus: Path, tmp_path: Path, earlier: Path
) -> None:
    path = corpus / ".convstore" / "index.db"
    path.write_bytes(gzip.decompress(earlier.read_bytes()))
    assert read_revision(path) == earlier.name.removesuffix(".db.gz")
    shutil.copytree(pristine_corpus, tmp_path / "new")
    assert asyncio.run(synced(corpus)) == asyncio.run(synced(tmp_path / "new"))
    assert migrations.drift(path) == []


@pytest.mark.long
@pytest.mark.parametrize("revision", ["base", *revisions()])
def test_down_to_any_schema_and_up_again_becomes_equal_to_a_new_one(
    index: Path, pristine_corpus: Path, tmp_path: Path, revision: str
) -> None:
    migrations.downgrade(index, revision)
    assert (read_revision(index) or "base") == revision
    for step in revisions():
        if step > ("" if revision == "base" else revision):
            migrations.upgrade(index, step)
    shutil.copytree(pristine_corpus, tmp_path / "new")
    assert asyncio.run(synced(index.parent.parent)) == asyncio.run(synced(tmp_path / "new"))
    assert migrations.drift(index) == []


def test_there_is_an_index_of_every_earlier_schema() -> None:
    """`python -m tests.migrations.dumped` keeps one before a migration is added."""
    assert {path.name.removesuffix(".db.gz") for path in EARLIER} >= set(revisions()[:-1])


_NOT_COMPARED = {"message": ["id"], "conversation_info": ["body"]}


def list_bodies(path: Path) -> list[tuple[int, bytes]]:
    """Return the whole bodies of all conversations."""
    with closing(sqlite3.connect(path)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'shared_info'").fetchone():
            return db.execute("SELECT conversation, body FROM conversation_info ORDER BY 1").fetchall()
        joined = "conversation_info AS one LEFT JOIN shared_info ON hash = shared"
        rows = db.execute(f"SELECT conversation, one.body, shared_info.body FROM {joined} ORDER BY 1")
        return [(key, join_bodies(body, shared)) for key, body, shared in rows]


def common_rows(path: Path, of: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return the rows of a database, of the tables and columns alone that another has too, but no message's id."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("ATTACH ? AS other", (str(of),))
        shared: dict[str, list[str]] = {}
        for table in metadata.tables:
            columns = [
                {row[1] for row in db.execute(f"PRAGMA {side}.table_info({table})")} for side in ("main", "other")
            ]
            shared[table] = sorted(columns[0] & columns[1] - {"derived_by", *_NOT_COMPARED.get(table, ())})
        return {
            table: sorted(db.execute(f"SELECT {', '.join(columns)} FROM main.{table}"), key=repr)
            for table, columns in shared.items()
            if columns
        }


@pytest.mark.parametrize("revision", revisions())
def test_going_down_gives_the_schema_of_that_time_and_keeps_its_rows(
    index: Path, tmp_path: Path, revision: str
) -> None:
    whole = shutil.copyfile(index, tmp_path / "whole.db")
    migrations.downgrade(index, revision)
    migrations.upgrade(tmp_path / "new.db", revision)
    assert definitions(index) == definitions(tmp_path / "new.db")
    kept = common_rows(index, whole)
    assert kept == common_rows(whole, index)
    assert (len(kept["conversation"]), len(kept["event"])) == (30, 271)
    assert list_bodies(index) == list_bodies(whole)


async def found_in(index: Path, root: Path) -> set[tuple[str, int | None]]:
    settings = Settings(store=root, index_url=f"sqlite+aiosqlite:///{index}")
    async with ConversationStore.open(settings) as store:
        page = await store.search_messages("the", ConversationFilter(event_count_gte=9))
        listed = await store.list_conversations(ConversationFilter(q="the", event_count_gte=9))
    assert len(listed.items) == len({hit.conversation_id for hit in page.items}) > 3
    return {(hit.conversation_id, hit.seq) for hit in page.items}


def test_search_finds_the_same_after_a_migration_before_any_file_is_read_again(
    index: Path, corpus: Path, tmp_path: Path
) -> None:
    new = asyncio.run(found_in(index, corpus))
    older = tmp_path / "older.db"
    older.write_bytes(gzip.decompress(EARLIER[-1].read_bytes()))
    migrations.upgrade(older)
    assert asyncio.run(found_in(older, corpus)) == new
