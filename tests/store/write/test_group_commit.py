"""Group commit: writes that come while the index is written share the next transaction, and each is acknowledged."""

from __future__ import annotations

import asyncio
import gc
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from app.model.ids import ConversationId
from app.store.write import conversation_writer, group_commit
from tests.builders import make_conversation, make_event, make_id
from tests.conftest import StoreOpener
from tests.store.helpers import is_rebuilt_equal

MANY = range(1, 9)


async def test_writes_that_wait_for_the_index_are_committed_together(root: Path, open_store: StoreOpener) -> None:
    for number in MANY:
        make_conversation(root, number)
    async with open_store(root) as store:

        async def append(number: int, event: int) -> int:
            async with store.writer(ConversationId(make_id(number))) as conversation:
                return (await conversation.append(make_event(event))).seq

        for number in MANY:
            await append(number, 2)
        before = (await store.get_status())[0].revision
        commits = store._writers._commits
        with commits._lock:
            commits._running = True  # as if a thread ran a transaction
        writing = [asyncio.create_task(append(number, 3)) for number in MANY]
        async with asyncio.timeout(60):
            while len(commits._waiting) < len(MANY):
                await asyncio.sleep(0.02)
        await asyncio.to_thread(commits.write_waiting)
        assert await asyncio.gather(*writing) == [3] * len(MANY)
        assert (await store.get_status())[0].revision - before == 1
        assert await is_rebuilt_equal(store)


@pytest.mark.parametrize("written_before", [False, True])
async def test_a_write_that_has_begun_finishes_when_its_caller_is_cancelled(
    root: Path, open_store: StoreOpener, *, written_before: bool
) -> None:
    make_conversation(root)
    async with open_store(root) as store, store.writer(ConversationId(make_id(1))) as conversation:
        await conversation.append(make_event(2))
        commits = store._writers._commits
        with commits._lock:
            commits._running = True  # as if a thread ran a transaction
        writing = asyncio.create_task(conversation.append(make_event(3)))
        async with asyncio.timeout(60):
            while not commits._waiting:
                await asyncio.sleep(0.02)
        if written_before:  # the task has not noticed it when it is cancelled
            commits.write_waiting()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        following = asyncio.create_task(conversation.append(make_event(4)))
        if not written_before:
            await asyncio.to_thread(commits.write_waiting)
        assert (await following).seq == 4
        assert await is_rebuilt_equal(store)


async def test_a_cancelled_write_that_fails_leaves_one_line_in_the_log(
    root: Path, open_store: StoreOpener, caplog: pytest.LogCaptureFixture
) -> None:
    directory = make_conversation(root)
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    async with open_store(root) as store, store.writer(ConversationId(make_id(1))) as conversation:
        await conversation.append(make_event(2))
        shutil.rmtree(directory)
        writing = asyncio.create_task(conversation.append(make_event(3)))
        await asyncio.sleep(0)  # the write begins
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        async with asyncio.timeout(60), conversation._writing:
            conversation._finishing = None
        gc.collect()
        assert not unhandled
    [record] = [one for one in caplog.records if "whose caller has gone" in one.getMessage()]
    assert record.exc_info is None


@pytest.mark.parametrize("place", ["_apply", "_find_refusal"])
async def test_a_lack_of_memory_for_rows_fails_no_write_and_stops_no_later_one(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    make_conversation(root)
    async with open_store(root) as store, store.writer(ConversationId(make_id(1))) as conversation:
        await conversation.append(make_event(2))
        with monkeypatch.context() as lacking:
            lacking.setattr(group_commit, place, lack_memory)
            assert (await conversation.append(make_event(3))).seq == 3
        assert (await conversation.append(make_event(4))).seq == 4
        assert await is_rebuilt_equal(store)


async def test_a_lack_of_memory_for_a_row_fails_no_write_whose_files_stand(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_conversation(root)
    async with open_store(root) as store, store.writer(ConversationId(make_id(1))) as conversation:
        with monkeypatch.context() as lacking:
            lacking.setattr(conversation_writer, "fold_next", lack_memory)
            assert (await conversation.append(make_event(2))).seq == 2
        assert await is_rebuilt_equal(store)


async def test_a_thread_that_waits_for_its_commit_writes_no_later_ones(root: Path, open_store: StoreOpener) -> None:
    for number in MANY:
        make_conversation(root, number)
    async with open_store(root) as store:
        commits = store._writers._commits
        writers: set[int] = set()
        write_batch = commits._write_batch

        def note_and_write() -> bool:
            writers.add(threading.get_ident())
            return write_batch()

        async with store.writer(ConversationId(make_id(1))) as conversation:
            await conversation.append(make_event(2))
            later = conversation._next_commit(b"", [])
            commits._write_batch = note_and_write  # type: ignore[method-assign]
            callers: list[int] = []

            def commit() -> None:
                commits.commit(later)
                callers.append(threading.get_ident())

            await asyncio.to_thread(commit)
            async with asyncio.timeout(30):
                while commits._running:
                    await asyncio.sleep(0.01)
        assert len(writers) == 2
        assert {*callers} < writers


def lack_memory(*_: object, **__: object) -> None:
    raise MemoryError
