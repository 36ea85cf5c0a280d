"""Opening one conversation: in step with its files, single-flight, and nothing kept."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

from app import ConversationStore
from app.errors import ConversationNotFound, EventNotFound, IndexBusy, StoreUnavailable
from app.files.layout import list_directories
from app.model.ids import ConversationId, dashed, parse_conversation_id
from tests.builders import (
    held_by_another_process,
    index_tables,
    make_conversation,
    make_event,
    make_id,
    make_meta,
    opened_files,
    write_event,
)
from tests.conftest import StoreOpener

ONE = ConversationId(make_id(1))
TWO = ConversationId(make_id(2))


def retitle(directory: Path, title: str) -> None:
    (directory / "meta.json").write_text(json.dumps(make_meta(directory.name, title=title)))


async def title(store: ConversationStore, conversation_id: ConversationId = ONE) -> Any:
    return orjson.loads(await store.get_conversation(conversation_id))["title"]


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


@pytest.mark.parametrize("directory", [ONE, dashed(ONE)])
async def test_a_conversation_that_appeared_after_the_sync_is_found(
    root: Path, open_store: StoreOpener, directory: str
) -> None:
    async with open_store(root) as store:
        make_conversation(root, directory=directory, meta={"title": "New"})
        assert await title(store) == "New"
        assert await store.count_events(ONE) == 2


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


async def test_an_appended_event_is_served_without_a_sync(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, events=1)
    async with open_store(root) as store:
        event = write_event(directory, 1)
        assert await store.get_event(ONE, make_event(1)["id"]) == event.read_bytes()
        assert len((await store.list_events(ONE)).items) == 2


async def test_an_event_whose_file_is_gone_is_not_found(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, events=2)
    async with open_store(root) as store:
        sorted((directory / "events").iterdir())[1].unlink()
        with pytest.raises(EventNotFound):
            await store.get_event(ONE, make_event(1)["id"])


async def test_a_deleted_directory_is_not_found_and_its_rows_go_with_the_next_sync(
    root: Path, open_store: StoreOpener
) -> None:
    make_conversation(root, 2)
    async with open_store(root) as store:
        without = index_tables(root / ".convstore" / "index.db")
        directory = make_conversation(root, 1)
        await store.sync()
        shutil.rmtree(directory)
        with pytest.raises(ConversationNotFound, match=dashed(ONE)):
            await store.get_conversation(ONE)
        await store.sync()
    assert index_tables(root / ".convstore" / "index.db") == without


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


async def test_a_renamed_directory_is_followed(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, events=1)
    async with open_store(root) as store:
        body = await store.get_conversation(ONE)
        directory.rename(root / dashed(ONE))
        assert await store.get_conversation(ONE) == body
        assert len((await store.list_events(ONE)).items) == 1


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
        assert store._opening._running == store._opening._next == {}


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
        assert store._opening._running == store._opening._next == {}
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


async def test_a_page_token_is_good_after_the_directory_was_renamed(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, events=3)
    async with open_store(root) as store:
        page = await store.list_events(ONE, limit=2)
        directory.rename(root / dashed(ONE))
        assert len((await store.list_events(ONE, page_id=page.next_page_id, limit=2)).items) == 1


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
