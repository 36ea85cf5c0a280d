"""The events of one conversation: as the index orders them, with what their files say."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import EventNotFound
from app.model.ids import dashed
from tests.builders import (
    make_conversation,
    make_event,
    write_event,
)
from tests.conftest import StoreOpener
from tests.store.helpers import ONE


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


async def test_a_page_token_is_good_after_the_directory_was_renamed(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, events=3)
    async with open_store(root) as store:
        page = await store.list_events(ONE, limit=2)
        directory.rename(root / dashed(ONE))
        assert len((await store.list_events(ONE, page_id=page.next_page_id, limit=2)).items) == 1
