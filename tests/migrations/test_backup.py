"""Backups of an index: of one moment, whole, and in nobody's way."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app import ConversationStore, Settings
from app.errors import ChangesGone, IndexUnusable, OutputRefused, StoreError
from app.index.sqlite import backup
from app.index.sqlite.backup import back_up
from app.index.sqlite.migrations import HEAD
from tests.builders import make_conversation, make_id, second_process
from tests.migrations.conftest import synced

WRITE = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
for number in range(1_000_000):
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE revision SET revision = revision + 1")
    db.execute("UPDATE conversation SET title = (SELECT revision FROM revision)")
    db.execute("COMMIT")
    if not number:
        print("ready", flush=True)
"""


def test_a_backup_is_of_one_moment_while_others_write(index: Path, tmp_path: Path) -> None:
    with second_process(WRITE, index) as writer:
        assert writer.hear() == "ready"
        made = [back_up(index, tmp_path / f"{number}.db") for number in range(5)]
    for one in made:
        assert (one.revision, one.conversations, one.size_bytes) == (HEAD, 30, one.path.stat().st_size)
        assert one.path.stat().st_mode & 0o777 == 0o600
        with closing(sqlite3.connect(one.path)) as db:
            [[number]] = db.execute("SELECT revision FROM revision").fetchall()
            titles = {title for (title,) in db.execute("SELECT title FROM conversation")}
            assert titles == {str(number)}
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".db") == [f"{n}.db" for n in range(5)]


def test_a_backup_in_the_place_of_the_index_is_made_right_by_a_sync(index: Path, tmp_path: Path) -> None:
    root = index.parent.parent
    made = back_up(index, tmp_path / "copy.db")
    make_conversation(root, 1)
    now = asyncio.run(synced(root))
    for suffix in ("", "-wal", "-shm"):
        index.with_name(index.name + suffix).unlink(missing_ok=True)
    shutil.copyfile(made.path, index)
    assert asyncio.run(synced(root)) == now


async def test_who_followed_the_changes_lists_again_after_a_backup_took_the_indexs_place(
    index: Path, tmp_path: Path
) -> None:
    settings = Settings(store=index.parent.parent)
    made = back_up(index, tmp_path / "copy.db")
    make_conversation(settings.root, 1)
    async with ConversationStore.open(settings) as store:
        await store.sync()
        place = await store.get_place()
    shutil.rmtree(settings.root / make_id(1))  # the files come from a backup, too
    made.path.replace(index)
    async with ConversationStore.open(settings) as store:
        await store.sync()
        with pytest.raises(ChangesGone):
            await store.list_changes(place)


def test_a_backup_overwrites_nothing(index: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(OutputRefused, match="mine exists; name another file"):
        back_up(index, tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("where", ["no/where.db", "copy.db"])
def test_a_backup_that_cannot_be_made_leaves_nothing(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def damaged(source: Path, copy: Path) -> None:
        plain(source, copy)
        with closing(sqlite3.connect(copy)) as db:
            db.execute("INSERT INTO conversation_info (conversation, body) VALUES (999999, x'00')")
            db.commit()

    plain = backup._copy
    monkeypatch.setattr(backup, "_copy", damaged)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(StoreError, match=r"cannot be written \(No such file|is not sound"):
        back_up(index, tmp_path / where)
    assert sorted(tmp_path.iterdir()) == before


def test_no_index_is_no_backup(tmp_path: Path) -> None:
    with pytest.raises(IndexUnusable, match="there is no index"):
        back_up(tmp_path / "index.db", tmp_path / "copy.db")
