"""Comparing the index with a directory in which another process deletes, restores and creates."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType

import pytest

from app import ConversationStore
from app.files import trash
from app.files.layout import ConversationDir
from app.files.trash import TrashEntry
from app.store.follow import full_sync, ingest
from app.store.follow.watcher import Watcher
from tests.builders import make_conversation, second_process
from tests.conftest import StoreOpener
from tests.store.helpers import ONE, then_once

CYCLES = 40

# Deletes and restores a conversation, and tells whether it is listed once it was restored, and a moment later.
RESTORER = """
import asyncio, sys
from app import ConversationStore, Settings
from tests.builders import make_id

async def main():
    async with ConversationStore.open(Settings(store=sys.argv[1])) as store:
        print("begun", flush=True)
        missed = 0
        for _ in range(int(sys.argv[2])):
            await store.delete(make_id(1))
            await store.restore(make_id(1))
            for _ in range(5):
                if await store.count_conversations() != 2:
                    missed += 1
                    break
                await asyncio.sleep(0.002)
        print(missed, flush=True)

asyncio.run(main())
"""


async def _sync(store: ConversationStore) -> None:
    await store.sync()


async def _sweep(store: ConversationStore) -> None:
    await Watcher(store.context).tick()


async def _fix(store: ConversationStore) -> None:
    await store.verify(fix=True)


@pytest.mark.long
@pytest.mark.parametrize("look", [_sync, _sweep, _fix])
async def test_what_is_restored_beside_a_comparison_stays_listed(
    root: Path, open_store: StoreOpener, look: Callable[[ConversationStore], Awaitable[None]]
) -> None:
    make_conversation(root, 1, events=3)
    make_conversation(root, 2)
    async with open_store(root) as store:
        with second_process(RESTORER, root, CYCLES) as other:
            assert other.hear() == "begun"
            missed = asyncio.create_task(asyncio.to_thread(other.hear))
            while not missed.done():
                await look(store)
            assert await missed == "0"
        assert await store.count_events(ONE) == 3
        assert await store.verify() == []


@pytest.mark.parametrize("by", [full_sync, ingest])
async def test_what_is_put_there_after_it_was_found_gone_stays_listed(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by: ModuleType
) -> None:
    path = make_conversation(root, 1)
    make_conversation(root, 2)
    loop = asyncio.get_running_loop()
    async with open_store(root) as store, open_store(root) as other:
        path.rename(tmp_path / "away")
        path.mkdir()  # as the locks of an agent-server would

        def put_back() -> None:
            path.rmdir()
            (tmp_path / "away").rename(path)
            again = ingest.ingest(other.context, [ConversationDir(ONE, ONE)])
            asyncio.run_coroutine_threadsafe(again, loop).result()

        monkeypatch.setattr(by, "read_rows", then_once(put_back))
        if by is full_sync:
            report = await store.sync()
            assert (report.conversations, report.added, report.removed) == (2, 0, 0)
        else:
            done = await ingest.ingest(store.context, [ConversationDir(ONE, ONE)])
            assert (done.removed, done.empty) == (0, {})
        assert await store.count_conversations() == 2
        assert await store.verify() == []


async def test_what_is_restored_before_its_row_is_deleted_stays_listed(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_conversation(root, 1)
    make_conversation(root, 2)
    loop = asyncio.get_running_loop()
    delete = trash.delete_conversation
    async with open_store(root) as store, open_store(root) as other:

        def then_restore(root: Path, directory: str, instance: str, now_us: int, *, force: bool) -> TrashEntry:
            entry = delete(root, directory, instance, now_us, force=force)
            asyncio.run_coroutine_threadsafe(other.restore(ONE), loop).result()
            return entry

        monkeypatch.setattr(trash, "delete_conversation", then_restore)
        await store.delete(ONE)
        assert await store.count_conversations() == 2
