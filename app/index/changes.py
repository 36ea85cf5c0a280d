"""The change feed: every row carries the revision of its last change, and a deletion leaves a tombstone.

What a reader of the list sees of a conversation changes with its own row and with its children, so a parent is part of
a change of theirs. Tombstones are bounded; `revision.forgotten` says up to which change they are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from app.index.engine import WriteConnection
from app.index.statements import Sql, compiled
from app.index.tables import conversation, deletion, revision

DELETIONS_KEPT = 10_000


@cache
def _touch_sql() -> Sql:
    return compiled(
        update(conversation).where(conversation.c.uuid == bindparam("uuid_")).values(revision=bindparam("revision_"))
    )


async def touch(index: WriteConnection, uuids: Iterable[str | None], at: int) -> None:
    """Make conversations part of the change `at`; None and unknown ones are ignored."""
    await index.execute_many(_touch_sql(), [{"uuid_": uuid, "revision_": at} for uuid in uuids if uuid is not None])


@cache
def _note_sql() -> Sql:
    statement = insert(deletion).values(uuid=bindparam("uuid"), revision=bindparam("revision"))
    return compiled(
        statement.on_conflict_do_update(index_elements=["uuid"], set_={"revision": statement.excluded.revision})
    )


@cache
def _forget_sql() -> Sql:
    return compiled(delete(deletion).where(deletion.c.uuid == bindparam("uuid")))


async def forget_deletions(index: WriteConnection, uuids: Sequence[str]) -> None:
    """Remove the tombstones of conversations that are there again."""
    await index.execute_many(_forget_sql(), [{"uuid": uuid} for uuid in uuids])


async def note_deletions(index: WriteConnection, uuids: Sequence[str], at: int) -> None:
    """Leave a tombstone for each of these conversations, deleted by the change `at`; the oldest ones make room."""
    await index.execute_many(_note_sql(), [{"uuid": uuid, "revision": at} for uuid in uuids])
    oldest_to_go = select(deletion.c.revision).order_by(deletion.c.revision.desc()).offset(DELETIONS_KEPT).limit(1)
    found = await index.execute(oldest_to_go)
    if found:
        upto = found[0][0]
        await index.execute(delete(deletion).where(deletion.c.revision <= upto))
        await index.execute(update(revision).values(forgotten=upto))
