"""The index's record of open conversations and of the owners of leases.

The dirty flag of an open conversation is committed with `synchronous=FULL` before its first file is written, so that it
survives a power cut. After a crash, only the conversations that were open are read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from sqlalchemy import BindParameter, and_, bindparam, null, or_, update

from ..model.ids import ConversationId
from . import state
from .change_feed import touch_conversations
from .connections import WriteConnection
from .dialect import Sql, compiled, greatest
from .tables import conversation


@cache
def _mark_sql() -> Sql:
    columns = conversation.c
    statement = update(conversation).where(columns.uuid == bindparam("uuid_"))
    higher = greatest(columns.lease_generation, bindparam("generation_"))
    return compiled(statement.values(dirty_by=bindparam("owner_"), lease_generation=higher))


def set_dirty(index: WriteConnection, conversation_id: ConversationId, owner: str, generation: int) -> None:
    """Set the flag that `owner` may write to a conversation. The caller commits it durably."""
    row = {"uuid_": conversation_id, "owner_": owner, "generation_": generation}
    index.execute_many(_mark_sql(), [row])


@cache
def _claim_sql() -> Sql:
    columns = conversation.c
    generation: BindParameter[int] = bindparam("generation_")
    owner: BindParameter[str] = bindparam("owner_")
    is_mine = and_(columns.lease_generation == generation, columns.dirty_by == owner)
    statement = update(conversation).where(
        columns.uuid == bindparam("uuid_"), or_(columns.lease_generation < generation, is_mine)
    )
    return compiled(statement.values(dirty_by=owner, lease_generation=generation))


def claim(index: WriteConnection, conversation_id: ConversationId, owner: str, generation: int) -> bool:
    """Set the flag as `set_dirty` does and return True, or return False if an owner had this generation or a later one.

    Hosts do this before they write the lease, so that an earlier owner's transactions are refused from then on.
    """
    return bool(
        index.count_changed(_claim_sql(), [{"uuid_": conversation_id, "owner_": owner, "generation_": generation}])
    )


@cache
def _clear_sql() -> Sql:
    columns = conversation.c
    mine = (
        columns.uuid == bindparam("uuid_"),
        columns.dirty_by == bindparam("owner_"),
        columns.lease_generation <= bindparam("generation_"),
    )
    return compiled(update(conversation).where(*mine).values(dirty_by=null()))


def clear_dirty(
    index: WriteConnection, conversation_id: ConversationId, owner: str, generation: int = 2**63 - 1
) -> None:
    """Clear the flag of `owner`, whose rows are up to date, unless the conversation was reopened with a later lease."""
    row = {"uuid_": conversation_id, "owner_": owner, "generation_": generation}
    index.execute_many(_clear_sql(), [row])


class Ownership(NamedTuple):
    """The owner of a conversation and the end of its lease in microseconds UTC, or None if there is no owner."""

    id: ConversationId
    owner: str | None
    owner_until: int | None


@cache
def _own_sql() -> Sql:
    return compiled(
        update(conversation)
        .where(conversation.c.uuid == bindparam("uuid_"), conversation.c.owner.is_distinct_from(bindparam("owner_")))
        .values(owner=bindparam("owner_"))
    )


@cache
def _until_sql() -> Sql:
    wanted = conversation.c.uuid == bindparam("uuid_")
    return compiled(update(conversation).where(wanted).values(owner_until=bindparam("until_")))


def set_owners(index: WriteConnection, owned: Sequence[Ownership]) -> None:
    """Set the owners of conversations. A different owner, or none, raises the revision; a renewed lease does not."""
    changed = [one.id for one in owned if index.count_changed(_own_sql(), [{"uuid_": one.id, "owner_": one.owner}])]
    index.execute_many(_until_sql(), [{"uuid_": one.id, "until_": one.owner_until} for one in owned])
    if changed:
        touch_conversations(index, changed, state.bump_revision(index))
