"""The number of events of each conversation in each quarter of an hour, so that no statistic reads all event rows.

A quarter, because the offset of every time zone is a multiple of it: each day and hour of a zone consists of whole
quarters. Whoever writes event rows updates these counts in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    bindparam,
    cast,
    delete,
    func,
    literal_column,
    select,
)

from ..model.filters import ConversationFilter
from ..model.periods import QUARTER_US
from . import filter_sql
from .connections import ReadConnection, WriteConnection
from .dialect import Sql, compiled, paired
from .filter_sql import bare, clauses, unindexed
from .tables import activity, conversation

_DAY = 96
_WEEK = 7 * _DAY
_MONDAY = 3 * _DAY
"""The distance of 1 January 1970, a Thursday, from the Monday before it."""

_QUARTER = f"(timestamp - (timestamp % {QUARTER_US} + {QUARTER_US}) % {QUARTER_US}) / {QUARTER_US}"
"""The SQL expression for the quarter of an event. The databases' division and remainder truncate towards zero."""

_ADD = Sql(
    "INSERT INTO activity (conversation, quarter, events) VALUES (:key, :quarter, :events)"
    " ON CONFLICT (conversation, quarter) DO UPDATE SET events = activity.events + excluded.events",
    {},
)
_FORGET = Sql("DELETE FROM activity WHERE conversation = :key", {})
_RECOUNT = Sql(
    f"INSERT INTO activity (conversation, quarter, events) SELECT :key, {_QUARTER} AS place, count(*)"  # noqa: S608
    " FROM event WHERE conversation = :key AND timestamp IS NOT NULL GROUP BY place",
    {},
)
_COUNT_MORE = Sql(
    f"INSERT INTO activity (conversation, quarter, events) SELECT :key, {_QUARTER} AS place, count(*)"  # noqa: S608
    " FROM event WHERE conversation = :key AND seq BETWEEN :first AND :last AND timestamp IS NOT NULL GROUP BY place"
    " ON CONFLICT (conversation, quarter) DO UPDATE SET events = activity.events + excluded.events",
    {},
)
_COUNTED = (
    f"SELECT conversation, {_QUARTER} AS quarter, count(*) AS events FROM event"  # noqa: S608
    " WHERE timestamp IS NOT NULL GROUP BY conversation, quarter"
)
_STORED = "SELECT conversation, quarter, events FROM activity"
_MISCOUNTED = Sql(
    f"SELECT conversation FROM (SELECT * FROM ({_COUNTED}) AS one EXCEPT {_STORED}) AS more"  # noqa: S608
    f" UNION SELECT conversation FROM ({_STORED} EXCEPT SELECT * FROM ({_COUNTED}) AS one) AS fewer",
    {},
)
_QUARTERS = Sql("SELECT DISTINCT quarter FROM activity WHERE quarter >= :first AND quarter < :end", {})


class HourCount(NamedTuple):
    """The number of events in an hour of a weekday (0: Monday), in UTC plus the requested offset."""

    weekday: int
    hour: int
    events: int


class SpanCount(NamedTuple):
    """The activity in a span, given by its place in the list of spans, of conversations with one value of the split."""

    place: int
    split: str
    conversations: int
    events: int


def add_activity(index: WriteConnection, added: Iterable[tuple[int, int | None]]) -> None:
    """Count new events: the key of the conversation and the time in microseconds of each."""
    counts: dict[tuple[int, int], int] = {}
    for key, time_us in added:
        if time_us is not None:
            place = key, time_us // QUARTER_US
            counts[place] = counts.get(place, 0) + 1
    rows = [{"key": key, "quarter": quarter, "events": events} for (key, quarter), events in counts.items()]
    index.execute_many(_ADD, rows)


def count_more(index: WriteConnection, key: int, first: int, last: int) -> None:
    """Count the events of a conversation between two numbers. All of them are new."""
    index.fetch_all(_COUNT_MORE, {"key": key, "first": first, "last": last})


def recount_activity(index: WriteConnection, keys: Iterable[int]) -> None:
    """Count the events of conversations anew, after event rows were changed or deleted."""
    rows = [{"key": key} for key in keys]
    index.execute_many(_FORGET, rows)
    index.execute_many(_RECOUNT, rows)


