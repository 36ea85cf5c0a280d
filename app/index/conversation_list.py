"""Pages and counts of the conversations that match a filter, in one or two statements.

- If a database index has the matching rows in the requested order, a page walks that index and sorts nothing.
- Otherwise a page filters the next `WALKED` rows in that order, which is enough for most filters.
- If too few of these rows match, or a filter always matches few rows, a page starts from those few rows, or from the
  rows with a rare value of the filter, or scans the table (15 ms for 100,000 rows), and sorts the result.

All three return the same page. Bodies are joined last, and only for the rows of the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    FromClause,
    Select,
    bindparam,
    case,
    func,
    literal_column,
    null,
    select,
    tuple_,
)

from ..model.filters import ConversationFilter, digest
from ..model.ids import ConversationId
from ..model.page import Cursor, SortOrder, View, decode_token, encode_token
from . import filter_sql, tally
from .connections import ReadConnection, Reads
from .conversation_body import composer_of, select_view
from .dialect import Sql, compiled, paired
from .filter_sql import bare, clauses, clauses_by_index, clauses_to_count, find_shelves, unindexed
from .tables import conversation

WALKED = 1000
"""The number of rows that a page filters, in the requested order, before it scans the table."""

_BY_STATUS = frozenset({"created_at", "updated_at"})
"""The sort columns that also have a database index starting with the status."""


class Page(NamedTuple):
    """Finished JSON items and the token of the next page, or None.

    `truncated` is True if the order is relevance and only the newest matches were ranked. `ids` are those of the items.
    """

    items: list[bytes]
    next_page_id: str | None
    truncated: bool = False
    ids: list[ConversationId] = []  # noqa: RUF012 - never changed


class ListShape(NamedTuple):
    """The inputs that determine a page's SQL: order, names of the conditions, parts of the cursor, and columns."""

    order: SortOrder
    names: tuple[str, ...]
    after: bool = False
    bounded: bool = False
    view: View = View.FULL


def is_in_order(shape: ListShape) -> bool:
    """Whether a database index has the matching rows in the requested order."""
    if not _walked(shape):
        return False
    more = filter_sql.columns_of(shape.names) - {"archived", shape.order.column}
    return not more or (more == {"status"} and shape.order.column in _BY_STATUS)


def _walked(shape: ListShape) -> list[str]:
    """Return the condition on `archived`, if it is for one value.

    All database indexes for sorting start with that column.
    """
    return [name for name in shape.names if len(find_shelves(name)) == 1]


def ordered_sql(shape: ListShape) -> Sql:
    """Return the statement for a page that walks a database index in the requested order.

    For PostgreSQL, the page is a subquery: otherwise its planner prepares to list the children of all conversations.
    """

    def of_page(name: str) -> ColumnElement[Any]:
        return page.c[name]

    limit: BindParameter[int] = bindparam("row_limit")
    first, directions = _largest(shape), _directions(shape, bare)
    conditions = (*clauses(shape.names, bare), *_place(shape, bare))
    statement = _selected(shape, conversation, first).where(*conditions).order_by(*directions).limit(limit)
    page = select(conversation).where(*conditions).order_by(*directions).limit(limit).correlate(None).subquery("page")
    postgres = _selected(shape, page, first).order_by(*_directions(shape, of_page))
    return paired(statement, postgres, short=True)


def walking_sql(shape: ListShape) -> Sql:
    """Return the statement for a page that filters the next `WALKED` rows in the requested order."""
    nearest = (
        select(*(conversation.c[name] for name in filter_sql.COLUMNS))
        .where(*clauses(_walked(shape), bare), *_place(shape, bare))
        .order_by(*_directions(shape, bare))
        .limit(bindparam("walked"))
        .correlate(None)
        .subquery("nearest")
    )

    def column(name: str) -> ColumnElement[Any]:
        return nearest.c[name]

    found = select(nearest.c.id).where(*clauses(shape.names, column)).order_by(*_directions(shape, column))
    return _page_of(shape, found, short=True)


@lru_cache(maxsize=512)
def reading_sql(shape: ListShape) -> Sql:
    """Return the statement for a page that starts from few rows or scans the table, and sorts."""
    found = select(conversation.c.id).where(*clauses_by_index(shape.names), *_place(shape, unindexed))
    return _page_of(shape, found.order_by(*_directions(shape, unindexed)).correlate(None))


def _page_of(shape: ListShape, found: Select[int], *, short: bool = False) -> Sql:
    ids = found.limit(bindparam("row_limit")).scalar_subquery()
    page = _selected(shape, conversation, _largest(shape)).where(conversation.c.id.in_(ids))
    page = page.order_by(*_directions(shape, unindexed))
    return compiled(page, short=short)


def _selected(shape: ListShape, row: FromClause, largest: ColumnElement[Any]) -> Select[*tuple[Any, ...]]:
    """Return a SELECT of uuid, sort key, largest key and the view, of rows of `conversation` or of a subquery of it."""
    return select_view(shape.view, row.c.uuid, row.c[shape.order.column], largest, row=row)


def _largest(shape: ListShape) -> ColumnElement[Any]:
    """Return the largest sort key, on the first page of an ascending order, or null."""
    if shape.after or shape.order.descending:
        return null()
    key = conversation.c[shape.order.column]
    return select(func.max(key)).where(*clauses(_walked(shape), bare)).correlate(None).scalar_subquery()


