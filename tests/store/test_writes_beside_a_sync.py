"""Writing while a sync runs: it hides nothing that was acknowledged, whatever of the files it had read before."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from types import ModuleType

import orjson
import pytest

from app import ConversationStore
from app.errors import ConversationNotFound, StoreUnavailable
from app.files import layout
from app.files.layout import ConversationDir
from app.files.row_reader import read_rows
from app.index import change_feed, conversation_lookup, conversation_rows, state, tally
from app.index.connections import ReadConnection, WriteConnection
from app.index.dialect import Sql
from app.index.messages import clear_messages
from app.model.ids import ConversationId
from app.store.follow import full_sync, ingest
from app.store.follow.watcher import Watcher
from tests.builders import make_conversation, make_event, make_id, make_meta, opened_files
from tests.conftest import StoreOpener
from tests.store.helpers import then_once

ID = ConversationId(make_id(1))
NEW = {"agent": {"llm": {"model": "a/model"}}, "workspace": {"working_dir": "/home/dev/project"}}
_FORGET = Sql("DELETE FROM conversation", {})


async def title(store: ConversationStore) -> object:
    [item] = (await store.list_conversations()).items
    return orjson.loads(item)["title"]


async def test_an_event_that_is_appended_before_the_log_is_read_hides_none_of_those_before(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_behind = conversation_lookup.list_behind
    make_conversation(root, events=10)
    async with open_store(root) as store, store.writer(ID) as conversation:
        await conversation.append(make_event(10))

        def write(connection: WriteConnection) -> None:
            clear_messages(connection)
            connection.execute_many(_FORGET, [{}])
            tally.recount(connection)

        await store.index.write(write)

        async def append_first(index: ReadConnection, after: int) -> list[tuple[int, str]]:
            if after == 0:
                assert (await conversation.append(make_event(11))).warning is None
            return await list_behind(index, after)

        monkeypatch.setattr(conversation_lookup, "list_behind", append_first)
        await store.sync()
        assert await store.count_events(ID) == 12
        assert await store.verify() == []


async def test_a_title_that_is_set_while_a_sync_reads_stays(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_conversation(root)
    loop = asyncio.get_running_loop()
    async with open_store(root) as store:
        async with store.writer(ID) as conversation:
            (path / "base_state.json").touch()

            def set_title() -> None:
                asyncio.run_coroutine_threadsafe(conversation.set_title("Set meanwhile"), loop).result()

            monkeypatch.setattr(full_sync, "read_rows", then_once(set_title))
            report = await store.sync()
            assert (report.opened, report.changed) == (1, 1)
            assert await title(store) == "Set meanwhile"
        assert await store.verify() == []


async def test_a_row_that_was_only_touched_while_its_files_were_read_is_read_once_more(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_conversation(root)
    async with open_store(root) as store:
        (path / "meta.json").write_bytes(orjson.dumps(make_meta(ID, title="By another program")))

        def touch(connection: WriteConnection) -> None:
            change_feed.touch_conversations(connection, [ID], state.bump_revision(connection))

        monkeypatch.setattr(ingest, "read_rows", then_once(partial(store.index.write_in_thread, touch)))
        async with store.writer(ID):
            assert await title(store) == "By another program"


async def test_a_row_that_says_something_else_than_the_files_is_not_settled(
    root: Path, open_store: StoreOpener
) -> None:
    make_conversation(root)
    async with open_store(root) as store:
        [before], _ = read_rows(store.reader, [ConversationDir(ID, ID)])
        async with store.writer(ID) as conversation:
            await conversation.set_title("Set")
            await conversation.append(make_event(7))
        await store.index.write(lambda connection: conversation_rows.upsert_many(connection, [before], events_too=True))
        with opened_files() as opened:
            await store._writers.close_conversation(ID)
        assert [one for one in opened if "state" in one or "meta" in one or "event" in one] == [
            "base_state.json"  # to make HEAD durable
        ]
        assert await title(store) == "Set"
        assert (await store.sync()).opened == 0
        assert await store.verify() == []


@pytest.mark.parametrize("swept", [False, True])
async def test_a_conversation_that_is_created_after_the_listing_stays(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch, *, swept: bool
) -> None:
    list_directories = layout.list_directories
    loop = asyncio.get_running_loop()
    make_conversation(root)
    async with open_store(root) as store:

        def create_after(root: Path) -> tuple[list[str], list[str]]:
            found = list_directories(root)
            asyncio.run_coroutine_threadsafe(store.create(NEW), loop).result()
            return found

        monkeypatch.setattr(layout, "list_directories", create_after)
        await (Watcher(store.context).tick() if swept else store.sync())
        assert len((await store.list_conversations()).items) == 2


@pytest.mark.parametrize("by", [full_sync, ingest])
async def test_a_conversation_that_is_deleted_while_it_is_read_leaves_no_row(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch, by: ModuleType
) -> None:
    path = make_conversation(root)
    make_conversation(root, 2)
    loop = asyncio.get_running_loop()
    async with open_store(root) as store:
        (path / "meta.json").write_bytes(orjson.dumps(make_meta(ID, title="Changed")))

        def delete() -> None:
            asyncio.run_coroutine_threadsafe(store.delete(ID), loop).result()

        monkeypatch.setattr(by, "read_rows", then_once(delete))
        if by is full_sync:
            report = await store.sync()
            assert (report.conversations, report.changed, report.removed) == (1, 1, 0)
        else:
            with pytest.raises(ConversationNotFound):
                await store.get_conversation(ID)
        assert len((await store.list_conversations()).items) == 1


@pytest.mark.parametrize("allow_empty", [False, True])
async def test_a_disk_that_goes_away_while_a_sync_reads_takes_no_row_with_it(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch, allow_empty: bool
) -> None:
    directories = [make_conversation(root, number) for number in (1, 2)]

    def unmount() -> None:
        for directory in directories:
            directory.rename(root.parent / directory.name)

    async with open_store(root) as store:
        await store.sync()
        for directory in directories:
            (directory / "meta.json").write_bytes(orjson.dumps(make_meta(directory.name, title="Changed")))
        monkeypatch.setattr(full_sync, "read_rows", then_once(unmount))
        if allow_empty:
            assert (await store.sync(allow_empty=True)).removed == 2
        else:
            with pytest.raises(StoreUnavailable, match="check that its disk is mounted"):
                await store.sync()
        assert await store.count_conversations() == (0 if allow_empty else 2)