def clear_activity(index: WriteConnection) -> None:
    """Delete all counts, together with all event rows."""
    index.execute(delete(activity))


async def list_miscounted(index: ReadConnection) -> list[int]:
    """Return the keys of conversations whose counts differ from their event rows. This reads all event rows."""
    return [row[0] for row in await index.fetch_all(_MISCOUNTED)]


@lru_cache(maxsize=256)
def _hours_sql(names: tuple[str, ...]) -> Sql:
    week: ColumnElement[int] = literal_column(str(_WEEK), type_=Integer)
    place = (activity.c.quarter + bindparam("offset", type_=Integer)) % week
    hour = ((place + week) % week // literal_column("4", type_=Integer)).label("hour")
    return compiled(
        select(hour, func.sum(activity.c.events))
        .join_from(activity, conversation, conversation.c.id == activity.c.conversation)
        .where(activity.c.quarter >= bindparam("first"), *clauses(names, unindexed))
        .group_by(literal_column("1"))
    )


async def count_hours(index: ReadConnection, asked: ConversationFilter, first: int, offset: int) -> list[HourCount]:
    """Return the numbers of events in the matching conversations by weekday and hour.

    `first` is the first quarter that counts. `offset` is the number of quarters by which the zone is ahead of UTC.
    """
    names, values = filter_sql.compile_filter(asked)
    rows = await index.fetch_all(_hours_sql(names), values | {"first": first, "offset": offset + _MONDAY})
    return sorted(HourCount(hour // 24, hour % 24, events) for hour, events in rows)


async def list_quarters(index: ReadConnection, first: int, end: int) -> list[int]:
    """Return the quarters in which any conversation had an event, from `first` on and before `end`."""
    return sorted(row[0] for row in await index.fetch_all(_QUARTERS, {"first": first, "end": end}))


@lru_cache(maxsize=256)
def _spans_sql(names: tuple[str, ...], split: str | None) -> Sql:
    each = func.json_each(bindparam("spans")).table_valued("key", "value").alias("spans")
    listed = func.json_array_elements(cast(bindparam("spans"), JSON))
    elements = listed.table_valued("value", with_ordinality="number").render_derived("spans")

    def sqlite_bound(place: int) -> ColumnElement[int]:
        return func.json_extract(each.c.value, literal_column(f"'$[{place}]'"))

    def postgres_bound(place: int) -> ColumnElement[int]:
        return cast(elements.c.value.op("->>")(literal_column(str(place))), BigInteger)

    number = elements.c.number - literal_column("1", type_=Integer)
    return paired(
        _spans(names, split, each, each.c.key, (sqlite_bound(0), sqlite_bound(1))),
        _spans(names, split, elements, number, (postgres_bound(0), postgres_bound(1))),
    )


def _spans(
    names: tuple[str, ...],
    split: str | None,
    spans: FromClause,
    place: ColumnElement[int],
    bounds: tuple[ColumnElement[int], ColumnElement[int]],
) -> Select[*tuple[Any, ...]]:
    by = literal_column("''") if split is None else func.coalesce(bare(split), literal_column("''"))
    return (
        select(place, by, func.count(activity.c.conversation.distinct()), func.sum(activity.c.events))
        .select_from(spans)
        .join(activity, activity.c.quarter.between(bounds[0], bounds[1]))
        .join(conversation, conversation.c.id == activity.c.conversation)
        .where(*clauses(names, unindexed))
        .group_by(literal_column("1"), literal_column("2"))
    )


async def count_spans(
    index: ReadConnection, asked: ConversationFilter, spans: Sequence[tuple[int, int]], split: str | None
) -> list[SpanCount]:
    """Return the activity of the matching conversations in each span (first quarter, last quarter).

    `split` is `model`, `workspace`, `status`, or None for no split.
    """
    names, values = filter_sql.compile_filter(asked)
    rows = await index.fetch_all(_spans_sql(names, split), values | {"spans": orjson.dumps(spans).decode()})
    return [SpanCount(*row) for row in rows]
