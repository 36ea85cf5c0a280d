"""Which revision a change gives to which rows, and the tombstones of deletions."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from app.index import conversation_rows, state
from app.index.sqlite.database import Index
from tests.builders import index_database, make_id
from tests.index.builders import make_row, put


def revisions(path: Path) -> dict[str, int]:
    """Return the revision of each row and of each tombstone."""
    with index_database(path) as db:
        rows = db.execute("SELECT uuid, revision FROM conversation UNION ALL SELECT uuid, revision FROM deletion")
        return dict(rows)


async def test_a_parent_is_part_of_a_change_of_its_children(index: Index) -> None:
    one, two, child = make_id(1), make_id(2), make_id(3)
    await put(index, make_row(1), make_row(2))
    await put(index, make_row(3, parent=1))
    assert revisions(index.path) == {one: 2, two: 1, child: 2}
    await put(index, make_row(3, parent=2))
    assert revisions(index.path) == {one: 3, two: 3, child: 3}
    await put(index, make_row(3, parent=2, title="Only this"))
    assert revisions(index.path) == {one: 3, two: 3, child: 4}
    await index.write(lambda connection: conversation_rows.delete_many(connection, [child]))
    assert revisions(index.path) == {one: 3, two: 5, child: 5}


async def test_a_deletion_leaves_a_tombstone_until_the_conversation_is_back(index: Index) -> None:
    await put(index, make_row(1))
    await index.write(lambda connection: conversation_rows.delete_many(connection, [make_id(1), make_id(2)]))
    assert revisions(index.path) == {make_id(1): 2}
    await put(index, make_row(1))
    assert revisions(index.path) == {make_id(1): 3}
    with index_database(index.path) as db:
        assert db.execute("SELECT count(*) FROM deletion").fetchone() == (0,)


async def test_tombstones_are_bounded_and_what_was_forgotten_is_known(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.index.change_feed.DELETIONS_KEPT", 2)
    for number in range(5):
        await put(index, make_row(number))
        await index.write(partial(conversation_rows.delete_many, directories=[make_id(number)]))
    assert revisions(index.path) == {make_id(3): 8, make_id(4): 10}
    async with index.read() as connection:
        assert (await state.get_revision(connection))[1:] == (10, 6)
