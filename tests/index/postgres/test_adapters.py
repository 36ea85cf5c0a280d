"""Texts that SQLite takes and PostgreSQL refuses: none of them harms another conversation."""

from __future__ import annotations

from random import Random

import pytest

from app.index import conversation_rows, event_rows, file_edits
from app.index.engine import Index
from app.model.conversation import TITLE_MAX, ConversationRow, IndexedRow
from app.model.event import EventFacts, EventRow, LogChange
from app.model.ids import ConversationId, EventName
from app.model.workspace import WORKSPACE_MAX
from tests.builders import make_id
from tests.index.builders import make_row

pytestmark = [pytest.mark.long, pytest.mark.postgres]


async def stored(index: Index, row: ConversationRow) -> ConversationRow:
    await index.write(lambda connection: conversation_rows.upsert_many(connection, [IndexedRow(row, b"signature")]))
    async with index.read() as connection:
        return (await conversation_rows.find_known(connection, [row.uuid]))[row.uuid].row


async def test_a_nul_in_any_text_comes_back(index: Index) -> None:
    row = make_row(1).row._replace(title="a\0b", workspace="/\0", tags=(("k\0", "v\0"),), preview="\0", model="m\0")
    assert await stored(index, row) == row


async def test_long_texts_without_a_pattern_are_stored_whole(index: Index) -> None:
    chance = Random(1)  # noqa: S311 - made-up data

    def text(length: int) -> str:
        return "".join(chr(chance.randrange(0x20000, 0x2A000)) for _ in range(length))

    path, title = text(WORKSPACE_MAX), text(TITLE_MAX)
    many = tuple((text(256), text(256)) for _ in range(3))
    row = make_row(1).row._replace(title=title, title_key=title, workspace=path, model=title, tags=tuple(sorted(many)))
    assert await stored(index, row) == row
    hangul = "".join(chr(chance.randrange(0xAC00, 0xD7A3)) for _ in range(TITLE_MAX))
    key = make_row(2, title=hangul).row
    assert await stored(index, key) == key


async def test_a_long_path_of_an_edit_is_stored_and_found(index: Index) -> None:
    await stored(index, make_row(1).row)
    paths = tuple(sorted(f"/{letter}" * 2048 for letter in "ab"))
    facts = EventFacts("ActionEvent", "agent", 5, "file_editor", "", paths)
    async with index.read() as connection:
        known = await conversation_rows.find_known(connection, [ConversationId(make_id(1))])
    [key] = [one.key for one in known.values()]
    change = LogChange(key, [EventRow(EventName(0, "event-0"), facts)], [])
    for _ in range(2):
        await index.write(lambda connection: event_rows.upsert_events(connection, [change]))
    async with index.read() as connection:
        assert (await event_rows.list_rows(connection, key))[0].facts.edits == paths
        assert [one.path for one in await file_edits.list_edits(connection, [paths[1]], 5)] == [paths[1]]
