"""The fields of ConversationInfo that are equal in many conversations, above all the agent, are stored once.

A row of `shared_info` has the hash of its JSON as key, so an equal index has equal rows. A row that no conversation
uses any more is deleted in the same transaction, because it may contain what was erased.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from hashlib import sha256

from sqlalchemy import bindparam, delete, select

from .connections import WriteConnection
from .dialect import Sql, compiled, insert
from .tables import conversation_info, shared_info

_HASH_BYTES = 16


@cache
def _add_sql() -> Sql:
    statement = insert(shared_info)
    body = statement.excluded.body
    upsert = statement.on_conflict_do_update(
        index_elements=["hash"], set_={"body": body}, where=shared_info.c.body != body
    )
    return compiled(upsert)


def add(index: WriteConnection, bodies: Iterable[bytes]) -> dict[bytes, bytes]:
    """Write those of these bodies that the index does not have. Return the hash of each, but not of an empty one."""
    hashes = {body: _hash(body) for body in bodies if body}
    index.execute_many(_add_sql(), [{"hash": name, "body": body} for body, name in hashes.items()])
    return hashes


_UNUSED = ~select(conversation_info.c.conversation).where(conversation_info.c.shared == shared_info.c.hash).exists()


@cache
def _delete_unused_sql() -> Sql:
    return compiled(delete(shared_info).where(shared_info.c.hash == bindparam("hash_"), _UNUSED))


def delete_unused(index: WriteConnection, bodies: Iterable[bytes]) -> None:
    """Delete those of these bodies that no conversation uses."""
    index.execute_many(_delete_unused_sql(), [{"hash_": _hash(body)} for body in {*bodies} if body])


def delete_all_unused(index: WriteConnection) -> None:
    """Delete all that no conversation uses."""
    index.execute(delete(shared_info).where(_UNUSED))


def _hash(body: bytes) -> bytes:
    return sha256(body).digest()[:_HASH_BYTES]
