"""Fields that several conversations have in common are stored once, and no longer than a conversation uses them."""

from __future__ import annotations

from functools import partial

import orjson

from app.index import conversation_lookup, conversation_rows, messages, shared_fields
from app.index.connections import WriteConnection
from app.index.dialect import Sql
from app.index.engine import Index
from app.model.conversation import IndexedRow
from app.model.ids import ConversationId
from tests.builders import make_id
from tests.index.builders import make_row


def with_model(number: int, model: str) -> IndexedRow:
    row, signature = make_row(number)
    shared = orjson.dumps({"agent": {"kind": "Agent", "llm": {"model": model}}})
    return IndexedRow(row._replace(body=orjson.dumps({"id": row.uuid}), shared=shared), signature)


async def stored(index: Index) -> list[str]:
    async with index.read() as connection:
        rows = await connection.fetch_all(Sql("SELECT body FROM shared_info", {}))
    return sorted(orjson.loads(body)["agent"]["llm"]["model"] for (body,) in rows)


async def test_equal_fields_are_stored_once_and_listed_with_each_conversation(index: Index) -> None:
    rows = [with_model(1, "one"), with_model(2, "two"), with_model(3, "one")]
    await index.write(lambda connection: conversation_rows.upsert_many(connection, rows))
    assert await stored(index) == ["one", "two"]
    async with index.read() as connection:
        found = await conversation_lookup.find_conversations(connection, [row.uuid for row, _ in rows])
    assert [orjson.loads(body or b"")["agent"]["llm"]["model"] for body in found] == ["one", "two", "one"]


async def test_fields_that_no_conversation_uses_any_more_are_gone(index: Index) -> None:
    rows = [with_model(1, "one"), with_model(2, "two"), with_model(3, "one"), with_model(4, "four")]
    await index.write(lambda connection: conversation_rows.upsert_many(connection, rows))
    await index.write(lambda connection: conversation_rows.upsert_many(connection, [with_model(2, "one")]))
    assert await stored(index) == ["four", "one"]
    await index.write(lambda connection: conversation_rows.delete_many(connection, [make_id(1), make_id(4)]))
    assert await stored(index) == ["one"]


async def test_a_text_in_shared_fields_has_a_holder(index: Index) -> None:
    await index.write(lambda connection: conversation_rows.upsert_many(connection, [with_model(1, "said-here")]))
    assert await index.write(partial(messages.find_holder, part="said-here")) == make_id(1)
    assert await index.write(partial(messages.find_holder, part="said-nowhere")) is None


async def test_a_body_that_has_all_fields_is_listed_as_it_is_until_it_is_written_again(index: Index) -> None:
    row, signature = with_model(1, "one")
    old = IndexedRow(row._replace(body=row.whole_body, shared=b""), signature)
    one = ConversationId(make_id(1))
    bodies = []
    for written in (old, IndexedRow(row, signature)):
        await index.write(partial(conversation_rows.upsert_many, rows=[written]))
        async with index.read() as connection:
            bodies += await conversation_lookup.find_conversations(connection, [one])
    assert bodies[0] == bodies[1]
    assert await stored(index) == ["one"]


async def test_a_damaged_body_is_replaced_when_it_is_written_again(index: Index) -> None:
    def damage(connection: WriteConnection) -> None:
        connection.execute_many(Sql("UPDATE shared_info SET body = :body", {}), [{"body": b"{}"}])
        shared_fields.add(connection, [with_model(1, "one").row.shared])

    await index.write(lambda connection: conversation_rows.upsert_many(connection, [with_model(1, "one")]))
    await index.write(damage)
    assert await stored(index) == ["one"]


async def test_all_that_is_unused_can_be_deleted_at_once(index: Index) -> None:
    await index.write(lambda connection: shared_fields.add(connection, [with_model(1, "one").row.shared]))
    await index.write(shared_fields.delete_all_unused)
    assert await stored(index) == []
