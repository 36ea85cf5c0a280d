"""An index that is put in the place of a lost one while others are at work with it: nobody takes it for whole."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from app import ConversationStore
from app.errors import IndexRebuilding, IndexUnusable
from app.index import state
from app.store.follow.index_repair import keep_usable, replace_unusable
from tests.builders import make_conversation
from tests.conftest import StoreOpener

NUMBER = 5


@pytest.fixture
def root_of_few(root: Path) -> Path:
    for number in range(1, NUMBER + 1):
        make_conversation(root, number)
    return root


def lose_the_index(store: ConversationStore) -> asyncio.Task[None]:
    """Delete the index, and return what puts an empty one in its place."""
    store.settings.index_path.unlink()
    return asyncio.create_task(replace_unusable(store.context))


async def test_a_sync_that_began_before_does_not_declare_the_new_index_whole(
    root_of_few: Path, open_store: StoreOpener
) -> None:
    async with open_store(root_of_few) as store:
        make_conversation(root_of_few, NUMBER + 1)
        mending: list[asyncio.Task[None]] = []

        def lose_once(*_: object) -> None:
            if not mending:
                mending.append(lose_the_index(store))

        with suppress(IndexUnusable):
            await store.sync(on_progress=lose_once)
        await mending[0]
        with pytest.raises(IndexRebuilding):
            await store.count_conversations()
        await store.sync()
        assert await store.count_conversations() == NUMBER + 1
        assert await store.verify() == []


async def test_a_count_that_waits_for_a_connection_does_not_count_the_empty_index(
    root_of_few: Path, open_store: StoreOpener
) -> None:
    async with open_store(root_of_few) as store:

        async def count() -> int | None:
            try:
                return await store.count_conversations()
            except IndexRebuilding:
                return None

        mending = lose_the_index(store)
        counted = set()
        while not mending.done():
            counted.update(await asyncio.gather(*(count() for _ in range(10))))
        await mending
        assert counted == {NUMBER, None}


async def test_what_was_made_of_the_lost_index_is_not_written_to_the_new_one(
    root_of_few: Path, open_store: StoreOpener
) -> None:
    async with open_store(root_of_few) as store:
        before = store.index.opened
        await lose_the_index(store)
        with pytest.raises(IndexUnusable, match="was deleted or replaced"):
            await store.index.write(lambda _: None, read_from=before)
        await store.index.write(lambda _: None, read_from=store.index.opened)


async def test_the_first_write_goes_to_the_index_that_was_opened_or_to_none(
    root_of_few: Path, open_store: StoreOpener
) -> None:
    async with open_store(root_of_few):
        pass
    async with open_store(root_of_few, synced=False) as store:
        another = store.settings.index_path.with_name("another.db")
        shutil.copy(store.settings.index_path, another)
        held = another.read_bytes()
        another.replace(store.settings.index_path)
        with pytest.raises(IndexUnusable, match="was deleted or replaced"):
            await store.index.write(lambda connection: state.set_state(connection, phase="sync"))
        assert store.settings.index_path.read_bytes() == held
        store.settings.index_path.unlink()
        with pytest.raises(IndexUnusable, match="was deleted or replaced"):
            await store.index.write(lambda _: None)
        assert not store.settings.index_path.exists()


@pytest.mark.long
async def test_an_index_that_is_lost_again_before_it_is_whole_is_put_right_again(
    root_of_few: Path, open_store: StoreOpener
) -> None:
    async with open_store(root_of_few) as store:
        await lose_the_index(store)
        assert store.index.rebuilding
        store.settings.index_path.unlink()
        keeping = asyncio.create_task(keep_usable(store.context))
        async with asyncio.timeout(60):
            while not store.settings.index_path.exists() or store.index.is_unusable():
                await asyncio.sleep(0.05)
        keeping.cancel()
        await store.sync()
        assert await store.count_conversations() == NUMBER
