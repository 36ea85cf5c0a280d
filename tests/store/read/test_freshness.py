"""Opening one conversation: in step with its files, single-flight, and nothing kept."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from app.errors import ConversationNotFound, IndexBusy, StoreUnavailable
from app.files import fingerprint
from app.files.layout import list_directories
from app.model.ids import ConversationId, parse_conversation_id
from app.store import presence
from app.store.read import freshness
from app.store.store import ConversationStore
from tests.builders import (
    held_by_another_process,
    index_tables,
    make_conversation,
    make_event,
    make_id,
    opened_files,
    write_event,
)
from tests.conftest import StoreOpener
from tests.store.helpers import ONE, retitle, title

TWO = ConversationId(make_id(2))


@contextmanager
def statements(store: ConversationStore) -> Iterator[list[str]]:
    """Collect the statements that run in the event loop's thread."""
    ran: list[str] = []
    connection = store.index._here.connection  # type: ignore[attr-defined]
    connection.set_trace_callback(ran.append)
    yield ran
    connection.set_trace_callback(None)


def writer_lock(root: Path) -> Path:
    return root / ".convstore" / "index.db.lock"


async def test_an_unchanged_conversation_is_opened_without_opening_a_file(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root)
    async with open_store(root) as store:
        with opened_files() as opened:
            assert await title(store) == "A title"
    assert opened == []


