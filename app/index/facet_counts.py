"""Counts by status, model, tag and so on, and sums of cost and tokens, under any filter.

One statement counts all facets, so that they agree.

A facet under no other condition than `archived` and its own value is read from the kept counts (`app.index.tally`),
which takes as long for a million conversations as for a thousand. All other facets share one evaluation of the filter;
SQLite materialises a result that is used more than once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    CTE,
    JSON,
    ColumnElement,
    Float,
    FromClause,
    Integer,
    Numeric,
    Select,
    String,
    Subquery,
    bindparam,
    cast,
    func,
    literal_column,
    null,
    select,
    union_all,
)

from ..model.costs import Amount
from ..model.facets import Amounts, Facet, FacetCounts, FacetKind, Facets
from ..model.filters import ConversationFilter
from . import filter_sql, tables, tally
from .connections import ReadConnection
from .conversation_list import count_conversations
from .dialect import Sql, compiled, is_any_of, named_day, paired
from .filter_sql import bare, clauses_by_index, unindexed
from .tables import conversation, conversation_tag

_MODEL, _COST = 1, 2
"""The places of the model and the cost in an entry of `conversation.usage`."""
_WORKSPACES = 8
"""The number of workspaces that are listed by their cost."""
_DAY_US: ColumnElement[int] = literal_column("86400000000")
_BEFORE_1970_US: ColumnElement[int] = literal_column("62135596800000000")
_BEFORE_1970_DAYS: ColumnElement[int] = literal_column("719162")
_OF_DAYS = (FacetKind.DAY, FacetKind.MONTH)
_BY = {FacetKind.DAY: "created_at", FacetKind.MONTH: "created_at", FacetKind.TAG: "id"}
"""The columns of the facets that are named differently from their column."""


@lru_cache(maxsize=256)
def facets_sql(kinds: tuple[tuple[FacetKind, bool], ...], names: tuple[str, ...]) -> Sql:
    """Return the statement that counts by these facets (kind, whether a tag key is given) under these conditions.

    Its rows are (number of the facet, value, count, sum of the facet's counts). The null value comes first, then the
    largest count. A conversation may have several tags, so if all facets are tags, facet -1 has the total.
    """
    admitted = _admitted({kind for kind, _ in kinds if not _is_kept(kind, names)}, names)
    days = _days(names, admitted) if any(kind in _OF_DAYS for kind, _ in kinds) else None
    counted = [_counted(place, kind, names, admitted, days, keyed=keyed) for place, (kind, keyed) in enumerate(kinds)]
    if all(kind is FacetKind.TAG for kind, _ in kinds):
        count = _count(names, admitted)
        counted.append(select(literal_column("-1"), null(), count, count))
    return compiled(union_all(*counted))


def _is_kept(kind: FacetKind, names: tuple[str, ...]) -> bool:
    """Whether the kept counts have a facet under these conditions."""
    more = filter_sql.fields_of(names) - {"archived"}
    return more <= ({kind.value} if kind.value in filter_sql.COUNTED else set())


def _admitted(kinds: set[FacetKind], names: tuple[str, ...]) -> CTE | None:
    """Return the matching rows with the columns of these facets, or None if there are no facets."""
    if not kinds:
        return None
    columns = sorted({_BY.get(kind, kind.value) for kind in kinds} | {"id", "created_at"})
    admitted = select(*map(bare, columns)).where(*clauses_by_index(names)).correlate(None)
    return admitted.cte("admitted")


def _days(names: tuple[str, ...], admitted: CTE | None) -> CTE:
    """Return the rows (day, number of conversations), from which days and months are counted."""
    if admitted is None or _is_kept(FacetKind.DAY, names):
        days = tally.days_of_creation(names)
    else:
        days = select(_day(admitted.c.created_at).label("day"), func.count().label("number"))
        days = days.group_by(literal_column("1"))
    return days.correlate(None).cte("days")


def _count(names: tuple[str, ...], admitted: CTE | None) -> ColumnElement[int]:
    """Return the number of matching rows."""
    if admitted is not None:
        return select(func.count()).select_from(admitted).scalar_subquery()
    return tally.count_of(tally.named(tally.ALL), names)


def _kept(place: int, kind: FacetKind, names: tuple[str, ...], *, keyed: bool) -> Select[*tuple[Any, ...]]:
    """Return a SELECT of a facet's rows from the kept counts. The most frequent values of one shelf are read first."""
    facet: ColumnElement[str] = tally.named(kind.value)
    if keyed:
        facet = literal_column("'tag:'", type_=String) + bindparam(f"facet_key_{place}", type_=String)
    columns = tables.tally.c
    total, missing = _sums_of(place, kind, facet, names, keyed=keyed)
    number: ColumnElement[int] = columns.number
    values = select(columns.value.label("value"), number.label("number")).where(*tally.values_of(facet, names))
    if not any(len(filter_sql.find_shelves(name)) == 1 for name in names):
        number = func.sum(number)
        values = select(columns.value.label("value"), number.label("number")).where(*tally.values_of(facet, names))
        values = values.group_by(columns.value)
    most = values.order_by(number.desc(), columns.value).limit(bindparam("facet_limit")).subquery()
    none = select(null().label("value"), missing.label("number")).subquery()
    both = union_all(select(none).where(none.c.number > literal_column("0")), select(most)).subquery()
    return select(literal_column(str(place)).label("place"), both.c.value, both.c.number, total.label("total"))


def _ranked(place: int, counted: Subquery) -> Select[*tuple[Any, ...]]:
    value, number = counted.c.value, counted.c.number
    ranked = (
        select(literal_column(str(place)).label("place"), value, number, func.sum(number).over().label("total"))
        .order_by(value.is_(None).desc(), number.desc(), value)
        .limit(bindparam("facet_limit"))
        .subquery()
    )
    return select(ranked)


def _sums_of(
    place: int, kind: FacetKind, facet: ColumnElement[str], names: tuple[str, ...], *, keyed: bool
) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """Return the sum of a facet's counts, and the number of conversations without a value."""
    everything = tally.count_of(tally.named(tally.ALL), names) if _is_kept(FacetKind.TAG, names) else None
    if everything is None:  # there is a condition on the value
        return tally.count_of(facet, names), literal_column("0", type_=Integer)
    if kind is not FacetKind.TAG:
        return everything, tally.count_of(tally.named(tally.facet_of_none(kind.value)), names)
    if keyed:
        key = tables.tally.c.value == bindparam(f"facet_key_{place}")
        return everything, everything - tally.count_of(tally.named(tally.TAG), names, key)
    missing = everything - tally.count_of(tally.named(tally.TAGGED), names)
    return tally.count_of(facet, names) + missing, missing


def _counted(
    place: int, kind: FacetKind, names: tuple[str, ...], admitted: CTE | None, days: CTE | None, *, keyed: bool
) -> Select[*tuple[Any, ...]]:
    """Return a SELECT of a facet's rows."""
    if days is not None and kind in _OF_DAYS:
        named = named_day(days.c.day, month=kind is FacetKind.MONTH).label("value")
        counted = select(named, func.sum(days.c.number).label("number")).group_by(literal_column("1")).subquery()
        return _ranked(place, counted)
    if admitted is None or _is_kept(kind, names):
        return _kept(place, kind, names, keyed=keyed)
    return _ranked(place, _of_admitted(place, kind, admitted, keyed=keyed))


def _of_admitted(place: int, kind: FacetKind, admitted: CTE, *, keyed: bool) -> Subquery:
    """Return a subquery of (value, number), counted in the matching rows."""
    if kind is not FacetKind.TAG:
        return _grouped(select(admitted.c[kind.value].label("value"), func.count().label("number")))
    tag = conversation_tag.alias(f"tag_{place}")
    mine = tag.c.conversation == admitted.c.id
    joined = admitted.outerjoin(tag, mine & (tag.c.key == bindparam(f"facet_key_{place}")) if keyed else mine)
    value = tag.c.value if keyed else tag.c.key
    return _grouped(select(value.label("value"), func.count().label("number")).select_from(joined))


def _grouped(counted: Select[*tuple[Any, ...]]) -> Subquery:
    return counted.group_by(literal_column("1")).correlate(None).subquery()


def _day(time_us: ColumnElement[int]) -> ColumnElement[int]:
    """Return the day since 1970. It is computed from the year 1, because SQLite's division truncates towards zero."""
    days = (time_us + _BEFORE_1970_US).self_group().op("/")(_DAY_US)
    return days - _BEFORE_1970_DAYS


@lru_cache(maxsize=256)
def _amounts_sql(kind: FacetKind, names: tuple[str, ...], *, keyed: bool) -> Sql:
    """Return the statement for the cost and tokens by the values of a facet that are in the parameter `shown`."""
    value: ColumnElement[Any] = conversation_tag.c.value if keyed else conversation_tag.c.key
    source: FromClause = conversation
    if kind in (FacetKind.DAY, FacetKind.MONTH):
        value = named_day(_day(conversation.c.created_at), month=kind is FacetKind.MONTH)
    elif kind is FacetKind.TAG:
        source = conversation.join(conversation_tag, conversation_tag.c.conversation == conversation.c.id)
    else:
        value = unindexed(kind.value)
    wanted = [conversation_tag.c.key == bindparam("facet_key")] if keyed else []
    return compiled(
        select(value, func.sum(conversation.c.cost), func.sum(conversation.c.tokens))
        .select_from(source)
        .where(*clauses_by_index(names), is_any_of(value, "shown"), *wanted)
        .group_by(literal_column("1"))
    )


async def _add_amounts(
    index: ReadConnection, asked: ConversationFilter, facet: Facet, counts: FacetCounts
) -> FacetCounts:
    names, values = filter_sql.compile_filter(asked)
    shown = orjson.dumps([value for value, _ in counts.values]).decode()
    names = await tally.find_rare(index, names, values)
    sql = _amounts_sql(facet.kind, names, keyed=facet.tag_key is not None)
    rows = await index.fetch_all(sql, {**values, "shown": shown, "facet_key": facet.tag_key})
    return counts._replace(sums={value: Amounts(cost, tokens) for value, cost, tokens in rows})


async def count_facets(
    index: ReadConnection, asked: ConversationFilter, by: Sequence[Facet], limit: int, *, amounts: bool = False
) -> Facets:
    """Return the counts of each facet, with its `limit` most frequent values; with `amounts`, also their sums.

    The caller begins a snapshot if it asks for `amounts`, so that all numbers agree.
    """
    if not by:
        return Facets(await count_conversations(index, asked), {})
    names, parameters = filter_sql.compile_filter(asked)
    parameters |= {f"facet_key_{place}": facet.tag_key for place, facet in enumerate(by)}
    if not all(_is_kept(facet.kind, names) for facet in by):
        names = await tally.find_rare(index, names, parameters)
    sql = facets_sql(tuple((facet.kind, facet.tag_key is not None) for facet in by), names)
    found: list[list[tuple[str | None, int, int]]] = [[] for _ in by]
    count = 0
    for place, value, number, total in await index.fetch_all(sql, {**parameters, "facet_limit": limit + 1}):
        if place < 0 or by[place].kind is not FacetKind.TAG:
            count = total
        if place >= 0:
            found[place].append((value, number, total))
    counts = {facet: _counts(rows, limit) for facet, rows in zip(by, found, strict=True)}
    if amounts:
        counts = {facet: await _add_amounts(index, asked, facet, one) for facet, one in counts.items()}
    return Facets(count, {facet.name: one for facet, one in counts.items()})


def _counts(rows: list[tuple[str | None, int, int]], limit: int) -> FacetCounts:
    total = rows[0][2] if rows else 0
    missing = sum(number for value, number, _ in rows if value is None)
    values = [(value, number) for value, number, _ in rows if value is not None][:limit]
    return FacetCounts(values, missing, total - missing - sum(number for _, number in values))


class Sums(NamedTuple):
    """Sums over the matching conversations. `priced` is how many of them have a cost; `tokens` are input and output."""

    number: int
    priced: int
    cost: float
    tokens: int


class WorkspaceCost(NamedTuple):
    """A workspace with the cost of its conversations."""

    workspace: str
    number: int
    cost: float


@lru_cache(maxsize=256)
def _sums_sql(names: tuple[str, ...]) -> Sql:
    cost = conversation.c.cost
    priced = func.sum(cast(cost > literal_column("0"), Integer))
    statement = select(func.count(), priced, func.sum(cost), func.sum(conversation.c.tokens))
    return compiled(statement.where(*clauses_by_index(names)))


@lru_cache(maxsize=256)
def _workspaces_sql(names: tuple[str, ...]) -> Sql:
    workspace, cost = bare("workspace"), func.sum(conversation.c.cost).label("cost")
    return compiled(
        select(workspace, func.count(), cost)
        .where(*clauses_by_index(names), workspace.is_not(None))
        .group_by(workspace)
        .order_by(literal_column("cost").desc(), workspace)
        .limit(_WORKSPACES)
    )


async def read_sums(index: ReadConnection, asked: ConversationFilter) -> Sums:
    """Return the sums over the conversations that match."""
    names, values = filter_sql.compile_filter(asked)
    [row] = await index.fetch_all(_sums_sql(await tally.find_rare(index, names, values)), values)
    return Sums(row[0], row[1] or 0, row[2] or 0.0, row[3] or 0)


async def list_workspace_costs(index: ReadConnection, asked: ConversationFilter) -> list[WorkspaceCost]:
    """Return the costliest workspaces of the conversations that match."""
    names, values = filter_sql.compile_filter(asked)
    names = await tally.find_rare(index, names, values)
    return [WorkspaceCost(*row) for row in await index.fetch_all(_workspaces_sql(names), values)]


@lru_cache(maxsize=256)
def _usage_sql(names: tuple[str, ...], split: str | None) -> Sql:
    each: FromClause = func.json_each(conversation.c.usage).table_valued("value").alias("calls")
    # PostgreSQL takes no NUL in a text, so none in a JSON list either
    listed = cast(func.replace(conversation.c.usage, literal_column(r"'\u0000'"), literal_column("'?'")), JSON)
    elements: FromClause = func.json_array_elements(listed).table_valued("value").render_derived("calls")

    def sqlite_field(place: int) -> ColumnElement[Any]:
        return func.json_extract(each.c.value, literal_column(f"'$[{place}]'"))

    def postgres_field(place: int) -> ColumnElement[Any]:
        value: ColumnElement[Any] = elements.c.value.op("->>")(literal_column(str(place)))
        return value if place == _MODEL else cast(value, Float if place == _COST else Numeric)

    return paired(_usage(names, split, each, sqlite_field), _usage(names, split, elements, postgres_field))


def _usage(
    names: tuple[str, ...], split: str | None, calls: FromClause, field: Callable[[int], ColumnElement[Any]]
) -> Select[*tuple[Any, ...]]:
    """Return the SELECT of the usage in the elements of the JSON lists, whose fields are (hour, model, numbers)."""
    last = conversation.c.last_event_at // literal_column("3600000000", type_=Integer)
    hour = func.coalesce(field(0), last).label("hour")
    by: ColumnElement[Any] = field(1) if split == "model" else literal_column("''") if split is None else bare(split)
    sums = [func.sum(field(place)) for place in (2, 3, 4, 5)]
    return (
        select(hour, func.coalesce(by, literal_column("''")), *sums)
        .select_from(conversation)
        .join(calls, literal_column("1") == literal_column("1"))
        .where(*clauses_by_index(names), conversation.c.usage.is_not(None), hour >= bindparam("since_hour"))
        .group_by(literal_column("1"), literal_column("2"))
    )


async def list_usage(
    index: ReadConnection, asked: ConversationFilter, split: str | None, since_hour: int
) -> list[tuple[int, str, Amount]]:
    """Return the usage of the matching conversations by hour since 1970, and by `split`.

    `split` is `model`, `workspace`, `status`, or None for no split. Calls without a recorded time count at the
    conversation's last event.
    """
    names, values = filter_sql.compile_filter(asked)
    names = await tally.find_rare(index, names, values)
    rows = await index.fetch_all(_usage_sql(names, split), values | {"since_hour": since_hour})
    return [(hour, value, Amount(*amount)) for hour, value, *amount in rows]
