"""Subscriptions: every event and every change comes once, also between what was there and what comes."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import uuid
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from app import ConversationStore
from app.errors import TooManyFollowers, WriteFailed
from app.files import durable
from app.model.ids import ConversationId, EventName
from app.store.follow.index_settings import _invalidate
from app.store.read import followers
from app.store.read.event_reader import EventReader
from app.store.read.followers import Followers, follow_events
from tests.builders import make_conversation, make_event, make_id, write_event
from tests.conftest import StoreOpener
from tests.store.helpers import is_rebuilt_equal

ONE = ConversationId(make_id(1))


async def test_a_follower_gets_what_is_there_and_what_is_appended_here_and_elsewhere(
    root: Path, open_store: StoreOpener
) -> None:
    path = make_conversation(root, events=2)
    given: list[int] = []
    async with open_store(root) as store, asyncio.timeout(60), aclosing(store.follow(ONE)) as batches:
        async for batch in batches:
            given += [event.name.seq for event in batch]
            if len(given) == 2:
                async with store.writer(ONE) as conversation:
                    await conversation.append(make_event(2))
            if len(given) == 3:
                write_event(path, 3)
            if len(given) == 4:
                break
    assert given == [0, 1, 2, 3]


async def test_a_follower_that_is_cancelled_as_a_change_comes_ends(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root)
    async with open_store(root) as store:
        place = await store.get_place()
        waiting = asyncio.create_task(store.wait_for_changes(place, wait_s=3))
        await asyncio.sleep(0.5)
        store.followers.notify(followers.EVERYTHING)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_a_writer_in_the_process_wakes_who_waits_for_changes(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root)
    async with open_store(root) as store:
        place = await store.get_place()
        waiting = asyncio.create_task(store.wait_for_changes(place, wait_s=20))
        async with store.writer(ONE) as conversation:
            await conversation.set_title("Changed")
        page = await asyncio.wait_for(waiting, 10)
    assert len(page.items) == 1


async def test_more_followers_than_the_settings_allow_are_refused() -> None:
    followers = Followers(1)
    for _ in range(2):
        with (
            followers.subscribe(ONE),
            pytest.raises(TooManyFollowers, match="CONVSTORE_FOLLOWERS"),
            followers.subscribe(ONE),
        ):
            pass


def make_ids(first: int, number: int) -> list[str]:
    return [str(uuid.UUID(int=first + i, version=4)) for i in range(number)]


async def _follow(store: ConversationStore, after: EventName | None, given: list[EventName]) -> None:
    async with aclosing(store.follow(ONE, after=after)) as batches:
        async for batch in batches:
            given += [event.name for event in batch]


async def _wait_for(given: list[EventName], number: int) -> None:
    async with asyncio.timeout(60):
        while len(given) < number:
            await asyncio.sleep(0.01)


@pytest.mark.long
@pytest.mark.parametrize("lost", [1, 3, 120])
@pytest.mark.parametrize("from_the_first", [True, False])
async def test_a_follower_elsewhere_gets_what_took_the_place_of_events_taken_back(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch, lost: int, from_the_first: bool
) -> None:
    make_conversation(root, events=2)
    seen = threading.Event()
    sync_directory = durable.sync_directory

    def refuse(fd: int) -> None:
        if Path(f"/proc/self/fd/{fd}").readlink().name == "events" and not seen.is_set():
            assert seen.wait(60)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync_directory(fd)

    given: list[EventName] = []
    async with open_store(root) as writing, open_store(root) as elsewhere, writing.writer(ONE) as conversation:
        monkeypatch.setattr(durable, "sync_directory", refuse)
        log = await elsewhere.open_log(ONE)
        after = None if from_the_first else await log.find_last()
        before = 2 if from_the_first else 0
        following = asyncio.create_task(_follow(elsewhere, after, given))
        taken_back = [make_event(100 + i, id=one) for i, one in enumerate(make_ids(2**100, lost))]
        failing = asyncio.create_task(conversation.append_batch(taken_back))
        await _wait_for(given, before + lost)
        token = await elsewhere.get_place()
        seen.set()
        with pytest.raises(WriteFailed):
            await failing
        acknowledged = await conversation.append_batch(
            [make_event(300 + i, id=one) for i, one in enumerate(make_ids(1, 2))]
        )
        await _wait_for(given, before + lost + 2)
        assert given[before + lost :] == [EventName(one.seq, one.event_id) for one in acknowledged]
        assert await elsewhere.count_events(ONE) == 4
        assert len((await elsewhere.list_changes(token)).items) == 1
        hits = await elsewhere.search_messages("message")
        assert [hit.event_id for hit in hits.items if hit.event_id in {one["id"] for one in taken_back}] == []
        await conversation.append(make_event(400))
        await _wait_for(given, before + lost + 3)
        assert len(given) == before + lost + 3
        following.cancel()
        await asyncio.wait([following])
        assert await is_rebuilt_equal(elsewhere)


@pytest.mark.parametrize("place", ["from the first", "from the last", "idle"])
async def test_no_number_of_removed_events_makes_a_follower_miss_the_next_ones(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    path = make_conversation(root, events=2)
    removed = [write_event(path, 2 + number, make_event(100 + number)) for number in range(1100)]
    if place == "idle":
        monkeypatch.setattr(followers, "_IDLE_AFTER", 1)
    monkeypatch.setattr(followers, "_EVERY_S", 0.01)
    given: list[int] = []
    async with open_store(root) as store:
        after = await (await store.open_log(ONE)).find_last() if place == "from the last" else None
        quiet = 0
        async with asyncio.timeout(60), aclosing(store.follow(ONE, after=after)) as batches:
            async for batch in batches:
                given += [event.name.seq for event in batch]
                quiet += not batch
                if quiet == 2 and removed:
                    given.clear()
                    for file in removed:
                        file.unlink()
                    removed.clear()
                    for number in (2, 3):
                        write_event(path, number, make_event(3000 + number))
                if not removed and len(given) >= 2:
                    break
    assert given == [2, 3]


async def test_an_idle_follower_forgets_all_events_that_the_length_marker_counts(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_conversation(root, events=1)
    kept: list[int] = []

    class Watched(followers._Sent):
        def add(self, names: Sequence[EventName]) -> None:
            super().add(names)
            kept.append(len(self._hashes))

    monkeypatch.setattr(followers, "_Sent", Watched)
    monkeypatch.setattr(followers, "_IDLE_AFTER", 1)
    async with open_store(root) as store:
        async with store.writer(ONE) as conversation:
            await conversation.append_batch([make_event(10 + i) for i in range(4)])
        async with asyncio.timeout(60), aclosing(store.follow(ONE)) as batches:
            async for batch in batches:
                if not batch and kept[-1] == 1:
                    break
    assert kept == [0, 5, 1]


async def test_events_come_once_while_a_sync_reads_all_of_them_anew(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, events=3)
    async with open_store(root) as store:
        opened = 0

        async def open_log() -> EventReader:
            nonlocal opened
            log = await store.open_log(ONE)
            opened += 1
            if opened in (2, 4):  # the rows go between the check of the files and the look at the rows
                await store.index.write(partial(_invalidate, derived_by="another"))
            return log

        given: list[int] = []
        async with asyncio.timeout(60), aclosing(follow_events(open_log, asyncio.Event(), EventName(1, ""))) as batches:
            async for batch in batches:
                given += [event.name.seq for event in batch]
                if opened > 5:
                    break
    assert given == [1, 2]


async def test_a_follower_steps_back_before_all_that_it_remembers(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root, events=0)
    files = [write_event(path, number, make_event(number, id=one)) for number, one in enumerate(make_ids(2**100, 3))]
    given: list[EventName] = []
    async with open_store(root) as store:
        following = asyncio.create_task(_follow(store, None, given))
        await _wait_for(given, 3)
        for file in files:
            file.unlink()
        for number, one in enumerate(make_ids(1, 2)):
            write_event(path, number, make_event(10 + number, id=one))
        await _wait_for(given, 5)
        following.cancel()
        await asyncio.wait([following])
    assert [name.seq for name in given] == [0, 1, 2, 0, 1]


async def test_a_follower_of_an_idle_conversation_goes_on_polling_within_a_second(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def pass_by(pause: float) -> asyncio.Timeout:
        pauses.append(pause)
        return asyncio.timeout(0)

    make_conversation(root)
    async with open_store(root) as store, aclosing(store.follow(ONE)) as batches:
        monkeypatch.setattr(followers, "asyncio", SimpleNamespace(timeout=pass_by, Event=asyncio.Event))
        polls = 0
        async for _ in batches:
            polls += 1
            if polls > 3 * followers._IDLE_AFTER:
                break
    assert len(pauses) > 2 * followers._IDLE_AFTER
    assert max(pauses) <= 0.5
