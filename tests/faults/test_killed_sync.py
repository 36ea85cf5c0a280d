"""A sync that is killed in its middle leaves nothing behind but work for the next one."""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from app import ConversationStore, Settings
from tests.builders import index_tables, make_conversation, make_event, make_id, second_process

pytestmark = pytest.mark.long

CONVERSATIONS = 2100

SYNC = """
import asyncio, sys, time
import app.files.layout
from app import ConversationStore, Settings

app.files.fingerprint.time_ns = lambda: time.time_ns() + 60_000_000_000

async def main():
    async with ConversationStore.open(Settings(store=sys.argv[1], index_url=sys.argv[2])) as store:
        print("begin", flush=True)
        await store.sync(on_progress=lambda *step: print(*step, flush=True))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a directory of small conversations, some of them damaged."""
    root = tmp_path_factory.mktemp("many") / "conversations"
    for number in range(CONVERSATIONS):
        directory = make_conversation(root, number, events=[make_event(number)])
        if number % 100 == 7:
            (directory / "base_state.json").write_text("{")
        if number % 100 == 8:
            (directory / "events" / f"event-00003-{make_id(number)}.json").write_text("")
    return root


class Whole(NamedTuple):
    """What an undisturbed sync makes of a directory, and in how many steps."""

    tables: dict[str, list[tuple[Any, ...]]]
    steps: int


@pytest.fixture(scope="module")
def whole(many: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Sync without any disturbance."""
    path = tmp_path_factory.mktemp("whole") / "index.db"
    steps: list[tuple[str, int, int]] = []

    async def undisturbed() -> None:
        async with ConversationStore.open(Settings(store=many, index_url=f"sqlite:///{path}")) as store:
            await store.sync(on_progress=lambda *step: steps.append(step))

    asyncio.run(undisturbed())
    return Whole(index_tables(path), len(steps))


@pytest.mark.parametrize("seed", range(4))
async def test_a_killed_sync_is_completed_by_the_next(
    many: Path, whole: Whole, empty_index: Path, tmp_path: Path, seed: int
) -> None:
    path = tmp_path / "index.db"
    shutil.copyfile(empty_index, path)
    settings = Settings(store=many, index_url=f"sqlite:///{path}")
    steps = random.Random(seed).randrange(1, whole.steps - 2)  # noqa: S311
    with second_process(SYNC, many, settings.index_url) as other:
        heard = [other.hear() for _ in range(1 + steps)]
        other.kill()
    assert (heard[0], "" in heard) == ("begin", False)
    [(phase, *_)] = index_tables(path)["sync_state"]
    assert phase in ("metadata", "events")
    async with ConversationStore.open(settings) as store:
        await store.sync()
    assert index_tables(path) == whole.tables
