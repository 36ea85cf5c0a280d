"""The state of the index: the progress of a sync, and the revision, which every change raises."""

from __future__ import annotations

import secrets
from functools import cache
from typing import NamedTuple

from sqlalchemy import literal, select, update

from ..errors import IndexDamaged
from .connections import ReadConnection, WriteConnection
from .dialect import Sql, compiled, greatest
from .tables import revision, sync_state

RECOVERING = "recovering"
"""The value of `derived_by` while an index that replaced a damaged one is incomplete."""


class IndexState(NamedTuple):
    """The progress of the sync, and the revision of the index. Times are microseconds UTC."""

    phase: str
    done: int
    total: int
    heartbeat_at: int
    last_sweep_at: int | None
    last_error: str | None
    derived_by: str | None
    epoch: str
    revision: int

    @property
    def is_whole(self) -> bool:
        """Whether a sync has listed all conversations once. The phases after `metadata` only add events and words."""
        return self.last_sweep_at is not None or self.phase in ("events", "text")


class Building(NamedTuple):
    """The progress of the first build: the conversations read so far, and all of them, or None before the count."""

    conversations: int
    total: int | None

    def __str__(self) -> str:
        """Return the form `120/487`; the total is `*` while it is not known."""
        return f"{self.conversations}/{'*' if self.total is None else self.total}"


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
    """Return the state of the index.

    Raises:
        IndexDamaged: the row of the state, which the migration creates, is missing.
    """
    rows = await index.fetch_all(_progress_sql())
    if not rows:
        raise IndexDamaged("the index is damaged (its state row is missing); a server builds it again")
    return IndexState(*rows[0])


def set_state(index: WriteConnection, **values: object) -> None:
    """Set columns of `sync_state` by name."""
    index.execute(update(sync_state).values(values))


@cache
def _bump_sql() -> Sql:
    return compiled(update(revision).values(revision=revision.c.revision + 1).returning(revision.c.revision))


def bump_revision(index: WriteConnection) -> int:
    """Raise the revision and return it. Every transaction that changes what readers see must call this."""
    [row] = index.fetch_all(_bump_sql())
    return int(row[0])


@cache
def _position_sql() -> Sql:
    return compiled(select(revision.c.epoch, revision.c.revision, revision.c.forgotten))


class Revision(NamedTuple):
    """The epoch of this build of the index, its revision, and the revision up to which tombstones were dropped."""

    epoch: str
    revision: int
    forgotten: int


async def get_revision(index: ReadConnection) -> Revision:
    """Return the revision. This is cheap enough to be called several times a second."""
    [row] = await index.fetch_all(_position_sql())
    return Revision(*row)


def get_revision_to_write(index: WriteConnection) -> Revision:
    """Return the revision, inside a write transaction."""
    [row] = index.fetch_all(_position_sql())
    return Revision(*row)


@cache
def _derivation_sql() -> Sql:
    return compiled(select(sync_state.c.derived_by))


def get_derivation_to_write(index: WriteConnection) -> str | None:
    """Return `derived_by`, inside a write transaction."""
    [row] = index.fetch_all(_derivation_sql())
    return None if row[0] is None else str(row[0])


def raise_revision(index: WriteConnection, to: int) -> None:
    """Raise the revision to at least `to`, so that a revision that a power cut undid is never used again."""
    index.execute(update(revision).values(revision=greatest(revision.c.revision + 1, literal(to))))


def begin_epoch(index: WriteConnection, above: int) -> None:
    """Begin a new epoch with a revision above `above`, so that readers of the old index never see a lower revision."""
    higher = greatest(revision.c.revision, literal(above + 1))
    index.execute(update(revision).values(epoch=secrets.token_hex(8), revision=higher))
