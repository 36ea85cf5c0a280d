"""The outline of one conversation from its event rows: counts, turns, marks, and bins for a ribbon. Opens no file."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Integer, and_, bindparam, case, func, literal_column, or_, select

from ..model.ids import ConversationId
from .connections import ReadConnection
from .dialect import Sql, compiled
from .event_rows import HERE
from .tables import event, message

TURNS_MAX = 1000
MARKS_MAX = 1000
BINS = 120

_TURN_TEXT_MAX = 200
_EDITS = ("file_editor", "str_replace_editor", "apply_patch", "planning_file_editor")
_MARKED = ("AgentErrorEvent", "ConversationErrorEvent", "Condensation", "UserRejectObservation", "HookExecutionEvent")


class Turn(NamedTuple):
    """A message of a user. `text` is its beginning, with secrets masked."""

    seq: int
    event_id: str
    timestamp_us: int | None
    text: str


class Mark(NamedTuple):
    """An important event: an error, a condensation, a rejection, a hook, or an unreadable file."""

    seq: int
    event_id: str
    kind: str
    tool: str | None


class Bin(NamedTuple):
    """The number of events of each category in one part of the log."""

    number: int
    user: int
    edits: int
    errors: int
    other: int


class Outline(NamedTuple):
    """The outline of a conversation. `last_seq` is -1 if it has no event; `kinds` are (kind, source, tool, count)."""

    total: int
    unreadable: int
    last_seq: int
    kinds: list[tuple[str, str, str | None, int]]
    turns: list[Turn]
    marks: list[Mark]
    bins: list[Bin]

    def as_json(self) -> dict[str, Any]:
        """Return the JSON that the API answers."""
        names = ("kind", "source", "tool", "count")
        return {
            **self._asdict(),
            "kinds": [dict(zip(names, row, strict=True)) for row in self.kinds],
            "turns": [turn._asdict() for turn in self.turns],
            "marks": [mark._asdict() for mark in self.marks],
            "bins": [one._asdict() for one in self.bins],
        }


def _is_any(column: ColumnElement[str], values: tuple[str, ...]) -> ColumnElement[bool]:
    """Return a comparison with constants. SQLAlchemy would expand an IN at each execution."""
    return or_(*(column == value for value in values))


_IS_TURN = and_(event.c.kind == "MessageEvent", event.c.source == "user")
_IS_ERROR = or_(_is_any(event.c.kind, ("AgentErrorEvent", "ConversationErrorEvent")), event.c.unreadable.is_not(None))
_IS_EDIT = and_(event.c.kind == "ActionEvent", _is_any(event.c.tool, _EDITS))


@cache
def _kinds_sql() -> Sql:
    columns = event.c
    unreadable = func.sum(case((columns.unreadable.is_not(None), 1), else_=0))
    return compiled(
        select(columns.kind, columns.source, columns.tool, func.count(), unreadable, func.max(columns.seq))
        .where(HERE)
        .group_by(columns.kind, columns.source, columns.tool)
        .order_by(func.count().desc(), columns.kind, columns.source, columns.tool.nulls_first())
    )


@cache
def _turns_sql() -> Sql:
    columns = event.c
    said = and_(
        message.c.conversation == columns.conversation,
        message.c.seq == columns.seq,
        message.c.event_id == columns.event_id,
    )
    text = func.substr(func.coalesce(message.c.text, literal_column("''")), 1, _TURN_TEXT_MAX)
    return compiled(
        select(columns.seq, columns.event_id, columns.timestamp, text)
        .join_from(event, message, said, isouter=True)
        .where(HERE, _IS_TURN, columns.unreadable.is_(None))
        .order_by(columns.seq, columns.event_id)
        .limit(TURNS_MAX)
    )


@cache
def _marks_sql() -> Sql:
    columns = event.c
    return compiled(
        select(columns.seq, columns.event_id, columns.kind, columns.tool)
        .where(HERE, or_(_is_any(columns.kind, _MARKED), columns.unreadable.is_not(None)))
        .order_by(columns.seq, columns.event_id)
        .limit(MARKS_MAX)
    )


@cache
def _bins_sql() -> Sql:
    number = (event.c.seq * BINS // (bindparam("last_seq", type_=Integer) + 1)).label("number")
    sums = [func.sum(case((condition, 1), else_=0)) for condition in (_IS_TURN, _IS_EDIT, _IS_ERROR)]
    return compiled(select(number, *sums, func.count()).where(HERE).group_by("number").order_by("number"))


async def read_outline(index: ReadConnection, uuid: ConversationId) -> Outline:
    """Return the outline of a conversation, in one snapshot of the index."""
    async with index.snapshot():
        kinds = await index.fetch_all(_kinds_sql(), {"uuid": uuid})
        last_seq = max((row[5] for row in kinds), default=-1)
        turns = await index.fetch_all(_turns_sql(), {"uuid": uuid})
        marks = await index.fetch_all(_marks_sql(), {"uuid": uuid})
        bins = await index.fetch_all(_bins_sql(), {"uuid": uuid, "last_seq": last_seq}) if kinds else []
    return Outline(
        total=sum(row[3] for row in kinds),
        unreadable=sum(row[4] for row in kinds),
        last_seq=last_seq,
        kinds=[(row[0], row[1], row[2], row[3]) for row in kinds],
        turns=[Turn(*row) for row in turns],
        marks=[Mark(*row) for row in marks],
        bins=[Bin(row[0], row[1], row[2], row[3], row[4] - sum(row[1:4])) for row in bins],
    )
