"""How many conversations have each status, model, workspace, kind of agent, tag and day. So no count reads all rows.

`tally` counts values: a row is (facet, value of `archived`, value, number). `tally_day` counts days of creation, change
and last event, by status. Whoever writes conversations updates both in the same transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, func, literal_column, select, text

from ..model.conversation import ConversationRow
from . import filter_sql
from .connections import ReadConnection, Reads, WriteConnection
from .dialect import Sql, compiled, paired
from .filter_sql import bare, clauses
from .tables import conversation, tally, tally_day

DAY_US = 86_400_000_000

ALL = ""
"""The facet whose one value counts all conversations."""

TAG = "tag"
"""The facet of tag keys. The values of one tag are counted by the facet `tag:KEY`."""

TAGGED = "tagged"
"""The facet whose one value counts the conversations with a tag."""

_NONE = "no "
"""A facet's name begins with this if it counts the conversations without a value."""

_TIMES = ("created_at", "updated_at", "last_event_at")

Change = tuple[ConversationRow | None, ConversationRow | None]

_Facet = tuple[str, int, str]
_Day = tuple[str, int, str, int]


def facet_of_none(column: str) -> str:
    """Return the facet that counts the conversations without a value in a column."""
    return f"{_NONE}{column}"


_counted_values = attrgetter("archived", "tags", *filter_sql.COUNTED)
_counted_times = attrgetter(*_TIMES)


