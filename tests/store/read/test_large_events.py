"""Events that are too large to be read like others."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from app.errors import EventNotFound
from app.files.log import event_log
from app.files.log.event_log import RawEvent
from app.files.metadata_reader import Reader
from app.model.filters import EventFilter
from app.model.ids import ConversationId, EventName
from app.store.read import large_events as large_events_module
from app.store.read.large_events import LargeEvents, LargeFilePermit
from tests.builders import make_conversation, make_event, make_id, write_event
from tests.conftest import StoreOpener

ONE = ConversationId(make_id(1))
SIZE = event_log.HOP_BYTES + 1


@pytest.fixture
async def large_events() -> AsyncIterator[LargeEvents]:
    large = LargeEvents()
    yield large
    large.close()


@pytest.fixture
def file(root: Path) -> Path:
    """Return the file of a large event, which is the second of its log."""
    directory = make_conversation(root, events=1)
    return write_event(directory, 1, make_event(1) | {"extra": "x" * SIZE})


def name() -> EventName:
    return EventName(1, make_event(1)["id"])


async def test_a_large_event_is_sent_in_pieces_that_make_its_file(
    root: Path, file: Path, large_events: LargeEvents
) -> None:
    pieces = [piece async for piece in await large_events.open(Reader(root, UTC), ONE, name())]
    assert len(pieces) > 1
    assert b"".join(pieces) == file.read_bytes()


async def test_a_large_event_is_checked_again_only_if_its_file_changed(
    root: Path, file: Path, large_events: LargeEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = file.read_bytes()
    checked: list[object] = []
    read = event_log.read_events

    def read_counted(*given: Any) -> list[RawEvent]:
        checked.append(given)
        return read(*given)

    monkeypatch.setattr(event_log, "read_events", read_counted)
    monkeypatch.setattr("app.store.read.large_events.time_ns", lambda: time.time_ns() + 10**10)
    for _ in range(3):
        pieces = await large_events.open(Reader(root, UTC), ONE, name())
        assert b"".join([piece async for piece in pieces]) == whole
    assert len(checked) == 1
    file.write_bytes(b"[" + whole[1:])
    with pytest.raises(EventNotFound):
        await large_events.open(Reader(root, UTC), ONE, name())


@pytest.mark.parametrize("damage", ["torn", "gone"])
async def test_a_large_event_that_cannot_be_served_is_told_before_its_first_piece(
    root: Path, file: Path, large_events: LargeEvents, damage: str
) -> None:
    if damage == "torn":
        file.write_bytes(file.read_bytes()[:-1])
    else:
        file.unlink()
    with pytest.raises(EventNotFound):
        await large_events.open(Reader(root, UTC), ONE, name())


async def test_a_file_that_was_replaced_after_its_check_is_not_mixed_with_the_old_one(
    root: Path, file: Path, large_events: LargeEvents
) -> None:
    pieces = await large_events.open(Reader(root, UTC), ONE, name())
    file.write_bytes(b"{}")
    with pytest.raises(EventNotFound):
        await anext(pieces)


async def test_one_whole_event_is_in_memory_at_a_time(root: Path, file: Path, large_events: LargeEvents) -> None:
    inside = most = 0

    async def hold() -> None:
        nonlocal inside, most
        async with large_events.whole(Reader(root, UTC), ONE, name()) as event:
            inside += 1
            most = max(most, inside)
            assert event.raw == file.read_bytes()
            await asyncio.sleep(0.01)
            inside -= 1

    await asyncio.gather(*(hold() for _ in range(8)))
    assert most == 1


async def test_one_work_on_large_events_runs_at_a_time(
    root: Path, file: Path, large_events: LargeEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.read.large_events._SMALL_BYTES", SIZE - 1)
    inside = most = 0

    def work(events: Iterator[RawEvent]) -> int:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        size = len(next(events).raw)
        time.sleep(0.01)
        inside -= 1
        return size

    sizes = await asyncio.gather(*(large_events.work_on(Reader(root, UTC), ONE, [name()], work) for _ in range(8)))
    assert (most, sizes) == (1, [file.stat().st_size] * 8)


async def test_work_on_small_events_waits_for_no_permit(root: Path, file: Path, large_events: LargeEvents) -> None:
    permit = LargeFilePermit()
    permit.take()
    try:
        got = await large_events.work_on(Reader(root, UTC), ONE, [name()], lambda events: next(events).raw)
    finally:
        permit.end()
    assert got == file.read_bytes()


def test_threads_have_the_permit_in_the_order_in_which_they_asked() -> None:
    order: list[str] = []

    def take(who: str, permit: LargeFilePermit) -> None:
        permit.take()
        order.append(who)
        permit.end()

    mine, one, other = LargeFilePermit(), LargeFilePermit(), LargeFilePermit()
    mine.take()
    threads = []
    for who, permit in (("one", one), ("other", other)):
        before = len(large_events_module._turns._asked)
        threads.append(threading.Thread(target=take, args=(who, permit)))
        threads[-1].start()
        while len(large_events_module._turns._asked) == before:
            time.sleep(0.001)
    mine.end()
    take("me again", mine)
    for thread in threads:
        thread.join()
    assert order == ["one", "other", "me again"]


@pytest.mark.usefixtures("file")
async def test_work_whose_caller_was_cancelled_does_not_begin(
    root: Path, large_events: LargeEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.read.large_events._SMALL_BYTES", SIZE - 1)
    begun: list[str] = []

    async def work_as(who: str) -> None:
        work = lambda events: begun.append(who + next(events).raw[:1].decode())  # noqa: E731
        await large_events.work_on(Reader(root, UTC), ONE, [name()], work)

    permit = LargeFilePermit()
    permit.take()
    left = [asyncio.create_task(work_as("left")) for _ in range(3)]
    for one in left:
        one.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    permit.end()
    await work_as("stays ")
    assert begun == ["stays {"]


@pytest.mark.usefixtures("file")
async def test_work_whose_caller_was_cancelled_ends_before_its_next_event(
    root: Path, large_events: LargeEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.read.large_events._SMALL_BYTES", SIZE - 1)
    first, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    seen: list[int] = []

    def work(events: Iterator[RawEvent]) -> None:
        try:
            for event in events:
                seen.append(event.name.seq)
                first.set()
                go_on.wait()
        finally:
            ended.set()

    names = [EventName(0, make_event(0)["id"]), name()]
    task = asyncio.create_task(large_events.work_on(Reader(root, UTC), ONE, names, work))
    await asyncio.to_thread(first.wait)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    go_on.set()
    await asyncio.to_thread(ended.wait)
    assert seen == [0]


async def test_pages_followers_and_the_text_filter_have_large_events_too(
    root: Path, file: Path, open_store: StoreOpener
) -> None:
    said = make_event(2) | {"kind": "MessageEvent", "source": "user", "extra": "x" * SIZE}
    said["llm_message"] = {"role": "user", "content": [{"type": "text", "text": "Needle"}]}
    last = write_event(root / ONE, 2, said)
    async with open_store(root) as store:
        page = await store.list_events(ONE)
        assert page.items[1:] == [file.read_bytes(), last.read_bytes()]
        got = []
        async for batch in store.follow(ONE):
            got += [event.raw for event in batch]
            if len(got) == 3:
                break
        assert got == page.items
        found = await store.list_events(ONE, EventFilter(body="needle"))
        assert found.items == [last.read_bytes()]
