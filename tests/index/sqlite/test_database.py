"""An open index: who writes when, and what another process sees of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from app.errors import IndexBusy, IndexUnusable
from app.index import state
from app.index.connections import WriteConnection
from app.index.engine import HeldLock
from app.index.sqlite.database import Index
from tests.builders import busy_index, held_by_another_process, second_process
from tests.conftest import transaction
from tests.index.builders import opened, stored_revision


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
            await asyncio.sleep(0)  # the task sees it before the turn comes
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
        "a write to the index failed after its caller was cancelled: lost"
    ]


async def test_writers_of_one_process_take_turns(path: Path) -> None:
    async def bump(index: Index) -> None:
        await index.write(state.bump_revision)

    async with opened(path) as index:
        await asyncio.gather(*(bump(index) for _ in range(50)))
    assert stored_revision(path) == 50


async def test_indexes_of_other_names_in_one_directory_have_locks_of_their_own(tmp_path: Path) -> None:
    def lead(name: str) -> HeldLock | None:
        return Index(tmp_path / name, readers=1, busy_timeout_s=1).try_lock("duty")

    names = ("index.db", "one.db", "two.db")
    held = [lead(name) for name in names]
    assert None not in held
    assert [lead(name) for name in names] == [None, None, None]
    for lock in held:
        assert lock is not None
        lock.release()


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


@pytest.mark.long
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
        assert took_s < 5, "each waited for SQLite's 5 s"
        await bump(index)
    assert stored_revision(path) == 2
