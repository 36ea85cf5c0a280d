"""Which directory holds a conversation, and which conversation a beginning of an id means."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app.errors import ConversationNotFound
from app.model.ids import dashed
from tests.builders import (
    index_tables,
    make_conversation,
)
from tests.conftest import StoreOpener
from tests.store.helpers import ONE, title


@pytest.mark.parametrize("directory", [ONE, dashed(ONE)])
async def test_a_conversation_that_appeared_after_the_sync_is_found(
    root: Path, open_store: StoreOpener, directory: str
) -> None:
    async with open_store(root) as store:
        make_conversation(root, directory=directory, meta={"title": "New"})
        assert await title(store) == "New"
        assert await store.count_events(ONE) == 2


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


async def test_a_renamed_directory_is_followed(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, events=1)
    async with open_store(root) as store:
        body = await store.get_conversation(ONE)
        directory.rename(root / dashed(ONE))
        assert await store.get_conversation(ONE) == body
        assert len((await store.list_events(ONE)).items) == 1