def _place(shape: ListShape, column: filter_sql.Column) -> list[ColumnElement[bool]]:
    """Return the conditions that select the rows after the cursor."""
    key = column(shape.order.column)
    place = []
    if shape.after:
        here, there = tuple_(key, column("uuid")), tuple_(bindparam("after_key"), bindparam("after_id"))
        place.append(here < there if shape.order.descending else here > there)
    if shape.bounded:
        place.append(key <= bindparam("bound"))
    return place


def _directions(shape: ListShape, column: filter_sql.Column) -> tuple[ColumnElement[Any], ...]:
    key, uuid = column(shape.order.column), column("uuid")
    return (key.desc(), uuid.desc()) if shape.order.descending else (key, uuid)


@lru_cache(maxsize=512)
def walk_of(shape: ListShape) -> tuple[Sql | None, bool]:
    """Return the statement that walks a database index, if one should, and whether it finds the whole page."""
    if is_in_order(shape):
        return ordered_sql(shape), True
    walkable = _walked(shape) and not filter_sql.FEW & {*shape.names}
    return walking_sql(shape) if walkable else None, False


async def list_conversations(
    index: Reads,
    asked: ConversationFilter,
    order: SortOrder,
    page_id: str | None,
    limit: int,
    view: View = View.FULL,
) -> Page:
    """Return a page of conversations.

    Raises:
        InvalidToken: `page_id` is damaged, or belongs to another query.
    """
    query = digest(order, asked)
    names, parameters = filter_sql.compile_filter(asked)
    cursor = None if page_id is None else decode_token(page_id, query, order.key_type)
    parameters |= {"row_limit": limit + 1, "walked": WALKED}
    if cursor is not None:
        parameters |= {"after_key": cursor.key, "after_id": cursor.id, "bound": cursor.bound}
    bounded = cursor is not None and cursor.bound is not None
    shape = ListShape(order, names, after=cursor is not None, bounded=bounded, view=view)
    walk, whole = walk_of(shape)
    rows = [] if walk is None else await index.fetch_all(walk, parameters)
    if not whole and len(rows) <= limit:
        marked = shape._replace(names=await tally.find_rare(index, names, parameters))
        rows = await index.fetch_all(reading_sql(marked), parameters)
    next_page_id = None
    if len(rows) > limit:
        uuid, key, largest, *_ = rows[limit - 1]
        bound = largest if cursor is None else cursor.bound
        next_page_id = encode_token(Cursor(key, uuid, bound), query)
    shown = rows[:limit]
    compose = composer_of(view)
    return Page([compose(*row[3:]) for row in shown], next_page_id, ids=[ConversationId(row[0]) for row in shown])


@lru_cache(maxsize=256)
def count_sql(names: tuple[str, ...]) -> Sql:
    """Return the statement that counts the conversations under these conditions."""
    return compiled(select(func.count()).select_from(conversation).where(*clauses_to_count(names)))


async def count_conversations(index: ReadConnection, asked: ConversationFilter) -> int:
    """Return how many conversations match the filter."""
    names, parameters = filter_sql.compile_filter(asked)
    kept = tally.find_count(names, parameters)
    if kept is None:
        kept = count_sql(await tally.find_rare(index, names, parameters)), parameters
    rows = await index.fetch_all(*kept)
    return int(rows[0][0])


class Family(NamedTuple):
    """The children of a conversation, those of sub-agents too: their number, their statuses, and their cost.

    agent-server adds a sub-agent's cost to its parent's, so `cost` has only that of the other children.
    """

    number: int
    statuses: frozenset[str]
    cost: float


@lru_cache(maxsize=64)
def _families_sql(number: int) -> Sql:
    columns, subagent = conversation.c, conversation.c.archived >= literal_column("2")
    own = func.sum(case((subagent, literal_column("0.0")), else_=columns.cost))
    parents: list[BindParameter[str]] = [bindparam(f"id_{place}") for place in range(number)]
    return compiled(
        select(columns.parent, columns.status, func.count(), own)
        .where(columns.parent.in_(parents))
        .group_by(columns.parent, columns.status)
    )


async def list_families(index: ReadConnection, ids: Sequence[ConversationId]) -> dict[ConversationId, Family]:
    """Return the children of each conversation that has any."""
    families: dict[ConversationId, Family] = {}
    if not ids:
        return families
    rows = await index.fetch_all(_families_sql(len(ids)), {f"id_{place}": one for place, one in enumerate(ids)})
    for parent, status, number, cost in rows:
        family = families.get(ConversationId(parent), Family(0, frozenset(), 0.0))
        families[ConversationId(parent)] = Family(
            family.number + number, family.statuses | {status}, family.cost + (cost or 0.0)
        )
    return families


@lru_cache(maxsize=64)
def located_sql(names: tuple[str, ...]) -> Sql:
    """Return the statement that lists all matching conversations in order of their ids."""
    columns = conversation.c
    return compiled(
        select(columns.uuid, columns.directory)
        .where(columns.uuid > bindparam("after"), *clauses(names, unindexed))
        .order_by(columns.uuid)
        .limit(bindparam("row_limit"))
    )


async def list_located(
    index: ReadConnection, asked: ConversationFilter, after: str, limit: int
) -> list[tuple[ConversationId, str]]:
    """Return (id, directory) of the next conversations that match the filter, in order of their ids."""
    names, parameters = filter_sql.compile_filter(asked)
    rows = await index.fetch_all(located_sql(names), {**parameters, "after": after, "row_limit": limit})
    return [(ConversationId(row[0]), row[1]) for row in rows]
