"""Writing rows: what is replaced, what goes with what, and what a row that is the same costs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import groupby

from sqlalchemy import BindParameter

from app.index import conversation_lookup, conversation_rows, event_rows, ownership
from app.index.connections import WriteConnection
from app.index.conversation_rows import KnownRow, Upserted
from app.index.sqlite.database import Index
from app.index.sqlite.write_connection import SqliteWriteConnection
from app.model.conversation import IndexedRow
from app.model.event import LogChange
from app.model.ids import ConversationId
from tests.builders import index_tables, make_id
from tests.index.builders import key_of, make_message, make_row, put, stored_revision


async def test_a_row_that_is_written_again_keeps_its_key_and_its_events(index: Index) -> None:
    await put(index, make_row(1))
    key = await key_of(index, 1)
    await index.write(lambda connection: event_rows.apply_changes(connection, [LogChange(key, [make_message()], [])]))
    await put(index, make_row(1, title="Another"))
    assert await key_of(index, 1) == key
    tables = index_tables(index.path)
    assert ([row[2] for row in tables["conversation"]], len(tables["event"])) == (["Another"], 1)


async def test_a_row_that_says_the_same_is_no_change(index: Index) -> None:
    await put(index, make_row(1), make_row(2))
    before = stored_revision(index.path)
    done = await index.write(
        lambda connection: conversation_rows.upsert_many(connection, [make_row(1)._replace(signature=b"a newer one")])
    )
    assert done == Upserted(0)
    assert stored_revision(index.path) == before
    async with index.read() as connection:
        located = await conversation_lookup.locate_conversation(connection, ConversationId(make_id(1)))
    assert located is not None
    assert (located.signature, located.events_behind) == (b"a newer one", True)


async def test_a_row_that_changed_since_the_files_were_read_is_left_alone(index: Index) -> None:
    await put(index, make_row(1, title="Old"))
    as_of = stored_revision(index.path)
    await put(index, make_row(1, title="Newer"))
    rows = [make_row(1, title="Stale"), make_row(2, title="Another")]
    done = await index.write(partial(conversation_rows.upsert_many, rows=rows, as_of=as_of))
    assert done == Upserted(1, frozenset({ConversationId(make_id(1))}))
    assert [row[2] for row in index_tables(index.path)["conversation"]] == ["Newer", "Another"]


async def test_asking_for_any_number_of_rows_keeps_no_statement_for_each_number(index: Index) -> None:
    async def ask(number: int) -> int:
        ids = [ConversationId(make_id(one)) for one in range(number)]
        changes = [LogChange(one, [], []) for one in range(number)]
        async with index.read() as connection:
            await conversation_rows.find_known(connection, ids)
            await conversation_lookup.find_states(connection, ids)
            await event_rows.list_known(connection, [*range(number)])
        await index.write(partial(event_rows.apply_changes, changes=changes))
        gc.collect()
        return sum(isinstance(one, BindParameter) for one in gc.get_objects())

    first = await ask(1)
    assert [await ask(number) for number in (2, 50)] == [first, first]


@contextmanager
def counted(connection: WriteConnection) -> Iterator[list[str]]:
    """Give a list that has the statements of the block, in the end, without those that FTS5 runs."""
    assert isinstance(connection, SqliteWriteConnection)
    ran: list[str] = []
    connection._driver.set_trace_callback(ran.append)
    yield ran
    connection._driver.set_trace_callback(None)
    ran[:] = [same for same, _ in groupby(ran) if not same.startswith(("--", "PRAGMA", "SELECT k, v"))]


async def statements_of_adding(index: Index, *numbers: int) -> int:
    """Write new conversations in one transaction, and return how many statements that took."""

    def write(connection: WriteConnection) -> int:
        with counted(connection) as ran:
            conversation_rows.upsert_many(connection, [make_row(number) for number in numbers])
        return len(ran)

    return await index.write(write)


async def test_a_new_conversation_takes_four_statements_and_a_share_of_one(index: Index) -> None:
    few = await statements_of_adding(index, 1)
    many = await statements_of_adding(index, *range(2, 102))
    assert (few, many - few) == (19, 99 * 4)


async def test_an_appended_event_takes_nine_statements(index: Index) -> None:
    await put(index, make_row(1))
    key = await key_of(index, 1)
    row, signature = make_row(1)
    longer = IndexedRow(row._replace(event_count=1, body=b"{}"), signature)

    def write(connection: WriteConnection) -> list[str]:
        with counted(connection) as ran:
            conversation_rows.upsert_many(connection, [longer], events_too=True)
            event_rows.upsert_events(connection, [LogChange(key, [make_message("hello")], [])])
        return ran

    ran = await index.write(write)
    assert [text.split(" ", 1)[0] for text in ran] == [
        "SELECT",
        *["UPDATE"] * 3,
        *["INSERT"] * 2,
        "SELECT",
        *["INSERT"] * 2,
    ]


async def test_a_remembered_row_is_read_again_only_after_a_change(index: Index) -> None:
    await put(index, make_row(1), make_row(2))
    ids = [ConversationId(make_id(number)) for number in (1, 2)]
    before = await index.write(partial(conversation_rows.find_known_to_write, ids=ids))
    await put(index, make_row(2, title="Changed"))

    def find(connection: WriteConnection) -> tuple[dict[ConversationId, KnownRow], list[str]]:
        with counted(connection) as ran:
            found = conversation_rows.find_known_to_write(connection, ids, before)
        return found, ran

    found, ran = await index.write(find)
    assert found == await index.write(partial(conversation_rows.find_known_to_write, ids=ids))
    assert found[ids[1]].row.title == "Changed"
    assert len(ran) == 2
    assert [make_id(number) in ran[1] for number in (1, 2)] == [False, True]


async def test_a_remembered_row_has_the_current_generation_and_signature(index: Index) -> None:
    await put(index, make_row(1))
    ids = [ConversationId(make_id(1))]
    before = await index.write(partial(conversation_rows.find_known_to_write, ids=ids))
    await index.write(partial(ownership.set_dirty, conversation_id=ids[0], owner="another", generation=7))
    await index.write(conversation_rows.invalidate_all)
    [known] = (await index.write(partial(conversation_rows.find_known_to_write, ids=ids, remembered=before))).values()
    assert known == before[ids[0]]._replace(generation=7, signature=b"", events_behind=1)


async def test_a_remembered_row_of_another_index_with_the_same_revision_is_not_used(index: Index) -> None:
    await put(index, make_row(1))
    ids = [ConversationId(make_id(1))]
    [known] = (await index.write(partial(conversation_rows.find_known_to_write, ids=ids))).values()
    stale = {ids[0]: known._replace(row=make_row(1, title="Before").row, signature=b"before")}
    found = await index.write(partial(conversation_rows.find_known_to_write, ids=ids, remembered=stale))
    assert found == {ids[0]: known}
