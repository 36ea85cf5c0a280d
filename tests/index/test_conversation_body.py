"""The body of a conversation in a list."""

from __future__ import annotations

import orjson

from app.index import conversation_lookup
from app.index.sqlite.database import Index
from app.model.ids import ConversationId, dashed
from tests.builders import make_id
from tests.index.builders import make_row, put


async def test_a_conversation_lists_its_children_oldest_first(index: Index) -> None:
    await put(index, make_row(1), make_row(3, parent=1, created_us=7), make_row(2, parent=1, created_us=9))
    async with index.read() as connection:
        [body] = await conversation_lookup.find_conversations(connection, [ConversationId(make_id(1))])
    assert body is not None
    assert orjson.loads(body)["sub_conversation_ids"] == [dashed(make_id(3)), dashed(make_id(2))]
