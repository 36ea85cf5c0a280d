"""Conversations open for writing: opened once, kept under a budget, and closed before they are opened again."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app import ConversationStore
from app.errors import (
    ConversationNotFound,
    UnreadableFile,
)
from app.files import layout, lease
from app.files.layout import LOG_LOCK
from app.files.open_conversation import OpenConversation
from app.index import conversation_lookup
from app.locks import hold_lock
from app.model.event import KnownEnds
from app.model.ids import ConversationId
from tests.builders import index_database, index_path, make_conversation, make_event, make_id
from tests.conftest import StoreOpener
from tests.store.helpers import ONE, is_rebuilt_equal

TWO = ConversationId(make_id(2))


class SlowRelease:
    """The lease of the first conversation is given back only when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()
        real = lease.release

        def release(root: Path, directory: str, held: lease.Lease) -> bool:
            if directory == ONE:
                self.begun.set()
                self.go_on.wait(60)
            return real(root, directory, held)

        monkeypatch.setattr(lease, "release", release)


@asynccontextmanager
async def being_closed(store: ConversationStore, release: SlowRelease) -> AsyncIterator[asyncio.Task[None]]:
    """The first conversation is being closed, for another's sake; gives the task that waits for that."""

    async def write_another() -> None:
        async with store.writer(TWO) as conversation:
            await conversation.append(make_event(2))

    async with store.writer(ONE) as conversation:
        await conversation.append(make_event(1))
    closes = asyncio.create_task(write_another())
    assert await asyncio.to_thread(release.begun.wait, 60)
    try:
        yield closes
    finally:
        release.go_on.set()
        await asyncio.wait([closes])


def make_two(root: Path) -> None:
    for number in (1, 2):
        make_conversation(root, number, events=0)


def held_by(root: Path) -> tuple[bool, str | None]:
    """Return whether the lease of the first conversation is held, and who has it open as the index knows it."""
    with index_database(index_path(root)) as db:
        (marked,) = db.execute("SELECT dirty_by FROM conversation WHERE uuid = ?", (ONE,)).fetchone()
    return json.loads((root / ONE / "owner_lease.json").read_text())["expires_at"] > 0, marked


@pytest.mark.parametrize("cancelled", [False, True])
async def test_opening_again_waits_for_the_lease_to_be_given_back(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch, *, cancelled: bool
) -> None:
    make_two(root)
    release = SlowRelease(monkeypatch)
    async with open_store(root, open_conversations=1) as store:
        opened: list[object] = []
        leave = asyncio.Event()

        async def open_again() -> None:
            async with store.writer(ONE) as conversation:
                opened.append(conversation)
                await leave.wait()

        async with being_closed(store, release) as closes:
            users = [asyncio.create_task(open_again()) for _ in range(3)]
            await asyncio.sleep(0.3)
            if cancelled:
                closes.cancel()
                await asyncio.sleep(0.1)
        while len(opened) < len(users):
            await asyncio.sleep(0.01)
        assert len(set(map(id, opened))) == 1
        assert held_by(root) == (True, store._writers.instance)
        assert store._writers._closing == {}
        leave.set()
        await asyncio.gather(*users)
    assert held_by(root) == (False, None)


