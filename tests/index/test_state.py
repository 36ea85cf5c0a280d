"""The state of the index."""

from __future__ import annotations

from app.index import conversation_rows
from app.index.sqlite.database import Index
from tests.builders import make_id
from tests.index.builders import make_row, put, stored_revision


async def test_every_change_raises_the_revision_once(index: Index) -> None:
    seen = []
    await put(index, make_row(1), make_row(2))
    seen.append(stored_revision(index.path))
    await put(index)
    seen.append(stored_revision(index.path))
    await index.write(lambda connection: conversation_rows.delete_many(connection, [make_id(1), make_id(2)]))
    seen.append(stored_revision(index.path))
    assert seen == [1, 1, 2]
