"""Subscriptions: every event and every change comes once, also between what was there and what comes."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from app.errors import TooManyFollowers
from app.model.ids import ConversationId
from app.store.read.followers import Followers
from tests.builders import make_conversation, make_event, make_id, write_event
from tests.conftest import StoreOpener

ONE = ConversationId(make_id(1))


async def test_a_follower_gets_what_is_there_and_what_is_appended_here_and_elsewhere(
    root: Path, open_store: StoreOpener
) -> None:
    path = make_conversation(root, events=2)
    given: list[int] = []
    async with open_store(root) as store, asyncio.timeout(20), aclosing(store.follow(ONE)) as batches:
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
