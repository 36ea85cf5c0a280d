"""Counts by status, model, tag and the like, under any filter. One statement for all, so that they agree."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, Subquery, bindparam, func, literal_column, null, select, union_all

from app.index import filtering
from app.index.engine import ReadConnection
from app.index.filtering import bare, clauses, clauses_by_few, clauses_to_count, unindexed
from app.index.statements import Sql, compiled
from app.index.tables import conversation, conversation_tag
from app.model.facets import Facet, FacetCounts, FacetKind, Facets
from app.model.filters import ConversationFilter

_DAY_US: ColumnElement[int] = literal_column("86400000000")
_DAY_S: ColumnElement[int] = literal_column("86400")
_BY = {FacetKind.DAY: "created_at", FacetKind.MONTH: "created_at"}
"""The columns of facets that are not named for them."""


@lru_cache(maxsize=256)
def facets_sql(kinds: tuple[tuple[FacetKind, bool], ...], names: tuple[str, ...]) -> Sql:
    """Return the statement that counts by these kinds, each with a tag's key or without, under a filter's conditions.

    Its rows are (number of the facet, value, count, sum of the facet's counts), the value null first, the biggest count
    next; the facet -1 is the count of all.
    """
    everything: Select[*tuple[Any, ...]] = select(literal_column("-1"), null(), func.count(), null())
    everything = everything.select_from(conversation).where(*clauses_to_count(names)).correlate(None)
    return compiled(
        union_all(everything, *(_facet(place, kind, names, keyed=keyed) for place, (kind, keyed) in enumerate(kinds)))
    )


def _facet(place: int, kind: FacetKind, names: tuple[str, ...], *, keyed: bool) -> Select[*tuple[Any, ...]]:
    counted = _counted(place, kind, names, keyed=keyed)
    value, number = counted.c.value, counted.c.number
    ranked = (
        select(literal_column(str(place)).label("place"), value, number, func.sum(number).over().label("total"))
        .order_by(value.is_(None).desc(), number.desc(), value)
        .limit(bindparam("facet_limit"))
        .subquery()
    )
    return select(ranked)


def _counted(place: int, kind: FacetKind, names: tuple[str, ...], *, keyed: bool) -> Subquery:
    """Return a subquery of (value, number)."""
    in_one_index = kind is not FacetKind.TAG and filtering.looked_at(names) <= {"archived", _BY.get(kind, kind.value)}
    column = bare if in_one_index else unindexed
    where = clauses(names, bare) if in_one_index else clauses_by_few(names)
    table: Any = conversation
    value: ColumnElement[Any]
    if kind is FacetKind.TAG:
        tag = conversation_tag.alias(f"tag_{place}")
        mine = tag.c.conversation == conversation.c.id
        table = conversation.outerjoin(tag, mine & (tag.c.key == bindparam(f"facet_key_{place}")) if keyed else mine)
        value = tag.c.value if keyed else tag.c.key
    elif kind in (FacetKind.DAY, FacetKind.MONTH):
        value = _day(column("created_at"))
    else:
        value = column(kind.value)
    counted = (
        select(value.label("value"), func.count().label("number"))
        .select_from(table)
        .where(*where)
        .group_by(literal_column("1"))
        .correlate(None)
        .subquery()
    )
    if kind not in (FacetKind.DAY, FacetKind.MONTH):
        return counted
    pattern: ColumnElement[str] = literal_column("'%Y-%m-%d'" if kind is FacetKind.DAY else "'%Y-%m'")
    text = func.strftime(pattern, counted.c.value * _DAY_S, literal_column("'unixepoch'"))
    return (
        select(text.label("value"), func.sum(counted.c.number).label("number")).group_by(literal_column("1")).subquery()
    )


def _day(time_us: ColumnElement[int]) -> ColumnElement[int]:
    """Return the number of the day since 1970; SQLite's division goes towards zero, so the rest is taken off first."""
    rest = (time_us.op("%")(_DAY_US) + _DAY_US).self_group().op("%")(_DAY_US)
    return (time_us - rest).self_group().op("/")(_DAY_US)


async def count_facets(index: ReadConnection, asked: ConversationFilter, by: Sequence[Facet], limit: int) -> Facets:
    """Return the counts by each facet, of its values the `limit` commonest."""
    names, parameters = filtering.ask(asked)
    parameters |= {f"facet_key_{place}": facet.tag_key for place, facet in enumerate(by)}
    sql = facets_sql(tuple((facet.kind, facet.tag_key is not None) for facet in by), names)
    (_, _, count, _), *rows = await index.fetch_all(sql, {**parameters, "facet_limit": limit + 1})
    found: list[list[tuple[str | None, int, int]]] = [[] for _ in by]
    for place, *counted in rows:
        found[place].append((counted[0], counted[1], counted[2]))
    return Facets(count, {facet.name: _counts(rows, limit) for facet, rows in zip(by, found, strict=True)})


def _counts(rows: list[tuple[str | None, int, int]], limit: int) -> FacetCounts:
    total = rows[0][2] if rows else 0
    missing = sum(number for value, number, _ in rows if value is None)
    values = [(value, number) for value, number, _ in rows if value is not None][:limit]
    return FacetCounts(values, missing, total - missing - sum(number for _, number in values))