def _counts_alike(before: ConversationRow, after: ConversationRow) -> bool:
    """Whether nothing that is counted of a conversation differs. Each append asks this."""
    if _counted_values(before) != _counted_values(after):
        return False
    pairs = zip(_counted_times(before), _counted_times(after), strict=True)
    return all(one // DAY_US == other // DAY_US for one, other in pairs)


def _values_of(row: ConversationRow) -> list[_Facet]:
    shelf = row.archived
    found = [(ALL, shelf, "")]
    for column in filter_sql.COUNTED:
        value = getattr(row, column)
        found.append((facet_of_none(column), shelf, "") if value is None else (column, shelf, value))
    if row.tags:
        found.append((TAGGED, shelf, ""))
        for key, value in row.tags:
            found += [(TAG, shelf, key), (f"{TAG}:{key}", shelf, value)]
    return found


def _days_of(row: ConversationRow) -> list[_Day]:
    return [(column, row.archived, row.status, getattr(row, column) // DAY_US) for column in _TIMES]


_INSERT = (
    "INSERT INTO tally (facet, archived, value, number) VALUES (:facet, :archived, :value, :number)"
    " ON CONFLICT (facet, archived, {}) DO UPDATE SET number = tally.number + excluded.number"
)
_ADD = paired(text(_INSERT.format("value")), text(_INSERT.format("md5(value)")))
"""A value may be too long for a B-tree of PostgreSQL."""

_DROP = Sql("DELETE FROM tally WHERE facet = :facet AND archived = :archived AND value = :value AND number = 0", {})
_ADD_DAYS = Sql(
    "INSERT INTO tally_day (name, archived, status, day, number) VALUES (:name, :archived, :status, :day, :number)"
    " ON CONFLICT (name, archived, status, day) DO UPDATE SET number = tally_day.number + excluded.number",
    {},
)
_DROP_DAYS = Sql(
    "DELETE FROM tally_day WHERE name = :name AND archived = :archived AND status = :status AND day = :day"
    " AND number = 0",
    {},
)


def add_changes(index: WriteConnection, changes: Iterable[Change]) -> None:
    """Count changes of conversations: each row before and after. None: the conversation is new, or it is deleted."""
    counted = [one for one in changes if one[0] is None or one[1] is None or not _counts_alike(one[0], one[1])]
    if not counted:
        return
    values: Counter[_Facet] = Counter()
    days: Counter[_Day] = Counter()
    for before, after in counted:
        for row, by in ((before, -1), (after, 1)):
            if row is not None:
                for value in _values_of(row):
                    values[value] += by
                for day in _days_of(row):
                    days[day] += by
    _write(index, ("facet", "archived", "value"), values, _ADD, _DROP)
    _write(index, ("name", "archived", "status", "day"), days, _ADD_DAYS, _DROP_DAYS)


def _write(index: WriteConnection, names: Sequence[str], changes: Mapping[Any, int], add: Sql, drop: Sql) -> None:
    keyed = [(dict(zip(names, key, strict=True)), number) for key, number in changes.items() if number]
    if keyed:
        index.execute_many(add, [{**key, "number": number} for key, number in keyed])
    if fewer := [key for key, number in keyed if number < 0]:
        index.execute_many(drop, fewer)


_OF_TAGS = "FROM conversation_tag JOIN conversation ON conversation.id = conversation_tag.conversation"
_OF_ALL = "SELECT '' AS facet, archived, '' AS value, count(*) AS number FROM conversation GROUP BY archived"
_OF_TAGGED = (
    "SELECT 'tagged', archived, '', count(*) FROM conversation"
    " WHERE id IN (SELECT conversation FROM conversation_tag) GROUP BY archived"
)
_OF_KEYS = f"SELECT 'tag', archived, key, count(*) {_OF_TAGS} GROUP BY 2, 3"
_OF_VALUES = f"SELECT 'tag:' || key, archived, conversation_tag.value, count(*) {_OF_TAGS} GROUP BY 1, 2, 3"
_OF_COLUMNS = tuple(
    f"SELECT CASE WHEN {column} IS NULL THEN 'no {column}' ELSE '{column}' END, archived,"  # noqa: S608
    f" coalesce({column}, ''), count(*) FROM conversation GROUP BY 1, 2, 3"
    for column in filter_sql.COUNTED
)
_COUNTED = " UNION ALL ".join((_OF_ALL, *_OF_COLUMNS, _OF_TAGGED, _OF_KEYS, _OF_VALUES))
_COUNTED_DAYS = " UNION ALL ".join(
    f"SELECT '{column}' AS name, archived, status,"  # noqa: S608
    f" ({column} - ({column} % {DAY_US} + {DAY_US}) % {DAY_US}) / {DAY_US} AS day, count(*) AS number"
    " FROM conversation GROUP BY archived, status, 4"
    for column in _TIMES
)
"""SQLite's division and remainder truncate towards zero."""

_RECOUNT = (
    "DELETE FROM tally",
    "DELETE FROM tally_day",
    f"INSERT INTO tally (facet, archived, value, number) {_COUNTED}",
    f"INSERT INTO tally_day (name, archived, status, day, number) {_COUNTED_DAYS}",
)


def _differences(counted: str, stored: str) -> str:
    return (
        f"SELECT * FROM (SELECT * FROM ({counted}) AS one EXCEPT {stored}) AS more"  # noqa: S608
        f" UNION SELECT * FROM ({stored} EXCEPT SELECT * FROM ({counted}) AS one) AS fewer"
    )


_MISCOUNTED = Sql(_differences(_COUNTED, "SELECT facet, archived, value, number FROM tally"), {})
_MISCOUNTED_DAYS = Sql(_differences(_COUNTED_DAYS, "SELECT name, archived, status, day, number FROM tally_day"), {})


async def list_miscounted(index: ReadConnection) -> list[str]:
    """Return the names of the facets and days whose counts differ from the rows. This reads all conversations."""
    rows = await index.fetch_all(_MISCOUNTED) + await index.fetch_all(_MISCOUNTED_DAYS)
    return sorted({str(row[0]) or "all" for row in rows})


def recount(index: WriteConnection) -> None:
    """Count all conversations anew."""
    for statement in _RECOUNT:
        index.execute_many(Sql(statement, {}), [{}])


def _tallied(name: str) -> ColumnElement[Any]:
    return tally.c.archived if name == "archived" else tally.c.value


def _of_day(name: str) -> ColumnElement[Any]:
    return tally_day.c[name]


def values_of(facet: ColumnElement[str], names: Sequence[str]) -> list[ColumnElement[bool]]:
    """Return the conditions on `tally` for the values of a facet under conditions on `archived` and on the value."""
    return [tally.c.facet == facet, *clauses(names, _tallied)]


def count_of(facet: ColumnElement[str], names: Sequence[str], *more: ColumnElement[bool]) -> ColumnElement[int]:
    """Return the number of conversations that a facet counts under such conditions and `more` of them."""
    number = func.coalesce(func.sum(tally.c.number), literal_column("0"))
    return select(number).where(*values_of(facet, names), *more).correlate(None).scalar_subquery()


def named(facet: str) -> ColumnElement[str]:
    """Return the name of a facet, which is a constant, as SQL."""
    return literal_column(f"'{facet}'")


def days_of_creation(names: Sequence[str]) -> Select[int, int]:
    """Return a SELECT of (day, number) under conditions on `archived`."""
    columns = tally_day.c
    counted = select(columns.day.label("day"), func.sum(columns.number).label("number"))
    return counted.where(columns.name == named("created_at"), *clauses(names, _of_day)).group_by(columns.day)


_RARE_SHARE = 20
"""A value is rare if at most one in so many conversations has it. To look a row up takes three times as long as to read
it in a scan."""


@lru_cache(maxsize=256)
def _sizes_sql(names: tuple[str, ...]) -> Sql:
    """Return the statement for the number of all conversations on a filter's shelves, and of those under a condition.

    There is a number for each condition that `find_counted` lists.
    """
    shelves = [name for name in names if filter_sql.find_shelves(name)]
    found = filter_sql.find_counted(names)
    sizes = [count_of(named(*filter_sql.fields_of((name,))), (name, *shelves)) for name in found]
    return compiled(select(count_of(named(ALL), shelves), *sizes), short=True)


async def find_rare(index: Reads, names: tuple[str, ...], values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of a filter's conditions, with a mark on the rarest one if few conversations pass it.

    Without the mark a statement scans all rows, because SQLite does not know how many have a value.
    """
    found = [] if index.plans_by_values else filter_sql.find_counted(names)
    if not found:
        return names
    [[everything, *sizes]] = await index.fetch_all(_sizes_sql(names), values)
    size, rarest = min(zip(sizes, found, strict=True))
    return filter_sql.mark_rare(names, rarest) if size * _RARE_SHARE <= everything else names


@lru_cache(maxsize=256)
def _count_sql(names: tuple[str, ...]) -> Sql | None:
    """Return the statement that adds up kept counts under these conditions, or None if the counts do not suffice."""
    more = filter_sql.fields_of(names) - {"archived"}
    if not more:
        return compiled(select(count_of(named(ALL), names)))
    if len(more) == 1 and more <= {*filter_sql.COUNTED}:
        return compiled(select(count_of(named(*more), names)))
    time = _time_of(names)
    if time is None or not more <= {time, "status"}:
        return None
    others = [name for name in names if name not in _limits(time)]
    whole = (
        select(func.coalesce(func.sum(tally_day.c.number), literal_column("0")))
        .where(tally_day.c.name == named(time), *clauses(others, _of_day))
        .where(tally_day.c.day >= bindparam("first_day"), tally_day.c.day < bindparam("end_day"))
        .scalar_subquery()
    )
    parts = [
        select(func.count())
        .select_from(conversation)
        .where(*clauses(others, bare))
        .where(bare(time) >= bindparam(f"from_{part}"), bare(time) < bindparam(f"before_{part}"))
        .scalar_subquery()
        for part in (0, 1)
    ]
    return compiled(select(whole + parts[0] + parts[1]))


def _limits(time: str) -> tuple[str, str]:
    return f"{time}_gte", f"{time}_lt"


def _time_of(names: Sequence[str]) -> str | None:
    return next((time for time in _TIMES if {*_limits(time)} & {*names}), None)


_ANY_DAY = 2**40


def _bounds(since_us: int | None, until_us: int | None) -> dict[str, int]:
    """Return the whole days in a span of time, and the parts of days at both ends (empty ones begin at their end)."""
    first_day = -_ANY_DAY if since_us is None else -(-since_us // DAY_US)
    end_day = _ANY_DAY if until_us is None else until_us // DAY_US
    begin = (0, 0) if since_us is None else (since_us, first_day * DAY_US)
    end = (0, 0) if until_us is None else (end_day * DAY_US, until_us)
    if since_us is not None and until_us is not None and first_day > end_day:  # no midnight between them
        begin, end = (since_us, until_us), (0, 0)
    parts = {"from_0": begin[0], "before_0": begin[1], "from_1": end[0], "before_1": end[1]}
    return {"first_day": first_day, "end_day": end_day, **parts}


def find_count(names: tuple[str, ...], values: Mapping[str, Any]) -> tuple[Sql, dict[str, object]] | None:
    """Return the statement and parameters of a count from kept counts, or None if these do not suffice for the filter.

    They suffice for conditions on `archived` and one column with few values, or on one time and the status. Of a span
    of time, only the rows of the first and last day are read.
    """
    sql = _count_sql(names)
    if sql is None:
        return None
    time = _time_of(names)
    bounds = {} if time is None else _bounds(*(values.get(name) for name in _limits(time)))
    return sql, {**values, **bounds}