async def test_deleting_waits_for_the_lease_to_be_given_back(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_two(root)
    release = SlowRelease(monkeypatch)
    async with open_store(root, open_conversations=1) as store:
        async with being_closed(store, release):
            deletes = asyncio.create_task(store.delete(ONE))
            await asyncio.sleep(0.3)
            assert (root / ONE).exists()
        await deletes
        assert not (root / ONE).exists()


async def test_a_store_closes_only_when_all_leases_are_given_back(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_two(root)
    release = SlowRelease(monkeypatch)
    async with open_store(root, open_conversations=1) as store, being_closed(store, release) as closes:
        closes.cancel()
        await asyncio.sleep(0.1)
        threading.Timer(0.3, release.go_on.set).start()
        await store.close()
        assert held_by(root) == (False, None)


async def test_a_store_closes_what_is_open_all_at_once(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [ConversationId(make_id(number)) for number in (1, 2, 3)]
    for number in (1, 2, 3):
        make_conversation(root, number)
    real, together = lease.release, threading.Barrier(3)

    def release(root: Path, directory: str, held: lease.Lease) -> bool:
        together.wait(10)
        return real(root, directory, held)

    async with open_store(root) as store:
        for one in ids:
            async with store.writer(one) as conversation:
                await conversation.append(make_event(5))
        monkeypatch.setattr(lease, "release", release)
    assert not together.broken
    assert [lease.find_holder(root, one) for one in ids] == [None] * 3


def expires_at(root: Path, conversation_id: ConversationId) -> float:
    held = lease.find_lease(root, conversation_id)
    return held.expires_at if held else 0.0


@pytest.mark.long
async def test_leases_are_renewed_while_a_write_waits_for_another_program(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_EVERY_S", 0.1)
    for number in (1, 2):
        make_conversation(root, number)
    async with open_store(root) as store:
        for one in (ONE, TWO):
            async with store.writer(one) as conversation:
                await conversation.append(make_event(5))
        async with store.writer(ONE) as conversation:
            with layout.open_directory(os.fspath(root / ONE / "events")) as fd, hold_lock(LOG_LOCK, 30, dir_fd=fd):
                waits = asyncio.create_task(conversation.append(make_event(6)))
                await asyncio.sleep(1.5)
                before, deadline = expires_at(root, TWO), time.monotonic() + 8
                while expires_at(root, TWO) == before and time.monotonic() < deadline:
                    await asyncio.sleep(0.05)
                assert expires_at(root, TWO) > before
                assert not waits.done()
            assert (await waits).seq == 3
    assert [lease.find_holder(root, one) for one in (ONE, TWO)] == [None, None]


MANY = int(os.environ.get("CONVSTORE_TEST_OPENINGS", "40"))


def one(number: int) -> ConversationId:
    return ConversationId(make_id(number))


async def append(store: ConversationStore, number: int, event: int) -> int:
    async with store.writer(one(number)) as conversation:
        return (await conversation.append(make_event(event))).seq


async def test_of_many_first_accesses_none_waits_for_a_slow_one(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, MANY + 1):
        make_conversation(root, number, events=0)
    go_on = threading.Event()
    real = OpenConversation.load

    def load(self: OpenConversation, *, after_crash: bool, known: KnownEnds | None = None) -> str | None:
        if self.id == one(1):
            go_on.wait(60)
        return real(self, after_crash=after_crash, known=known)

    monkeypatch.setattr(OpenConversation, "load", load)
    async with open_store(root, open_conversations=MANY) as store:
        slow = asyncio.create_task(append(store, 1, 1))
        assert set(await asyncio.gather(*(append(store, number, 1) for number in range(2, MANY + 1)))) == {0}
        assert not slow.done()
        go_on.set()
        assert await slow == 0


async def test_the_byte_budget_closes_the_least_recently_used(root: Path, open_store: StoreOpener) -> None:
    for number in (1, 2, 3):
        make_conversation(root, number, events=0, state={"agent_state": {"a": "x" * 100_000}})
    async with open_store(root, open_bytes=1_000_000) as store:
        for number in (1, 2, 1, 3):
            await append(store, number, 10 * number + len(store._writers._open))
        assert {key.id for key in store._writers._open} == {one(1), one(3)}


async def test_an_unknown_conversation_cannot_be_opened_and_nothing_is_made(
    root: Path, open_store: StoreOpener
) -> None:
    async with open_store(root) as store:
        with pytest.raises(ConversationNotFound):
            async with store.writer(ONE):
                pass
    assert not (root / ONE).exists()


async def test_a_conversation_that_could_not_be_opened_is_not_left_marked_dirty(
    root: Path, open_store: StoreOpener
) -> None:
    (make_conversation(root) / "base_state.json").write_bytes(b"")
    async with open_store(root) as store:
        with pytest.raises(UnreadableFile):
            async with store.writer(ONE):
                pass
        async with store.index.read() as connection:
            assert await conversation_lookup.list_dirty(connection) == []


async def test_many_first_accesses_open_once(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_conversation(root)
    loads: list[str] = []
    real = OpenConversation.load

    def load(self: OpenConversation, *, after_crash: bool, known: KnownEnds | None = None) -> str | None:
        loads.append(self.id)
        return real(self, after_crash=after_crash, known=known)

    monkeypatch.setattr(OpenConversation, "load", load)

    async def append(store: ConversationStore, number: int) -> int:
        async with store.writer(ONE) as conversation:
            return (await conversation.append(make_event(number))).seq

    async with open_store(root) as store:
        seqs = await asyncio.gather(*(append(store, number) for number in range(10, 110)))
        assert sorted(seqs) == list(range(2, 102))
        assert await is_rebuilt_equal(store)
    assert loads == [ONE]


async def test_a_write_measures_no_other_open_conversation(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, MANY + 1):
        make_conversation(root, number, events=0)
    async with open_store(root, open_conversations=MANY) as store:
        for number in range(1, MANY + 1):
            await append(store, number, 1)
        measured = []

        def measure(files: OpenConversation) -> int:
            measured.append(files.id)
            return 0

        monkeypatch.setattr(OpenConversation, "size_bytes", property(measure))
        await append(store, 1, 2)
        assert measured == [one(1)]
