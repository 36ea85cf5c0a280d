"""Who has a conversation open, and who owns it, as the index keeps it."""

from __future__ import annotations

from functools import partial

from app.index import conversation_lookup, ownership
from app.index.ownership import Ownership
from app.index.sqlite.database import Index
from app.model.ids import ConversationId
from tests.builders import make_id
from tests.index.builders import make_row, put, stored_revision

ID = ConversationId(make_id(1))


async def opened_by(index: Index) -> list[tuple[str, str | None]]:
    async with index.read() as connection:
        return [(one.id, one.dirty_by) for one in await conversation_lookup.list_dirty(connection)]


async def test_an_open_mark_stays_until_its_owner_clears_it(index: Index) -> None:
    await put(index, make_row(1), make_row(2))
    await index.write(partial(ownership.set_dirty, conversation_id=ID, owner="a", generation=1))
    await index.write(partial(ownership.clear_dirty, conversation_id=ID, owner="b"))
    assert await opened_by(index) == [(ID, "a")]
    await index.write(partial(ownership.clear_dirty, conversation_id=ID, owner="a"))
    assert await opened_by(index) == []


async def test_an_earlier_lease_does_not_clear_the_mark_of_a_later_one(index: Index) -> None:
    await put(index, make_row(1))
    await index.write(partial(ownership.set_dirty, conversation_id=ID, owner="a", generation=2))
    await index.write(partial(ownership.clear_dirty, conversation_id=ID, owner="a", generation=1))
    assert await opened_by(index) == [(ID, "a")]


async def test_a_host_claims_only_with_a_later_generation_or_its_own_again(index: Index) -> None:
    await put(index, make_row(1))
    claims = [("a", 1), ("b", 1), ("a", 1), ("b", 3), ("a", 2)]
    made = [
        await index.write(partial(ownership.claim, conversation_id=ID, owner=owner, generation=generation))
        for owner, generation in claims
    ]
    assert made == [True, False, True, True, False]
    assert await opened_by(index) == [(ID, "b")]


async def test_another_owner_is_a_change_and_a_renewed_lease_is_none(index: Index) -> None:
    await put(index, make_row(1))
    before = stored_revision(index.path)
    await index.write(partial(ownership.set_owners, owned=[Ownership(ID, "a", 10)]))
    await index.write(partial(ownership.set_owners, owned=[Ownership(ID, "a", 20)]))
    assert stored_revision(index.path) == before + 1
    async with index.read() as connection:
        located = await conversation_lookup.locate_conversation(connection, ID)
    assert located is not None
    assert (located.owner, located.owner_until) == ("a", 20)
