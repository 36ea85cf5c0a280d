"""Migrations that are interrupted, refused, taken back or without space leave an index that is whole."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app import ConversationStore, Settings
from app.errors import IndexBusy, MigrationFailed
from app.index.sqlite import integrity, migrations, open_lock
from app.index.sqlite.migrations import HEAD, read_revision
from tests.builders import index_tables, make_conversation, second_process
from tests.migrations.conftest import revisions, synced

CHECKOUT = Path(__file__).parents[2]

EVERY = int(os.environ.get("CONVSTORE_TEST_KILL_EVERY", "9"))
TIMES = int(os.environ.get("CONVSTORE_TEST_KILLS", "5"))


def dump(path: Path) -> str:
    """Return a database as SQL."""
    with closing(sqlite3.connect(path)) as db:
        return "\n".join(db.iterdump())


@pytest.mark.long
@pytest.mark.parametrize(("begin", "target"), [("base", HEAD), (revisions()[0], HEAD), (HEAD, "base")])
def test_a_migration_that_is_killed_is_whole_once_it_is_run_again(index: Path, begin: str, target: str) -> None:
    if begin != HEAD:
        migrations.downgrade(index, begin)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.migrations.killed", str(index), target, str(EVERY), str(TIMES)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(ran.stdout)
    at_statements = [result for result in told["results"] if result["killed"] != "at some time"]
    assert len(at_statements) == -(-told["statements"] // EVERY) > 2
    assert all(result["was_killed"] for result in at_statements)
    assert [result for result in told["results"] if not result["whole"]] == []
    assert {result["between"] for result in told["results"]} <= {None, *revisions()}


OPEN = """
import asyncio, sys
from app import ConversationStore, Settings

