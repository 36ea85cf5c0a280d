"""The trigram index of titles: in step with every row that is written, and asked for what a user typed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.index import conversation_list, conversation_rows
from app.index.sqlite.database import Index
from app.model.filters import ConversationFilter
from app.model.page import SortOrder
from tests.builders import make_id
from tests.index.test_rows import index, indexed, put

__all__ = ["index"]


async def titled(index: Index, part: str) -> tuple[int, int]:
    """Return how many conversations have this in their titles, counted and listed."""
    asked = ConversationFilter(title_contains=part)
    async with index.read() as connection:
        page = await conversation_list.list_conversations(connection, asked, SortOrder.TITLE, None, 100)
        return await conversation_list.count_conversations(connection, asked), len(page.items)


def is_in_step(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as db:
        db.execute("INSERT INTO title_fts (title_fts, rank) VALUES ('integrity-check', 1)")
    return True


async def test_a_title_is_found_as_long_as_it_is_there(index: Index) -> None:
    await put(index, indexed(1, title="Fix the Parser"), indexed(2, title="Fix the lexer"))
    assert (await titled(index, "X THE P"), await titled(index, "fix")) == ((1, 1), (2, 2))
    await put(index, indexed(1, title="Other"))
    assert (await titled(index, "parser"), await titled(index, "OTHER"), is_in_step(index.path)) == (
        (0, 0),
        (1, 1),
        True,
    )
    await index.write(lambda connection: conversation_rows.delete_many(connection, [make_id(1)]))
    assert (await titled(index, "other"), is_in_step(index.path)) == ((0, 0), True)


@pytest.mark.parametrize(
    "part", ['say "hi"', '"', '"""', "* OR", "NEAR(", "title_key:", "50%", "_ok_", "a\0b", "日本語"]
)
async def test_what_a_user_typed_is_text_and_no_syntax(index: Index, part: str) -> None:
    await put(index, indexed(1, title=f"<{part}>"), indexed(2, title="title_key say hi OR NEAR abab 50 ok 日本"))
    assert await titled(index, part) == (1, 1)
