"""A long log that the index knows is opened for writing without being listed, unless anything speaks against it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app import ConversationStore
from app.errors import EventExists, EventNotFound
from app.files import layout
from app.index import event_rows
from app.model.ids import EventName
from app.store.follow.index_settings import _invalidate
from tests.builders import make_conversation, make_event, write_event
from tests.conftest import StoreOpener
from tests.store.helpers import ONE, is_rebuilt_equal

LENGTH = event_rows.LONG_LOG + 1
MESSAGE = {name: value for name, value in make_event(0).items() if name not in ("id", "timestamp")}

pytestmark = pytest.mark.usefixtures("settled_clock")


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect the listings of event directories."""
    calls: list[int] = []
    list_event_names = layout.list_event_names

    def count_listings(events_fd: int) -> list[EventName]:
        calls.append(events_fd)
        return list_event_names(events_fd)

    monkeypatch.setattr(layout, "list_event_names", count_listings)
    return calls


async def make_long(root: Path, open_store: StoreOpener) -> Path:
    """Make a conversation that was written to before: it has a length marker, a lock file and a lease."""
    path = make_conversation(root, events=LENGTH - 1, state={"leaf_event_id": make_event(LENGTH - 2)["id"]})
    async with open_store(root) as store, store.writer(ONE) as conversation:
        await conversation.append(make_event(LENGTH - 1))
    async with open_store(root) as store:
        await store.sync()
    return path


async def append(store: ConversationStore, event: dict[str, object]) -> int:
    async with store.writer(ONE) as conversation:
        return (await conversation.append(event)).seq


async def test_a_long_log_that_the_index_knows_is_not_listed(
    root: Path, open_store: StoreOpener, listed: list[int]
) -> None:
    await make_long(root, open_store)
    async with open_store(root) as store:
        listed.clear()
        seqs = [await append(store, MESSAGE), await append(store, MESSAGE)]
        assert (seqs, listed) == ([LENGTH, LENGTH + 1], [])
        assert await is_rebuilt_equal(store)


def append_by_another(path: Path) -> None:
    write_event(path, LENGTH)


def remove_the_marker(path: Path) -> None:
    next((path / "events").glob("*.marker")).unlink()


@pytest.mark.parametrize(("touch", "next_seq"), [(append_by_another, LENGTH + 1), (remove_the_marker, LENGTH)])
async def test_a_log_that_was_touched_is_listed_and_no_number_is_given_twice(
    root: Path, open_store: StoreOpener, listed: list[int], touch: Callable[[Path], None], next_seq: int
) -> None:
    path = await make_long(root, open_store)
    async with open_store(root) as store:
        touch(path)
        listed.clear()
        assert await append(store, MESSAGE) == next_seq
        assert listed


async def test_a_log_that_changed_just_now_is_listed(
    root: Path, open_store: StoreOpener, listed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_long(root, open_store)
    monkeypatch.setattr("app.files.fingerprint.time_ns", time.time_ns)
    async with open_store(root) as store:
        listed.clear()
        assert await append(store, MESSAGE) == LENGTH
        assert listed


async def test_a_log_that_a_crash_left_open_is_listed(root: Path, open_store: StoreOpener, listed: list[int]) -> None:
    path = await make_long(root, open_store)
    spare = path / "events" / f".event-{LENGTH:05d}-{make_event(1)['id']}.json.0123456789abcdef.tmp"
    spare.touch()
    (path / layout.LEASE).unlink()
    async with open_store(root) as store:
        await store.sync()
        listed.clear()
        assert await append(store, MESSAGE) == LENGTH
        assert listed
        assert not spare.exists()


async def test_an_id_of_the_client_is_looked_for_in_the_index(
    root: Path, open_store: StoreOpener, listed: list[int]
) -> None:
    await make_long(root, open_store)
    taken, free = make_event(LENGTH // 2), make_event(LENGTH)
    async with open_store(root) as store:
        listed.clear()
        async with store.writer(ONE) as conversation:
            with pytest.raises(EventExists):
                await conversation.append(taken)
            assert (await conversation.append({**free, "parent_id": taken["id"]})).seq == LENGTH
            with pytest.raises(EventExists):
                await conversation.append(free)
            assert (await conversation.navigate(taken["id"])).warning is None
            with pytest.raises(EventNotFound):
                await conversation.navigate("nothing")
        assert listed == []
        assert await is_rebuilt_equal(store)


async def test_an_id_is_looked_for_in_the_log_if_rows_are_missing(
    root: Path, open_store: StoreOpener, listed: list[int]
) -> None:
    await make_long(root, open_store)
    async with open_store(root) as store, store.writer(ONE) as conversation:
        listed.clear()
        await store.index.write(partial(_invalidate, derived_by="another"))
        with pytest.raises(EventExists):
            await conversation.append(make_event(LENGTH // 2))
        assert listed


async def test_an_id_that_another_program_just_took_is_not_taken_again(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await make_long(root, open_store)
    event = make_event(LENGTH)
    find_seqs = event_rows.find_seqs

    async def find_and_take(*arguments: Any) -> Any:
        found = await find_seqs(*arguments)
        remove_the_marker(path)
        write_event(path, LENGTH, event)
        return found

    async with open_store(root) as store, store.writer(ONE) as conversation:
        monkeypatch.setattr(event_rows, "find_seqs", find_and_take)
        with pytest.raises(EventExists):
            await conversation.append(event)
