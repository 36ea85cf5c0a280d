"""The change feed: every row carries the revision of its last change, and a deletion leaves a tombstone.

A list shows the children of a conversation, so a change of a child gives its parent the new revision too. The number of
tombstones is bounded; those up to the revision `revision.forgotten` were dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Table, bindparam, delete, select, tuple_, union_all, update

from ..errors import ChangesGone
from ..model.change_token import ChangePage, ChangeToken, ListChange
from ..model.ids import ConversationId
from ..model.page import View
from . import conversation_body, state
from .connections import ReadConnection, WriteConnection
from .dialect import Sql, compiled, insert, null_as
from .tables import conversation, deletion, revision

DELETIONS_KEPT = 10_000


@cache
def _touch_sql() -> Sql:
    return compiled(
        update(conversation).where(conversation.c.uuid == bindparam("uuid_")).values(revision=bindparam("revision_"))
    )


def touch_conversations(index: WriteConnection, uuids: Iterable[str | None], at: int) -> None:
    """Set the revision of conversations to `at`. None and unknown ids are ignored."""
    index.execute_many(_touch_sql(), [{"uuid_": uuid, "revision_": at} for uuid in uuids if uuid is not None])


@cache
def _note_sql() -> Sql:
    statement = insert(deletion).values(uuid=bindparam("uuid"), revision=bindparam("revision"))
    return compiled(
        statement.on_conflict_do_update(index_elements=["uuid"], set_={"revision": statement.excluded.revision})
    )


@cache
def _forget_sql() -> Sql:
    return compiled(delete(deletion).where(deletion.c.uuid == bindparam("uuid")))


def forget_deletions(index: WriteConnection, uuids: Sequence[str]) -> None:
    """Remove the tombstones of conversations that exist again."""
    index.execute_many(_forget_sql(), [{"uuid": uuid} for uuid in uuids])


def note_deletions(index: WriteConnection, uuids: Sequence[str], at: int) -> None:
    """Leave a tombstone of revision `at` for each conversation; beyond `DELETIONS_KEPT` the oldest are dropped."""
    index.execute_many(_note_sql(), [{"uuid": uuid, "revision": at} for uuid in uuids])
    oldest_to_go = select(deletion.c.revision).order_by(deletion.c.revision.desc()).offset(DELETIONS_KEPT).limit(1)
    found = index.execute(oldest_to_go)
    if found:
        upto = found[0][0]
        index.execute(delete(deletion).where(deletion.c.revision <= upto))
        index.execute(update(revision).values(forgotten=upto))


def _later(table: Table) -> ColumnElement[bool]:
    here = tuple_(table.c.revision, table.c.uuid)
    return here > tuple_(bindparam("after_revision"), bindparam("after_id"))


@cache
def _changes_sql(view: View) -> Sql:
    columns = conversation.c
    changed = conversation_body.select_view(view, columns.revision, columns.uuid).where(_later(conversation))
    changed = changed.order_by(columns.revision, columns.uuid).limit(bindparam("row_limit"))
    nothing: list[ColumnElement[Any]] = [null_as(one) for one in conversation_body.columns_of(view)]
    deleted = select(deletion.c.revision, deletion.c.uuid, *nothing).where(_later(deletion))
    deleted = deleted.order_by(deletion.c.revision, deletion.c.uuid).limit(bindparam("row_limit"))
    both = union_all(select(changed.subquery("changed")), select(deleted.subquery("deleted"))).subquery("both")
    ordered = select(both).order_by(both.c.revision, both.c.uuid)
    return compiled(ordered.limit(bindparam("row_limit")))


async def list_changes(
    index: ReadConnection, since: ChangeToken | None, limit: int, view: View = View.FULL
) -> ChangePage:
    """Return the next changes after `since`, in order of their revisions. None starts with all conversations.

    Each conversation occurs once, in its current state. The caller holds a snapshot, so that no change is missed
    between the statements.

    Raises:
        ChangesGone: the index was rebuilt since then, or deletions since then are no longer kept.
    """
    position = await state.get_revision(index)
    place = ChangeToken(position.epoch, 0, begun=position.revision) if since is None else since
    if place.epoch != position.epoch:
        raise ChangesGone(
            "the index was rebuilt since this token was issued; list everything again, then follow the changes"
        )
    if place.misses(position.forgotten):
        raise ChangesGone("this token is too old: later deletions are no longer known; list everything again")
    asked = {"after_revision": place.revision, "after_id": place.id, "row_limit": limit + 1}
    rows = await index.fetch_all(_changes_sql(view), asked)
    compose = conversation_body.composer_of(view)
    items = [
        ListChange(
            place._replace(revision=at, id=uuid),
            ConversationId(uuid),
            None if values[0] is None else compose(*values),
        )
        for at, uuid, *values in rows[:limit]
    ]
    return ChangePage(items, items[-1].place if items else place, len(rows) > limit)
