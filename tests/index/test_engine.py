"""Connections: who may write, what a transaction leaves behind, and what another process sees."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from sqlalchemy import text

from app.errors import IndexBusy, IndexUnusable
from app.index import state
from app.index.connections import WriteConnection
from app.index.dialect import Sql
from app.index.sqlite.database import Index
from app.index.sqlite.index_file import make_directory
from tests.builders import busy_index, held_by_another_process, second_process
from tests.conftest import transaction


@pytest.fixture
def path(root: Path) -> Path:
    return root / ".convstore" / "index.db"


@asynccontextmanager
async def opened(path: Path, busy_timeout_s: float = 5, readers: int = 2) -> AsyncIterator[Index]:
    index = Index(path, readers=readers, busy_timeout_s=busy_timeout_s)
    await index.open()
    try:
        yield index
    finally:
        await index.close()


def sql(statement: str) -> Sql:
    return Sql(statement, {})


def stored_revision(path: Path) -> int:
    """Return the revision as another program sees it."""
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT revision FROM revision").fetchone()[0])


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


async def test_a_transaction_that_began_goes_to_its_end_though_its_caller_is_cancelled(path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def bump_and_wait(connection: WriteConnection) -> None:
        state.bump_revision(connection)
        begun.set()
        go_on.wait(30)

    async with opened(path) as index:
        writing = asyncio.create_task(index.write(bump_and_wait))
        await asyncio.to_thread(begun.wait, 30)
        writing.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert stored_revision(path) == 1


async def test_a_write_that_is_cancelled_while_it_waits_for_its_turn_does_nothing(path: Path) -> None:
    async with opened(path) as index:
        async with transaction(index):
            waiting = asyncio.create_task(index.write(state.bump_revision))
            await asyncio.sleep(0.05)
            waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await index.write(state.bump_revision)
    assert stored_revision(path) == 1


async def test_a_failure_that_its_cancelled_caller_does_not_see_is_logged(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait_and_fail(_: WriteConnection) -> None:
        begun.set()
        go_on.wait(30)
        raise LookupError("lost")

    async with opened(path) as index:
        writing = asyncio.create_task(index.write(wait_and_fail))
        await asyncio.to_thread(begun.wait, 30)
        writing.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await writing
    assert [record.getMessage() for record in caplog.records] == [
        "a change of the index whose caller was cancelled failed: lost"
    ]


async def test_writers_of_one_process_take_turns(path: Path) -> None:
    async def bump(index: Index) -> None:
        await index.write(state.bump_revision)

    async with opened(path) as index:
        await asyncio.gather(*(bump(index) for _ in range(50)))
    assert stored_revision(path) == 50


async def test_readers_read_on_while_a_block_is_written(path: Path) -> None:
    async with (
        opened(path) as index,
        transaction(index, lambda connection: state.set_state(connection, phase="events")),
        index.read() as reading,
    ):
        assert (await state.get_state(reading)).phase == "idle"


BUMP = """
import asyncio, sys
from pathlib import Path
from app.index import state
from app.index.sqlite.database import Index

async def main():
    index = Index(Path(sys.argv[1]), readers=1, busy_timeout_s=20)
    await index.open()
    print("open", flush=True)
    sys.stdin.readline()
    for _ in range(150):
        await index.write(state.bump_revision)
    await index.close()
    print("done", flush=True)

asyncio.run(main())
"""


def test_two_processes_that_write_at_once_never_find_the_database_locked(path: Path) -> None:
    with second_process(BUMP, path) as one, second_process(BUMP, path) as two:
        assert (one.hear(), two.hear()) == ("open", "open")
        one.say("go")
        two.say("go")
        assert (one.hear(), two.hear()) == ("done", "done")
    assert stored_revision(path) == 300


async def test_a_writer_gives_up_when_another_process_holds_the_lock(path: Path) -> None:
    async with opened(path, busy_timeout_s=0.2) as index:
        with (
            held_by_another_process(path.with_name(f"{path.name}.lock")),
            pytest.raises(IndexBusy, match=r"another process has been writing to the index .* for 0\.2 s; try again"),
        ):
            await index.write(lambda _: None)
        await index.write(state.bump_revision)
    assert stored_revision(path) == 1


async def test_a_writer_whose_process_was_killed_holds_up_nobody(path: Path) -> None:
    lock = path.with_name(f"{path.name}.lock")
    with second_process(
        f"from filelock import FileLock; FileLock({str(lock)!r}).acquire(); print(1, flush=True); input()"
    ) as other:
        assert other.hear() == "1"
        other.kill()
    async with opened(path, busy_timeout_s=0.2) as index:
        await index.write(state.bump_revision)
    assert stored_revision(path) == 1


RAISE = """
import asyncio, sys
from pathlib import Path
from app.index import state
from app.index.sqlite.database import Index

async def main():
    index = Index(Path(sys.argv[1]), readers=2, busy_timeout_s=5)
    await index.open()
    await index.write(state.bump_revision)
    async with index.read() as connection:
        raise RuntimeError("a bug of the program")

asyncio.run(main())
"""


def test_a_program_that_ends_without_closing_its_index_does_end(path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", RAISE, str(path)], capture_output=True, text=True, check=False, timeout=20
    )
    assert ran.returncode == 1
    assert "a bug of the program" in ran.stderr
    assert stored_revision(path) == 1


@pytest.mark.parametrize(
    "content", [b"this is no database, whatever its name says" * 40, b"SQLite format 3\x00" + b"x" * 4096]
)
async def test_a_file_that_is_no_database_is_refused_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "index.db"
    path.write_bytes(content)
    with pytest.raises(IndexUnusable, match=f"the index {path} is damaged .* run `convstore index rebuild`"):
        async with opened(path):
            pass
    assert path.read_bytes() == content


def test_an_index_directory_that_cannot_be_made_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    with pytest.raises(IndexUnusable, match=r"cannot be made .* CONVSTORE_INDEX_URL"):
        make_directory(tmp_path / "a-file" / "index.db")


def test_an_index_directory_is_for_its_owner_alone(tmp_path: Path) -> None:
    make_directory(tmp_path / "deep" / "index" / "index.db")
    assert (tmp_path / "deep" / "index").stat().st_mode & 0o777 == 0o700


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


async def test_writers_of_one_process_wait_for_another_program_at_the_same_time(root: Path, path: Path) -> None:
    async def bump(index: Index) -> None:
        await index.write(state.bump_revision)

    async with opened(path, busy_timeout_s=0.5) as index:
        await bump(index)
        with busy_index(root):
            began = time.monotonic()
            done = await asyncio.gather(*(bump(index) for _ in range(3)), return_exceptions=True)
            took_s = time.monotonic() - began
        assert [type(error) for error in done] == [IndexBusy] * 3
        assert took_s < 3, "each waited for SQLite's 5 s"
        await bump(index)
    assert stored_revision(path) == 2