async def test_of_a_conversation_that_is_written_here_no_file_is_opened(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    async with open_store(root) as store, store.writer(ONE) as conversation:
        await conversation.append(make_event(7))
        with opened_files() as opened:
            assert orjson.loads(await store.get_conversation(ONE))["event_count"] == 3
        assert opened == [str(path)]
        write_event(path, 3)
        assert orjson.loads(await store.get_conversation(ONE))["event_count"] == 4
        retitle(path, "By another program")
        assert await title(store) == "By another program"


async def test_a_conversation_that_appeared_is_listed_once_it_was_opened(root: Path, open_store: StoreOpener) -> None:
    async with open_store(root) as store:
        make_conversation(root)
        body = await store.get_conversation(ONE)
        assert (await store.list_conversations()).items == [body]


async def test_a_changed_title_is_served_without_a_sync(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root)
    async with open_store(root) as store:
        retitle(directory, "Changed")
        assert await title(store) == "Changed"


async def test_opening_erases_nothing_while_the_disk_is_away(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root)
    async with open_store(root) as store:
        before = index_tables(root / ".convstore" / "index.db")
        away = directory.rename(root / "away")
        with pytest.raises(StoreUnavailable, match="is mounted"):
            await store.get_conversation(ONE)
        with pytest.raises(ConversationNotFound):
            await store.get_conversation(TWO)
        assert index_tables(root / ".convstore" / "index.db") == before
        away.rename(directory)
        assert await title(store) == "A title"


async def test_what_opening_writes_is_what_a_sync_writes(
    corpus: Path, empty_index: Path, open_store: StoreOpener
) -> None:
    names = [parse_conversation_id(name) for name in list_directories(corpus)[0]]
    async with open_store(corpus, synced=False) as store:
        for name in names:
            await store.get_conversation(name)
    opened = index_tables(corpus / ".convstore" / "index.db")
    shutil.copyfile(empty_index, corpus / "synced.db")
    async with open_store(corpus, index_url=f"sqlite:///{corpus / 'synced.db'}"):
        pass
    synced = index_tables(corpus / "synced.db")
    assert opened | {"sync_state": []} == synced | {"sync_state": []}


async def test_fifty_simultaneous_openings_read_a_changed_conversation_once(
    root: Path, open_store: StoreOpener
) -> None:
    directory = make_conversation(root)
    async with open_store(root) as store:
        retitle(directory, "Changed")
        with opened_files() as opened:
            titles = await asyncio.gather(*(title(store) for _ in range(50)))
    assert titles == ["Changed"] * 50
    assert opened.count("base_state.json") == 1


async def test_nothing_is_kept_of_an_opening(root: Path, open_store: StoreOpener) -> None:
    for number in range(1, 4):
        make_conversation(root, number)
    async with open_store(root, synced=False) as store:
        await asyncio.gather(*(title(store, ConversationId(make_id(number))) for number in range(1, 4)))
        with pytest.raises(ConversationNotFound):
            await title(store, ConversationId(make_id(9)))
        assert store._freshness._running == store._freshness._next == {}


async def test_an_opening_goes_on_for_the_others_when_one_who_waits_gives_up(
    root: Path, open_store: StoreOpener
) -> None:
    directory = make_conversation(root)
    async with open_store(root) as store:
        retitle(directory, "Changed")
        impatient = asyncio.create_task(title(store))
        patient = asyncio.create_task(title(store))
        await asyncio.sleep(0)
        impatient.cancel()
        assert await patient == "Changed"
        assert impatient.cancelled()


async def test_a_failing_opening_fails_all_who_wait_and_the_next_begins_afresh(
    root: Path, open_store: StoreOpener
) -> None:
    async with open_store(root, busy_timeout_s=0.1) as store:
        make_conversation(root)
        with held_by_another_process(writer_lock(root)):
            failures = await asyncio.gather(*(title(store) for _ in range(10)), return_exceptions=True)
        assert [type(failure) for failure in failures] == [IndexBusy] * 10
        assert store._freshness._running == store._freshness._next == {}
        assert await title(store) == "A title"


async def test_a_known_conversation_is_served_as_indexed_while_another_process_writes(
    root: Path, open_store: StoreOpener
) -> None:
    directory = make_conversation(root)
    async with open_store(root, busy_timeout_s=0.1) as store:
        retitle(directory, "Changed")
        with held_by_another_process(writer_lock(root)):
            assert await title(store) == "A title"
        assert await title(store) == "Changed"


async def test_a_known_conversation_is_served_as_indexed_while_the_index_cannot_be_written(
    root: Path, open_store: StoreOpener
) -> None:
    directory = make_conversation(root)
    async with open_store(root) as store:
        retitle(directory, "Changed")
        writer_lock(root).unlink()
        writer_lock(root).mkdir()
        assert await title(store) == "A title"
        writer_lock(root).rmdir()
        assert await title(store) == "Changed"


async def test_opening_one_conversation_does_not_wait_for_another(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, 1)
    async with open_store(root, busy_timeout_s=30) as store:
        make_conversation(root, 2)
        with held_by_another_process(writer_lock(root)):
            waiting = asyncio.create_task(title(store, TWO))
            await asyncio.sleep(0.05)
            assert await asyncio.wait_for(title(store, ONE), 5) == "A title"
            assert not waiting.done()
        assert await waiting == "A title"


async def test_an_unchanged_conversation_is_found_with_one_statement_and_no_thread(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_conversation(root)
    async with open_store(root) as store:

        def refuse(*_: object) -> None:
            raise AssertionError("a thread was used")

        with monkeypatch.context() as patched, statements(store) as ran:
            patched.setattr(asyncio, "to_thread", refuse)
            assert await title(store) == "A title"
        assert len(ran) == 1


async def test_after_a_slow_look_at_the_disk_other_threads_look(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_conversation(root)
    looked: list[int] = []
    look = fingerprint.signature

    def noted(root: Path, directory: str) -> bytes:
        looked.append(threading.get_ident())
        return look(root, directory)

    async with open_store(root) as store:
        assert await title(store) == "A title"
        monkeypatch.setattr(fingerprint, "signature", noted)
        monkeypatch.setattr(freshness, "_SLOW_S", -1.0)
        assert [await title(store) for _ in range(2)] == ["A title"] * 2
    assert [one == threading.get_ident() for one in looked] == [True, False]


async def test_on_a_network_disk_threads_look(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_conversation(root)
    monkeypatch.setattr(presence, "is_network_device", lambda _: True)
    async with open_store(root) as store:
        assert [await title(store) for _ in range(2)] == ["A title"] * 2
        assert not store._freshness._may_glance()
