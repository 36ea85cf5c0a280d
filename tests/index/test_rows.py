"""Writing rows: what is replaced, what goes with what, and a log whose conversation is gone meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path

import orjson
import pytest

from app.index import conversation_lookup, conversation_rows, event_rows, state
from app.index.connections import WriteConnection
from app.index.conversation_rows import Upserted
from app.index.sqlite.database import Index
from app.index.sqlite.write_connection import SqliteWriteConnection
from app.model.conversation import ConversationFiles, IndexedRow, LogSummary, fold
from app.model.event import EventFacts, EventRow, LogChange
from app.model.ids import ConversationId, EventName, dashed
from tests.builders import index_tables, make_id

MESSAGE = EventRow(EventName(0, "an-event"), EventFacts("MessageEvent", "user", 5, None))


@pytest.fixture
async def index(root: Path) -> AsyncIterator[Index]:
    index = Index(root / ".convstore" / "index.db", readers=1, busy_timeout_s=5)
    await index.open()
    yield index
    await index.close()


def indexed(number: int, *, title: str = "A title", parent: int | None = None, created_us: int = 0) -> IndexedRow:
    uuid = ConversationId(make_id(number))
    meta = {"title": title, "parent_conversation_id": None if parent is None else make_id(parent)}
    state = {"agent": {"kind": "Agent"}}
    return IndexedRow(fold(ConversationFiles(uuid, uuid, meta, 0, state, LogSummary(), created_us)), b"signature")


async def put(index: Index, *rows: IndexedRow) -> None:
    await index.write(lambda connection: conversation_rows.upsert_many(connection, rows))


async def key_of(index: Index, number: int) -> int:
    async with index.read() as connection:
        [seen] = await conversation_lookup.find_states(connection, [ConversationId(make_id(number))])
    return seen.key


async def test_a_row_that_is_written_again_keeps_its_key_and_its_events(index: Index) -> None:
    await put(index, indexed(1))
    key = await key_of(index, 1)
    await index.write(lambda connection: event_rows.apply_changes(connection, [LogChange(key, [MESSAGE], [])]))
    await put(index, indexed(1, title="Another"))
    assert await key_of(index, 1) == key
    tables = index_tables(index.path)
    assert ([row[2] for row in tables["conversation"]], len(tables["event"])) == (["Another"], 1)


async def test_a_conversation_lists_its_children_oldest_first(index: Index) -> None:
    await put(index, indexed(1), indexed(3, parent=1, created_us=7), indexed(2, parent=1, created_us=9))
    async with index.read() as connection:
        [body] = await conversation_lookup.find_conversations(connection, [ConversationId(make_id(1))])
    assert body is not None
    assert orjson.loads(body)["sub_conversation_ids"] == [dashed(make_id(3)), dashed(make_id(2))]


async def test_ids_are_found_in_the_order_they_are_asked_for(index: Index) -> None:
    await put(index, indexed(1), indexed(2))
    async with index.read() as connection:
        found = await conversation_lookup.find_conversations(
            connection, [ConversationId(make_id(number)) for number in (2, 9, 1)]
        )
    assert [body and orjson.loads(body)["id"] for body in found] == [dashed(make_id(2)), None, dashed(make_id(1))]


async def test_the_events_of_a_conversation_that_was_deleted_meanwhile_are_dropped(index: Index) -> None:
    await put(index, indexed(1), indexed(2))
    gone, key = await key_of(index, 1), await key_of(index, 2)
    await index.write(lambda connection: conversation_rows.delete_many(connection, [make_id(1)]))
    await index.write(
        lambda connection: event_rows.apply_changes(
            connection, [LogChange(gone, [MESSAGE], []), LogChange(key, [MESSAGE], [])]
        )
    )
    assert [row[0] for row in index_tables(index.path)["event"]] == [make_id(2)]


async def test_the_events_of_a_deleted_conversation_never_become_those_of_the_next(index: Index) -> None:
    await put(index, indexed(1))
    gone = await key_of(index, 1)
    await index.write(lambda connection: conversation_rows.delete_many(connection, [make_id(1)]))
    await put(index, indexed(2))
    await index.write(lambda connection: event_rows.apply_changes(connection, [LogChange(gone, [MESSAGE], [])]))
    assert index_tables(index.path)["event"] == []


async def test_every_change_raises_the_revision_once(index: Index) -> None:
    seen = []
    await put(index, indexed(1), indexed(2))
    seen.append(revision(index.path))
    await put(index)
    seen.append(revision(index.path))
    await index.write(lambda connection: conversation_rows.delete_many(connection, [make_id(1), make_id(2)]))
    seen.append(revision(index.path))
    assert seen == [1, 1, 2]


async def test_a_row_that_says_the_same_is_no_change(index: Index) -> None:
    await put(index, indexed(1), indexed(2))
    before = revision(index.path)
    done = await index.write(
        lambda connection: conversation_rows.upsert_many(connection, [indexed(1)._replace(signature=b"a newer one")])
    )
    assert done == Upserted(0)
    assert revision(index.path) == before
    async with index.read() as connection:
        located = await conversation_lookup.locate_conversation(connection, ConversationId(make_id(1)))
    assert located is not None
    assert (located.signature, located.events_behind) == (b"a newer one", True)


async def test_events_that_say_the_same_are_no_change(index: Index) -> None:
    await put(index, indexed(1))
    key = await key_of(index, 1)
    seen = []
    for written in (MESSAGE, MESSAGE, MESSAGE._replace(unreadable="torn")):
        await index.write(partial(event_rows.apply_changes, changes=[LogChange(key, [written], [])]))
        seen.append(revision(index.path))
    assert seen == [2, 2, 3]


async def test_events_of_another_directory_than_the_key_means_now_are_dropped(index: Index) -> None:
    await put(index, indexed(1))
    key = await key_of(index, 1)
    await index.write(
        lambda connection: event_rows.apply_changes(connection, [LogChange(key, [MESSAGE], [], make_id(2))])
    )
    assert index_tables(index.path)["event"] == []


async def test_a_row_that_changed_since_the_files_were_read_is_left_alone(index: Index) -> None:
    await put(index, indexed(1, title="Old"))
    as_of = revision(index.path)
    await put(index, indexed(1, title="Newer"))
    rows = [indexed(1, title="Stale"), indexed(2, title="Another")]
    done = await index.write(partial(conversation_rows.upsert_many, rows=rows, as_of=as_of))
    assert done == Upserted(1, frozenset({ConversationId(make_id(1))}))
    assert [row[2] for row in index_tables(index.path)["conversation"]] == ["Newer", "Another"]


def revisions(path: Path) -> dict[str, int]:
    """Return the revision of each row and of each tombstone."""
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT uuid, revision FROM conversation UNION ALL SELECT uuid, revision FROM deletion")
        return dict(rows)


async def test_a_parent_is_part_of_a_change_of_its_children(index: Index) -> None:
    one, two, child = make_id(1), make_id(2), make_id(3)
    await put(index, indexed(1), indexed(2))
    await put(index, indexed(3, parent=1))
    assert revisions(index.path) == {one: 2, two: 1, child: 2}
    await put(index, indexed(3, parent=2))
    assert revisions(index.path) == {one: 3, two: 3, child: 3}
    await put(index, indexed(3, parent=2, title="Only this"))
    assert revisions(index.path) == {one: 3, two: 3, child: 4}
    await index.write(lambda connection: conversation_rows.delete_many(connection, [child]))
    assert revisions(index.path) == {one: 3, two: 5, child: 5}


async def test_a_deletion_leaves_a_tombstone_until_the_conversation_is_back(index: Index) -> None:
    await put(index, indexed(1))
    await index.write(lambda connection: conversation_rows.delete_many(connection, [make_id(1), make_id(2)]))
    assert revisions(index.path) == {make_id(1): 2}
    await put(index, indexed(1))
    assert revisions(index.path) == {make_id(1): 3}
    with closing(sqlite3.connect(index.path)) as db:
        assert db.execute("SELECT count(*) FROM deletion").fetchone() == (0,)


async def test_tombstones_are_bounded_and_what_was_forgotten_is_known(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.index.change_feed.DELETIONS_KEPT", 2)
    for number in range(5):
        await put(index, indexed(number))
        await index.write(partial(conversation_rows.delete_many, directories=[make_id(number)]))
    assert revisions(index.path) == {make_id(3): 8, make_id(4): 10}
    async with index.read() as connection:
        assert (await state.get_revision(connection))[1:] == (10, 6)


def revision(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT revision FROM revision").fetchone()[0])


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
            conversation_rows.upsert_many(connection, [indexed(number) for number in numbers])
        return len(ran)

    return await index.write(write)


async def test_a_new_conversation_takes_four_statements_and_a_share_of_one(index: Index) -> None:
    few = await statements_of_adding(index, 1)
    many = await statements_of_adding(index, *range(2, 102))
    assert (few, many - few) == (10, 99 * 4)


async def test_an_appended_event_takes_eight_statements(index: Index) -> None:
    await put(index, indexed(1))
    key = await key_of(index, 1)
    row, signature = indexed(1)
    longer = IndexedRow(row._replace(event_count=1, body=b"{}"), signature)

    def write(connection: WriteConnection) -> list[str]:
        with counted(connection) as ran:
            conversation_rows.upsert_many(connection, [longer], events_too=True)
            event_rows.write_changes(connection, [LogChange(key, [saying("hello")], [])])
        return ran

    ran = await index.write(write)
    assert [text.split(" ", 1)[0] for text in ran] == [
        "SELECT",
        "UPDATE",
        "UPDATE",
        *["INSERT"] * 2,
        "SELECT",
        *["INSERT"] * 2,
    ]


def saying(text: str, seq: int = 0) -> EventRow:
    return EventRow(EventName(seq, f"event-{seq}"), EventFacts("MessageEvent", "user", 5, None, text))


async def test_an_event_that_a_sync_wrote_before_is_written_over_with_what_it_said(index: Index) -> None:
    await put(index, indexed(1))
    key = await key_of(index, 1)

    def write(connection: WriteConnection) -> None:
        assert event_rows.write_changes(connection, [LogChange(key, [saying("before")], [])]) == 2
        assert event_rows.write_changes(connection, [LogChange(key, [saying("after"), saying("more", 1)], [])]) == 4
        assert event_rows.write_changes(connection, [LogChange(key, [saying("more", 1)], [])]) == 0

    await index.write(write)
    with closing(sqlite3.connect(index.path)) as db:
        said = db.execute("SELECT seq, text FROM message ORDER BY seq").fetchall()
    assert said == [(-1, "A title"), (0, "after"), (1, "more")]
