"""A rebuild, and a verify that mends, killed at any moment: the next one goes on, and the index ends equal.

`make true` kills each 50 times.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app import ConversationStore, Settings
from app.store.follow.rebuild import rebuild
from tests.builders import index_tables, make_conversation, make_event, make_id, second_process

pytestmark = pytest.mark.long

CONVERSATIONS = 400

CODE = """
import asyncio, sys, time
import app.files.layout
from app import ConversationStore, Settings
from app.store.follow.rebuild import rebuild

app.files.fingerprint.time_ns = lambda: time.time_ns() + 60_000_000_000
settings = Settings(store=sys.argv[1], index_url=sys.argv[2])

async def verify():
    async with ConversationStore.open(settings) as store:
        await store.verify(fix=True)

print("begin", flush=True)
asyncio.run(rebuild(settings, lambda *_: None) if sys.argv[3] == "rebuild" else verify())
print("end", flush=True)
"""

LIES = """
UPDATE conversation SET title = 'other', revision = revision + 1 WHERE id % 3 = 0;
UPDATE event SET kind = 'other' WHERE conversation % 4 = 0;
DELETE FROM event WHERE conversation % 5 = 0;
UPDATE conversation_info SET body = '{}' WHERE conversation % 6 = 0;
DELETE FROM conversation_info WHERE conversation % 7 = 0;
"""


def kills() -> int:
    """Return how many moments are tried: a few here, 50 with `make true`."""
    return int(os.environ.get("CONVSTORE_TEST_MENDING_KILLS", "2"))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a directory of small conversations, some of them damaged."""
    root = tmp_path_factory.mktemp("many") / "conversations"
    for number in range(CONVERSATIONS):
        directory = make_conversation(root, number, events=[make_event(number)])
        if number % 50 == 7:
            (directory / "base_state.json").write_text("{")
        if number % 50 == 8:
            (directory / "events" / f"event-00003-{make_id(number)}.json").write_text("")
    return root


@pytest.fixture(scope="module")
def whole(many: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an index as an undisturbed sync makes it."""
    path = tmp_path_factory.mktemp("whole") / "index.db"

    async def undisturbed() -> None:
        async with ConversationStore.open(Settings(store=many, index_url=f"sqlite:///{path}")) as store:
            await store.sync()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("app.files.fingerprint.time_ns", lambda: time.time_ns() + 60_000_000_000)
        asyncio.run(undisturbed())
    return path


def lying_copy(whole: Path, path: Path) -> None:
    path.parent.mkdir(parents=True)
    shutil.copyfile(whole, path)
    with closing(sqlite3.connect(path)) as database:
        database.executescript(LIES)


def run_for(many: Path, path: Path, what: str, seconds: float | None) -> float | None:
    """Run for so long and kill, or to the end and return how long it took."""
    with second_process(CODE, many, f"sqlite:///{path}", what) as other:
        assert other.hear() == "begin"
        began = time.monotonic()
        if seconds is None:
            assert other.hear() == "end"
            return time.monotonic() - began
        time.sleep(seconds)
        other.kill()
    return None


@pytest.mark.parametrize("what", ["rebuild", "verify"])
def test_what_was_killed_goes_on_and_ends_equal(many: Path, whole: Path, tmp_path: Path, what: str) -> None:
    expected = index_tables(whole)
    lying_copy(whole, tmp_path / "undisturbed" / "index.db")
    took = run_for(many, tmp_path / "undisturbed" / "index.db", what, None)
    assert took is not None
    assert index_tables(tmp_path / "undisturbed" / "index.db") == expected
    dice = random.Random(what)  # noqa: S311
    for number in range(kills()):
        path = tmp_path / str(number) / "index.db"
        lying_copy(whole, path)
        run_for(many, path, what, dice.uniform(0, took))
        run_for(many, path, what, dice.uniform(0, took))
        run_for(many, path, what, None)
        assert index_tables(path) == expected, number
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert not [name for name in path.parent.iterdir() if name.name.startswith("rebuild.db")]


READ = """
import asyncio, sys
from app import ConversationStore, Settings
from app.store.follow.background import run_background

async def main():
    async with ConversationStore.open(Settings(store=sys.argv[1])) as store:
        following = asyncio.create_task(run_background(store))
        reads = least = 0
        print("reads", flush=True)
        asked = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
        while not asked.done():
            page = await store.list_conversations()
            count = await store.count_conversations()
            assert len(page.items) <= count and count >= least, (len(page.items), count, least)
            assert not following.done(), following.exception()
            reads, least = reads + 1, count
            await asyncio.sleep(0.005)
        print(reads, flush=True)

asyncio.run(main())
"""


async def test_writes_during_a_rebuild_are_in_it_and_readers_in_other_processes_go_on(root: Path) -> None:
    for number in range(1, 61):
        make_conversation(root, number)
    made = iter(range(1000, 2000))
    settings = Settings(store=root)

    def make(*_: object) -> None:
        make_conversation(root, next(made))

    async def write(store: ConversationStore, stop: asyncio.Event) -> int:
        written = 0
        while not stop.is_set():
            asked = {"agent": {"llm": {"model": "a/model"}}, "workspace": {"working_dir": "/home/dev"}}
            conversation_id = (await store.create(asked)).id
            async with store.writer(conversation_id) as conversation:
                event: dict[str, Any] = {"source": "user", "kind": "Any"}
                await conversation.append_batch([event, event])
            written += 1
        return written

    with second_process(READ, root) as one, second_process(READ, root) as two:
        assert [one.hear(), two.hear()] == ["reads"] * 2
        async with ConversationStore.open(settings) as store:
            while await store.count_conversations() < 60 or not (await store.get_status())[0].last_sweep_at:
                await asyncio.sleep(0.05)
            stop = asyncio.Event()
            writing = asyncio.create_task(write(store, stop))
            for _ in range(5):
                await rebuild(settings, make)
                await asyncio.sleep(0.1)
            stop.set()
            written = await writing
            assert written > 0
            assert await store.verify() == []
            assert await store.count_conversations() == 60 + written + next(made) - 1000
        for other in (one, two):
            other.say()
            assert int(other.hear()) > 10
    with closing(sqlite3.connect(settings.index_path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
