"""Following the list: what changed since a place in the change feed, and waiting for more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

from app.index import change_feed, state
from app.index.sqlite.database import Index
from app.model.change_token import ChangePage, Place, after_all
from app.model.ids import ConversationId
from app.store.read.subscriptions import Followers

EVERYTHING = ConversationId("*")
"""What a follower of the list follows, in place of a conversation's id."""

_POLL_S = 0.2


async def get_place(index: Index) -> Place:
    """Return the place after everything that has changed until now."""
    async with index.read(whole=True) as connection:
        position = await state.get_position(connection)
    return after_all(position.epoch, position.revision)


async def list_changes(index: Index, since: Place | None, limit: int) -> ChangePage:
    """Return the next changes after a place; None is the beginning.

    Raises:
        ChangesGone: the changes since then are no longer known.
    """
    async with index.read(whole=True) as connection, connection.snapshot():
        return await change_feed.list_changes(connection, since, limit)


async def wait_for_changes(
    index: Index,
    followers: Followers,
    since: Place | None,
    limit: int,
    wait_s: float,
    is_gone: Callable[[], Awaitable[bool]] | None = None,
) -> ChangePage:
    """Return the next changes after a place, as soon as there are any; none when there are none in `wait_s`.

    It waits no longer once `is_gone` says that nobody wants to know any more.

    Raises:
        ChangesGone: the changes since then are no longer known.
        TooManyFollowers: there are as many followers as the settings allow.
    """
    deadline = time.monotonic() + wait_s
    with followers.join(EVERYTHING) as woken:
        while True:
            state = index.find_state()
            page = await list_changes(index, since, limit)
            if page.items:
                return page
            while index.find_state() == state:
                if followers.closed or time.monotonic() >= deadline or (is_gone and await is_gone()):
                    return page
                try:
                    await asyncio.wait_for(woken.wait(), _POLL_S)
                except TimeoutError:
                    continue


async def follow_changes(
    index: Index, followers: Followers, since: Place | None, limit: int, every_s: float
) -> AsyncGenerator[ChangePage, None]:
    """Give the changes after a place and those to come, in pages; an empty page when nothing changed in `every_s`.

    Raises:
        ChangesGone: the changes since then are no longer known.
        TooManyFollowers: there are as many followers as the settings allow.
    """
    while not followers.closed:
        page = await wait_for_changes(index, followers, since, limit, every_s)
        yield page
        since = page.next
