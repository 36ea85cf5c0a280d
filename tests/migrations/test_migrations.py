"""The schema: made by the migrations alone, up and down, and refused when it is newer than the program."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app import ConversationStore, Settings
from app.errors import MigrationFailed, SchemaTooNew
from app.index.sqlite import migrations
from app.index.sqlite.migrations import HEAD, read_revision
from tests.builders import make_conversation, second_process


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def definitions(path: Path) -> list[tuple[str, str, str | None]]:
    """Return everything that the schema is made of, apart from Alembic's and SQLite's own tables."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute(
            "SELECT type, name, sql FROM sqlite_master"
            " WHERE tbl_name NOT IN ('alembic_version', 'sqlite_sequence') ORDER BY type, name"
        ).fetchall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


def test_upgrading_from_nothing_makes_the_newest_schema_without_drift(path: Path) -> None:
    assert read_revision(path) is None
    migrations.upgrade(path)
    assert (read_revision(path), migrations.drift(path)) == (HEAD, [])


def test_downgrading_to_base_leaves_no_table(path: Path) -> None:
    migrations.upgrade(path)
    migrations.downgrade(path, "base")
    assert (read_revision(path), definitions(path)) == (None, [])


def test_up_down_and_up_again_gives_the_same_schema(path: Path) -> None:
    migrations.upgrade(path)
    first = definitions(path)
    migrations.downgrade(path, "base")
    migrations.upgrade(path)
    assert (definitions(path), migrations.drift(path)) == (first, [])


def test_upgrading_twice_changes_nothing(path: Path) -> None:
    migrations.upgrade(path)
    first = definitions(path)
    migrations.upgrade(path)
    assert definitions(path) == first


def test_every_migration_can_be_undone(path: Path) -> None:
    for revision in reversed(migrations.history(path)):
        before = read_revision(path) or "base"
        migrations.upgrade(path, revision.id)
        migrations.downgrade(path, before)
        assert read_revision(path) == (None if before == "base" else before)
        migrations.upgrade(path, revision.id)
    assert migrations.drift(path) == []


def test_the_history_says_where_the_index_stands(path: Path) -> None:
    migrations.upgrade(path)
    assert [revision.id for revision in migrations.history(path) if revision.current] == [HEAD]


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DROP INDEX ix_conversation_parent", "ix_conversation_parent"),
        ("ALTER TABLE conversation ADD COLUMN mood TEXT", "mood"),
        ("DROP TABLE sync_state", "sync_state"),
        ("CREATE TABLE extra (x INTEGER)", "extra"),
    ],
)
def test_a_schema_that_was_changed_by_hand_is_reported(path: Path, statement: str, told: str) -> None:
    migrations.upgrade(path)
    change(path, statement)
    [difference] = migrations.drift(path)
    assert told in difference


def test_an_index_without_a_schema_is_reported_with_what_to_do(path: Path) -> None:
    assert migrations.drift(path) == [
        f"the schema is at nothing, this program needs {HEAD}: run `convstore db upgrade`"
    ]


def test_an_unknown_target_is_refused_with_what_to_do(path: Path) -> None:
    with pytest.raises(MigrationFailed, match=r"cannot migrate to '9999'.* see `convstore db history`"):
        migrations.upgrade(path, "9999")


def test_the_revision_can_be_read_while_another_connection_writes(path: Path) -> None:
    migrations.upgrade(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert read_revision(path) == HEAD


@pytest.fixture
def newer(root: Path) -> Path:
    """Give a store whose index a newer program made."""
    change(root / ".convstore" / "index.db", "UPDATE alembic_version SET version_num = '9999'")
    return root


async def test_a_store_with_a_newer_index_is_refused_with_what_to_do(newer: Path) -> None:
    with pytest.raises(
        SchemaTooNew,
        match=r"has schema 9999, which this convstore does not know .* Upgrade convstore, or .* CONVSTORE_INDEX_URL=",
    ):
        async with ConversationStore.open(Settings(store=newer)):
            pass


@pytest.mark.parametrize(
    "migrate", [migrations.upgrade, lambda path: migrations.downgrade(path, "base"), migrations.drift]
)
def test_a_newer_index_is_left_alone(newer: Path, migrate: object) -> None:
    path = newer / ".convstore" / "index.db"
    before = definitions(path)
    assert callable(migrate)
    with pytest.raises(SchemaTooNew):
        migrate(path)
    assert definitions(path) == before


async def test_opening_a_store_upgrades_an_index_at_base(root: Path) -> None:
    path = root / ".convstore" / "index.db"
    migrations.downgrade(path, "base")
    make_conversation(root)
    async with ConversationStore.open(Settings(store=root)) as store:
        await store.sync()
        assert await store.count_conversations() == 1
    assert migrations.drift(path) == []


async def test_opening_a_store_that_has_no_index_makes_one(tmp_path: Path) -> None:
    make_conversation(tmp_path)
    async with ConversationStore.open(Settings(store=tmp_path)) as store:
        await store.sync()
        assert await store.count_conversations() == 1


OPEN_EACH = """
import asyncio, sys
from app import ConversationStore, Settings

async def opened(root):
    try:
        async with ConversationStore.open(Settings(store=root)) as store:
            return f"holds {await store.count_conversations()}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"

asyncio.run(opened(sys.argv[1]))
for line in sys.stdin:
    print(asyncio.run(opened(line.strip())), flush=True)
"""


@pytest.mark.long
def test_two_processes_that_open_a_fresh_store_at_once_both_succeed(tmp_path: Path) -> None:
    (tmp_path / "warm-0").mkdir()
    (tmp_path / "warm-1").mkdir()
    with second_process(OPEN_EACH, tmp_path / "warm-0") as one, second_process(OPEN_EACH, tmp_path / "warm-1") as two:
        heard = []
        for number in range(15):
            fresh = tmp_path / f"fresh-{number}"
            fresh.mkdir()
            one.say(str(fresh))
            two.say(str(fresh))
            heard.append((one.hear(), two.hear()))
    assert heard == [("holds 0", "holds 0")] * 15


def test_the_program_needs_the_newest_migration(tmp_path: Path) -> None:
    assert migrations.history(tmp_path / "none.db")[0].id == HEAD


def test_both_databases_have_the_same_newest_revision() -> None:
    """Whoever adds a migration for SQLite adds one for PostgreSQL, which begins with a baseline."""
    root = Path(__file__).parents[2] / "migrations"
    newest = [max(path.name[:4] for path in root.glob(f"{one}versions/0*.py")) for one in ("", "postgres/")]
    assert newest == [HEAD, HEAD]
