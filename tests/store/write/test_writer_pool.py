"""Closing a conversation while it is opened again."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from app import ConversationStore
from app.files import lease
from app.model.ids import ConversationId
from tests.builders import index_path, make_conversation, make_event, make_id
from tests.conftest import StoreOpener

ONE = ConversationId(make_id(1))
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
    with closing(sqlite3.connect(index_path(root))) as db:
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
