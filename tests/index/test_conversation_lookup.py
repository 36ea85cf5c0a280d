"""Finding conversations by their ids."""

from __future__ import annotations

import orjson

from app.index import conversation_lookup
from app.index.sqlite.database import Index
from app.model.ids import ConversationId, dashed
from tests.builders import make_id
from tests.index.builders import make_row, put


async def test_ids_are_found_in_the_order_they_are_asked_for(index: Index) -> None:
    await put(index, make_row(1), make_row(2))
    async with index.read() as connection:
        found = await conversation_lookup.find_conversations(
            connection, [ConversationId(make_id(number)) for number in (2, 9, 1)]
        )
    assert [body and orjson.loads(body)["id"] for body in found] == [dashed(make_id(2)), None, dashed(make_id(1))]


async def test_two_statements_find_any_number_of_ids(index: Index) -> None:
    await put(index, *(make_row(number) for number in range(1, 4)))
    async with index.read() as connection:
        for number in (1, 2, 3, 99):
            ids = [ConversationId(make_id(one)) for one in range(1, number + 1)]
            found = await conversation_lookup.find_conversations(connection, ids)
            assert [body is not None for body in found] == [one <= 3 for one in range(1, number + 1)]
    assert conversation_lookup._find_sql.cache_info().currsize <= 2
