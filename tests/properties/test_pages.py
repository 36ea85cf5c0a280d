"""Walks of pages, while rows are added, changed and deleted between the pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.index import conversation_list, conversation_rows
from app.index.connections import WriteConnection
from app.index.sqlite.database import Index
from app.model.conversation import ConversationRow, IndexedRow
from app.model.filters import ConversationFilter, Status
from app.model.ids import ConversationId
from app.model.page import COLUMN_ORDERS, SortOrder
from app.model.text.tokenizer import fold_title
from tests.builders import make_id
from tests.properties.conftest import Live

NUMBER_OF = {make_id(number): number for number in range(12)}
NUMBERS = st.sampled_from(sorted(NUMBER_OF.values()))
KEYS = st.integers(0, 3)
STATUSES = st.sampled_from([Status.IDLE, Status.RUNNING])
WORKSPACES = st.sampled_from(["/a", "/b"])
FILTERS = st.builds(
    ConversationFilter,
    statuses=st.sets(STATUSES).map(tuple),
    workspaces=st.sets(WORKSPACES, max_size=1).map(tuple),
    cost_gte=st.none() | st.just(0.5),
    archived=st.sampled_from([False, False, True, None]),
)
PAGES_MAX = 100


class Row(NamedTuple):
    """What of a conversation matters to a list."""

    created_at: int
    updated_at: int
    status: Status
    title: str | None
    last_event_at: int = 0
    event_count: int = 0
    cost: float = 0.0
    workspace: str = "/a"
    archived: bool = False

    def key(self, order: SortOrder) -> Any:
        return (self.title or "").lower() if order.column == "title_key" else getattr(self, order.column)

    def place(self, order: SortOrder) -> tuple[Any, ...]:
        return self.key(order), self.status, self.cost, self.workspace, self.archived

    def is_asked(self, asked: ConversationFilter) -> bool:
        return (
            self.status in (asked.statuses or (self.status,))
            and self.workspace in (asked.workspaces or (self.workspace,))
            and self.cost >= (asked.cost_gte or 0)
            and asked.archived in (None, self.archived)
        )


def row_at(place: int) -> Row:
    """Return a row that is at this place in every order."""
    return Row(place, place, Status.IDLE, f"{place:03}", place, place, float(place))


class Change(NamedTuple):
    """A conversation that is written, or deleted when `row` is None."""

    number: int
    row: Row | None


TITLES = st.sampled_from([None, "a", "A", "b", "B"])
COSTS = st.sampled_from([0.0, 0.1, 0.7])
ROWS = st.builds(Row, KEYS, KEYS, STATUSES, TITLES, KEYS, KEYS, COSTS, WORKSPACES, st.booleans())
LISTED = ROWS.map(lambda row: row._replace(archived=False))
STORES = st.dictionaries(NUMBERS, ROWS)
CHANGES = st.lists(st.lists(st.builds(Change, NUMBERS, st.none() | ROWS), max_size=3), max_size=8)


def indexed(number: int, row: Row) -> IndexedRow:
    uuid = make_id(number)
    folded = ConversationRow(
        uuid=ConversationId(uuid),
        directory=uuid,
        title=row.title,
        title_key=fold_title(row.title),
        status=row.status.value,
        created_at=row.created_at,
        updated_at=row.updated_at,
        last_event_at=row.last_event_at,
        event_count=row.event_count,
        workspace=row.workspace,
        agent_kind="Agent",
        model=None,
        parent=None,
        forked_from=None,
        cost=row.cost,
        tokens=0,
        usage=None,
        unreadable=None,
        archived=row.archived,
        openable=True,
        pinned=False,
        tags=(),
        preview=None,
        shared=b"",
        body=orjson.dumps({"id": uuid}),
    )
    return IndexedRow(folded, b"signature")


async def apply(index: Index, changes: Sequence[Change]) -> None:

    def write(connection: WriteConnection) -> None:
        for number, row in changes:
            if row is None:
                conversation_rows.delete_many(connection, [make_id(number)])
            else:
                conversation_rows.upsert_many(connection, [indexed(number, row)])

    await index.write(write)


async def fill(index: Index, store: dict[int, Row]) -> None:
    """Make the index hold these conversations and no other, written in no helpful order."""

    def write(connection: WriteConnection) -> None:
        conversation_rows.delete_many(connection, NUMBER_OF)
        conversation_rows.upsert_many(connection, [indexed(number, store[number]) for number in store])

    await index.write(write)


async def walk(
    index: Index,
    asked: ConversationFilter,
    order: SortOrder,
    limit: int,
    between: Sequence[Sequence[Change]] = (),
) -> list[int]:
    """Return the numbers of the conversations on all pages; before the n-th following page, `between[n]` happens."""
    seen: list[int] = []
    page_id = None
    for page_number in range(PAGES_MAX):
        async with index.read() as connection:
            page = await conversation_list.list_conversations(connection, asked, order, page_id, limit)
        assert len(page.items) <= limit
        seen += [NUMBER_OF[orjson.loads(item)["id"]] for item in page.items]
        page_id = page.next_page_id
        if page_id is None:
            return seen
        if page_number < len(between):
            await apply(index, between[page_number])
    raise AssertionError(f"the walk did not end after {PAGES_MAX} pages")


def expected(store: dict[int, Row], asked: ConversationFilter, order: SortOrder) -> list[int]:
    """Return the numbers that the filter admits, in order, ids breaking ties."""
    admitted = [number for number, row in store.items() if row.is_asked(asked)]
    return sorted(admitted, key=lambda n: (store[n].key(order), make_id(n)), reverse=order.descending)


def steady(store: dict[int, Row], between: Sequence[Sequence[Change]], order: SortOrder) -> set[int]:
    """Return the conversations that were never deleted and of which no change touches the key or what is filtered."""
    now: dict[int, Row | None] = dict(store)
    moved = set()
    for number, row in (change for step in between for change in step):
        before = now.get(number)
        if before is not None and (row is None or row.place(order) != before.place(order)):
            moved.add(number)
        now[number] = row
    return set(now) - moved


@pytest.fixture(autouse=True, scope="module")
def _pages_that_look_at_few_rows() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversation_list, "WALKED", 3)
        yield


@given(store=STORES, asked=FILTERS, order=st.sampled_from(COLUMN_ORDERS), limit=st.integers(1, 13))
@settings(max_examples=60, deadline=None)
def test_a_quiet_walk_is_the_sorted_list_and_as_long_as_the_count(
    live: Live, store: dict[int, Row], asked: ConversationFilter, order: SortOrder, limit: int
) -> None:
    async def scenario() -> tuple[list[int], int]:
        await fill(live.index, store)
        async with live.index.read() as connection:
            count = await conversation_list.count_conversations(connection, asked)
        return await walk(live.index, asked, order, limit), count

    wanted = expected(store, asked, order)
    assert live.run(scenario()) == (wanted, len(wanted))


@pytest.mark.long
@given(
    store=st.dictionaries(NUMBERS, LISTED, min_size=4),
    asked=FILTERS,
    order=st.sampled_from(COLUMN_ORDERS),
    limit=st.integers(1, 4),
    between=CHANGES,
)
@settings(max_examples=100, deadline=None)
def test_a_walk_among_changes_neither_skips_nor_repeats_a_row_that_did_not_move(
    live: Live,
    *,
    store: dict[int, Row],
    asked: ConversationFilter,
    order: SortOrder,
    limit: int,
    between: list[list[Change]],
) -> None:
    async def scenario() -> list[int]:
        await fill(live.index, store)
        return await walk(live.index, asked, order, limit, between)

    seen = live.run(scenario())
    stayed = steady(store, between, order)
    old = {number: row for number, row in store.items() if number in stayed}
    assert [number for number in seen if number in old] == expected(old, asked, order)
    new = [number for number in seen if number in stayed - set(old)]
    assert len(new) == len(set(new))


@given(store=st.dictionaries(NUMBERS, LISTED, min_size=4), limit=st.integers(1, 3), data=st.data())
@settings(max_examples=40, deadline=None)
def test_an_ascending_walk_ends_although_rows_keep_moving_to_its_end(
    live: Live, store: dict[int, Row], limit: int, data: st.DataObject
) -> None:
    touched = data.draw(st.lists(st.sampled_from(sorted(store)), min_size=1, max_size=4))
    between = [
        [Change(number, store[number]._replace(updated_at=1_000 + step)) for number in touched]
        for step in range(PAGES_MAX)
    ]

    async def scenario() -> list[int]:
        await fill(live.index, store)
        return await walk(live.index, ConversationFilter(), SortOrder.UPDATED_AT, limit, between)

    seen = live.run(scenario())
    assert sorted(seen) == sorted(set(seen))
    quiet = {number: row for number, row in store.items() if number not in touched}
    assert [n for n in seen if n in quiet] == expected(quiet, ConversationFilter(), SortOrder.UPDATED_AT)


@given(limit=st.integers(1, 3), order=st.sampled_from(COLUMN_ORDERS))
@settings(max_examples=20, deadline=None)
def test_a_walk_ends_although_new_rows_keep_coming(live: Live, limit: int, order: SortOrder) -> None:
    old = {number: row_at(number) for number in range(6)}
    between = [[Change(6 + step % 6, row_at(50 + step))] for step in range(PAGES_MAX)]

    async def scenario() -> list[int]:
        await fill(live.index, old)
        return await walk(live.index, ConversationFilter(), order, limit, between)

    assert live.run(scenario()) == expected(old, ConversationFilter(), order)


@given(store=st.dictionaries(NUMBERS, LISTED, min_size=4), order=st.sampled_from(COLUMN_ORDERS))
@settings(max_examples=30, deadline=None)
def test_a_walk_goes_on_after_the_row_that_its_token_names_is_deleted(
    live: Live, store: dict[int, Row], order: SortOrder
) -> None:
    wanted = expected(store, ConversationFilter(), order)
    between = [[Change(number, None)] for number in wanted]

    async def scenario() -> list[int]:
        await fill(live.index, store)
        return await walk(live.index, ConversationFilter(), order, 1, between)

    assert live.run(scenario()) == wanted
