"""Event rows: what is no change, and a log whose conversation is gone meanwhile."""

from __future__ import annotations

from functools import partial

from app.index import conversation_rows, event_rows
from app.index.connections import WriteConnection
from app.index.sqlite.database import Index
from app.model.event import LogChange
from app.model.ids import ConversationId
from tests.builders import index_database, index_tables, make_id
from tests.index.builders import key_of, make_message, make_row, put, stored_revision


async def test_the_events_of_a_conversation_that_was_deleted_meanwhile_are_dropped(index: Index) -> None:
    await put(index, make_row(1), make_row(2))
    gone, key = await key_of(index, 1), await key_of(index, 2)
    await index.write(lambda connection: conversation_rows.delete_many(connection, [make_id(1)]))
    await index.write(
        lambda connection: event_rows.apply_changes(
            connection, [LogChange(gone, [make_message()], []), LogChange(key, [make_message()], [])]
        )
    )
    assert [row[0] for row in index_tables(index.path)["event"]] == [make_id(2)]


async def test_the_events_of_a_deleted_conversation_never_become_those_of_the_next(index: Index) -> None:
    await put(index, make_row(1))
    gone = await key_of(index, 1)
    await index.write(lambda connection: conversation_rows.delete_many(connection, [make_id(1)]))
    await put(index, make_row(2))
    await index.write(lambda connection: event_rows.apply_changes(connection, [LogChange(gone, [make_message()], [])]))
    assert index_tables(index.path)["event"] == []


async def test_events_that_say_the_same_are_no_change(index: Index) -> None:
    await put(index, make_row(1))
    key = await key_of(index, 1)
    seen = []
    for written in (make_message(), make_message(), make_message()._replace(unreadable="torn")):
        await index.write(partial(event_rows.apply_changes, changes=[LogChange(key, [written], [])]))
        seen.append(stored_revision(index.path))
    assert seen == [2, 2, 3]


async def test_events_of_another_directory_than_the_key_means_now_are_dropped(index: Index) -> None:
    await put(index, make_row(1))
    key = await key_of(index, 1)
    await index.write(
        lambda connection: event_rows.apply_changes(connection, [LogChange(key, [make_message()], [], make_id(2))])
    )
    assert index_tables(index.path)["event"] == []


async def test_an_event_that_a_sync_wrote_before_is_written_over_with_what_it_said(index: Index) -> None:
    await put(index, make_row(1))
    key = await key_of(index, 1)

    def write(connection: WriteConnection) -> None:
        both = [make_message("after"), make_message("more", 1)]
        assert event_rows.upsert_events(connection, [LogChange(key, [make_message("before")], [])]) == 2
        assert event_rows.upsert_events(connection, [LogChange(key, both, [])]) == 4
        assert event_rows.upsert_events(connection, [LogChange(key, [make_message("more", 1)], [])]) == 0

    await index.write(write)
    with index_database(index.path) as db:
        said = db.execute("SELECT seq, text FROM message ORDER BY seq").fetchall()
    assert said == [(-1, "A title"), (0, "after"), (1, "more")]


async def test_the_last_responses_of_the_agent_are_listed_in_log_order(index: Index) -> None:
    await put(index, make_row(1))
    key = await key_of(index, 1)
    rows = [make_message("done", seq) for seq in range(5)]
    said = [row._replace(facts=row.facts._replace(source="agent")) for row in rows]
    await index.write(lambda connection: event_rows.apply_changes(connection, [LogChange(key, said, [])]))
    async with index.read() as connection:
        last = await event_rows.list_responses(connection, ConversationId(make_id(1)), 2)
    assert last == [row.name for row in said[-2:]]
