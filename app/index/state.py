"""How far the index is: what a running sync does, and the revision that rises with every change."""

from __future__ import annotations

import secrets
from functools import cache
from typing import NamedTuple

from sqlalchemy import func, select, update

from app.errors import IndexDamaged
from app.index.connections import ReadConnection, WriteConnection
from app.index.dialect import Sql, compiled
from app.index.tables import revision, sync_state

RECOVERING = "recovering"
"""`derived_by` of an index that stands in the place of a damaged one and does not know all conversations yet."""


class IndexState(NamedTuple):
    """The state of the sync, and of the index as a whole. Times are microseconds UTC."""

    phase: str
    done: int
    total: int
    heartbeat_at: int
    last_sweep_at: int | None
    last_error: str | None
    derived_by: str | None
    epoch: str
    revision: int


@cache
def _progress_sql() -> Sql:
    return compiled(
        select(
            sync_state.c.phase,
            sync_state.c.done,
            sync_state.c.total,
            sync_state.c.heartbeat_at,
            sync_state.c.last_sweep_at,
            sync_state.c.last_error,
            sync_state.c.derived_by,
            revision.c.epoch,
            revision.c.revision,
        ).join_from(sync_state, revision, revision.c.id == sync_state.c.id)
    )


async def get_state(index: ReadConnection) -> IndexState:
    """Return the state of the sync; the migration made its row."""
    rows = await index.fetch_all(_progress_sql())
    if not rows:
        raise IndexDamaged("the index is damaged (the row of its state is gone); a server builds it again")
    return IndexState(*rows[0])


def set_state(index: WriteConnection, **values: object) -> None:
    """Change fields of the sync's state, by their column names."""
    index.execute(update(sync_state).values(values))


@cache
def _bump_sql() -> Sql:
    return compiled(update(revision).values(revision=revision.c.revision + 1).returning(revision.c.revision))


def bump_revision(index: WriteConnection) -> int:
    """Note that this transaction changes what a reader sees, and return the revision that it makes."""
    [row] = index.fetch_all(_bump_sql())
    return int(row[0])


@cache
def _position_sql() -> Sql:
    return compiled(select(revision.c.epoch, revision.c.revision, revision.c.forgotten))


class Revision(NamedTuple):
    """Where the index stands: the build's epoch, its revision, and up to which one deletions are not kept any more."""

    epoch: str
    revision: int
    forgotten: int


async def get_revision(index: ReadConnection) -> Revision:
    """Return where the index stands; cheap enough to be asked several times a second."""
    [row] = await index.fetch_all(_position_sql())
    return Revision(*row)


def get_revision_to_write(index: WriteConnection) -> Revision:
    """Return where the index stands, inside a transaction that changes it."""
    [row] = index.fetch_all(_position_sql())
    return Revision(*row)


def raise_revision(index: WriteConnection, to: int) -> None:
    """Have the revision rise to `to` at least, so that none that a crash may have taken back is used again."""
    index.execute(update(revision).values(revision=func.max(revision.c.revision + 1, to)))


def begin_epoch(index: WriteConnection, above: int) -> None:
    """Begin a new epoch, at a revision above `above`, so that it never falls for those who read this index before."""
    higher = func.max(revision.c.revision, above + 1)
    index.execute(update(revision).values(epoch=secrets.token_hex(8), revision=higher))
