"""Keeping the index of words small: its many parts are merged into one, in many short transactions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from app.errors import QueryTooSlow
from app.index.sqlite import text_index
from app.index.sqlite.database import Index

_LOOK_S = 5.0


async def keep_words_small(index: Index) -> None:
    """Merge the words' index if it became much larger than it has to be."""
    async for _ in merge_words(index, always=False):
        pass


async def merge_words(index: Index, *, always: bool) -> AsyncIterator[tuple[int, int]]:
    """Merge the words' index if it is worth it, and give before each step how many were done, of about how many."""
    try:
        async with index.read(within_s=_LOOK_S) as connection:
            total = await text_index.count_merges(connection, always=always)
    except QueryTooSlow:
        return
    done, more = 0, total > 0
    while more:
        yield done, max(done, total)
        more = await index.write(partial(text_index.merge_words, begin=done == 0))
        done += 1