async def hold(root):
    async with ConversationStore.open(Settings(store=root)) as store:
        print(await store.count_conversations(), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print(await store.count_conversations(), flush=True)

asyncio.run(hold(sys.argv[1]))
"""


@pytest.mark.parametrize("down", [False, True])
def test_the_schema_is_not_changed_while_another_process_has_the_index_open(index: Path, down: bool) -> None:
    root = index.parent.parent
    with second_process(OPEN, root) as other:
        assert other.hear() == "30"
        before = index_tables(index)
        with pytest.raises(IndexBusy, match=r"process \d+ has it\. Stop the server"):
            (migrations.downgrade if down else migrations.upgrade)(index, "0001", wait_s=0)
        assert (read_revision(index), index_tables(index)) == (HEAD, before)
        migrations.upgrade(index)  # nothing to do, so nobody is in the way
        other.say()
        assert other.hear() == "30"
        assert other.hear() == ""
    migrations.downgrade(index, "0001", wait_s=0)
    assert read_revision(index) == "0001"


async def test_opening_waits_for_a_migration_that_runs(root: Path) -> None:
    path = root / ".convstore" / "index.db"
    make_conversation(root)
    migrations.downgrade(path, "0001")
    with open_lock.hold_alone(path, 0):
        opening = asyncio.create_task(synced_count(root))
        done, _ = await asyncio.wait([opening], timeout=0.3)
        assert not done
        assert read_revision(path) == "0001"
    assert await opening == 1


async def synced_count(root: Path) -> int:
    async with ConversationStore.open(Settings(store=root)) as store:
        await store.sync()
        return await store.count_conversations()


async def test_opening_says_so_when_a_migration_takes_too_long(root: Path) -> None:
    path = root / ".convstore" / "index.db"
    with open_lock.hold_alone(path, 0), pytest.raises(IndexBusy, match="has been migrated for more than 0 s"):
        open_lock.hold_open(path, 0)


def test_an_old_program_that_runs_keeps_a_new_one_from_migrating(index: Path) -> None:
    """As in an upgrade of convstore while the old server still serves: the new one says what to do."""
    migrations.downgrade(index, "0001")
    old = open_lock.hold_open(index)
    with pytest.raises(IndexBusy, match="Stop the server"):
        asyncio.run(synced(index.parent.parent, busy_timeout_s=0.2))
    open_lock.release(old)
    assert asyncio.run(synced(index.parent.parent))["conversation"]


MIGRATE = """
import sys
from pathlib import Path
from app.index.sqlite import migrations
print("ready", flush=True)
sys.stdin.readline()
steps = []
migrations.upgrade(Path(sys.argv[1]), on_step=steps.append)
print(len(steps), flush=True)
"""


def test_of_two_that_migrate_at_once_one_does_it_and_both_succeed(index: Path) -> None:
    migrations.downgrade(index, "0001")
    with second_process(MIGRATE, index) as one, second_process(MIGRATE, index) as two:
        assert (one.hear(), two.hear()) == ("ready", "ready")
        one.say()
        two.say()
        steps = sorted([one.hear(), two.hear()])
    assert steps == ["0", str(len(revisions()) - 1)]


def test_a_step_whose_result_is_wrong_is_taken_back(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    migrations.downgrade(index, "0001")
    before = dump(index)
    plain = integrity.find_faults

    def faults(database: sqlite3.Connection, rows: dict[str, int]) -> list[str]:
        return plain(database, {**rows, "event": rows["event"] + 1})

    monkeypatch.setattr(integrity, "find_faults", faults)
    with pytest.raises(MigrationFailed, match=r"0002 .* was rolled back; .* event had 272 rows and has 271"):
        migrations.upgrade(index)
    assert dump(index) == before
    monkeypatch.undo()
    migrations.upgrade(index)
    assert read_revision(index) == HEAD


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM event WHERE seq = 0", "event had 271 rows and has 241"),
        (
            "INSERT INTO conversation_info (conversation, body) VALUES (999999, x'00')",
            "a row of conversation_info belongs to",
        ),
    ],
)
def test_the_check_after_a_step_finds_lost_and_loose_rows(index: Path, statement: str, told: str) -> None:
    with closing(sqlite3.connect(index)) as db:
        before = integrity.count_rows(db)
        db.execute(statement)
        db.commit()
        assert any(told in fault for fault in integrity.find_faults(db, before))


WITHOUT_SPACE = """
import resource, sys
from pathlib import Path
from app.errors import StoreError
from app.index.sqlite import migrations
path, kib = Path(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (kib * 1024, kib * 1024))
try:
    migrations.upgrade(path)
except StoreError as error:
    print(type(error).__name__, error)
else:
    print("done")
"""


@pytest.mark.long
@pytest.mark.parametrize("kib", [0, 8, 40])
def test_without_space_the_index_stands_as_it_was(index: Path, kib: int) -> None:
    """No file may grow beyond so many KiB, the write-ahead log least of all."""
    migrations.downgrade(index, "0001")
    before = dump(index)
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_SPACE, str(index), str(kib)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.match(r"IndexUnusable .* free space|MigrationFailed .* is as before: free some space", ran.stdout)
    assert dump(index) == before
    migrations.upgrade(index)
    assert migrations.drift(index) == []


@pytest.fixture
def open_to_all(index: Path) -> Iterator[Path]:
    """An index in a directory that every user can reach."""
    migrations.downgrade(index, "0001")
    with tempfile.TemporaryDirectory(prefix="convstore-test-", dir="/var/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield Path(shutil.copyfile(index, directory / "index.db"))
        directory.chmod(0o755)


AS_ANOTHER_USER = """
import os, sys, tempfile
from pathlib import Path
from app.errors import StoreError
from app.index.sqlite import migrations
path = Path(sys.argv[1])
with tempfile.TemporaryDirectory() as other:  # imports all: that user may not be able to read the library of Python
    migrations.upgrade(Path(other, "index.db"))
if os.geteuid() == 0:
    os.seteuid(65534)
try:
    migrations.upgrade(path, wait_s=0)
except StoreError as error:
    print(error)
else:
    print("done")
"""


@pytest.mark.parametrize(
    ("file_mode", "directory_mode", "told"),
    [
        (0o444, 0o777, "readonly database) and is as before: make the file writable"),
        (0o444, 0o555, "make its directory writable"),
    ],
)
def test_what_cannot_be_written_to_is_told_and_stands_as_it_was(
    open_to_all: Path, file_mode: int, directory_mode: int, told: str
) -> None:
    before = open_to_all.read_bytes()
    open_to_all.chmod(file_mode)
    open_to_all.parent.chmod(directory_mode)
    ran = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER_USER, str(open_to_all)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told in ran.stdout
    assert open_to_all.read_bytes() == before


def test_many_may_have_an_index_open(index: Path) -> None:
    held = [open_lock.hold_open(index) for _ in range(3)]
    threads = [threading.Thread(target=lambda: open_lock.release(open_lock.hold_open(index))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)
    for one in held:
        open_lock.release(one)
    with open_lock.hold_alone(index, 0), pytest.raises(IndexBusy):
        open_lock.hold_open(index, 0)
