"""The indexes of words and of parts of titles: in step with every text, and nothing left of what is gone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.errors import IndexUnusable
from app.index import conversation_rows
from app.index.messages import CONVERSATION_OF_MATCH, NUMBERS, first_id, hour_of, is_among, parameters_of
from app.index.sqlite.database import Index
from app.model.filters import ConversationFilter, LookIn
from app.model.ids import ConversationId
from app.model.text.tokenizer import parse_question, split
from tests.builders import index_tables, make_conversation, make_event, make_id, write_event
from tests.conftest import StoreOpener
from tests.index.builders import make_row, put
from tests.index.test_filter_sql import titled

HOUR_US = 3_600_000_000


LAST_KEY = 2**25 - 1


IN_TOOLS = ConversationFilter(look_in=LookIn.TOOLS)

NOW_US = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize("key", [1, 77, LAST_KEY])
@pytest.mark.parametrize("hour", [0, 1, NOW_US // HOUR_US, 2**20 - 1])
def test_every_id_of_a_conversation_and_hour_tells_both(key: int, hour: int) -> None:
    first = first_id(hour * HOUR_US + HOUR_US - 1, key)
    with closing(sqlite3.connect(":memory:")) as database:
        for one in (first, first + NUMBERS - 1):
            [told] = database.execute(
                f"SELECT {CONVERSATION_OF_MATCH} FROM (SELECT ? AS rowid) AS message_fts", [one]
            ).fetchone()
            assert (hour_of(one), told) == (hour, key)
            assert is_among(one, first)
            assert 0 < one < 2**63
    assert not is_among(first + NUMBERS, first)
    assert not is_among(first - 1, first)


def test_a_later_hour_has_higher_ids_whatever_the_conversation() -> None:
    assert first_id(NOW_US, LAST_KEY) + NUMBERS <= first_id(NOW_US + HOUR_US, 0)


def test_times_without_room_and_unknown_ones_have_the_first_and_the_last_hour() -> None:
    assert first_id(None, 5) == first_id(-HOUR_US * 9, 5) == first_id(0, 5)
    assert first_id(2**62, 5) == first_id(HOUR_US * 2**20, 5) < 2**63


def test_a_key_without_room_is_refused() -> None:
    with pytest.raises(IndexUnusable, match="index rebuild"):
        first_id(0, LAST_KEY + 1)


ONE = ConversationId(make_id(1))


def find(path: Path, question: str, look_in: LookIn = LookIn.ALL) -> list[tuple[str, int]]:
    """Return (conversation, seq) of what the words' index finds, after SQLite's check that it fits the texts."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.create_function("split", 1, split)
        db.execute("INSERT INTO message_fts (message_fts, rank) VALUES ('integrity-check', 1)")
        return db.execute(
            "SELECT uuid, seq FROM message_fts JOIN message ON message.id = message_fts.rowid"
            " JOIN conversation ON conversation.id = message.conversation WHERE message_fts MATCH ? ORDER BY 1, 2",
            [parameters_of(parse_question(question), look_in)["match"]],
        ).fetchall()


def says(text: str) -> dict[str, Any]:
    return {"llm_message": {"role": "user", "content": [{"type": "text", "text": text}]}}


@pytest.fixture
def index_path(root: Path) -> Path:
    return root / ".convstore" / "index.db"


async def test_titles_and_messages_are_found(root: Path, index_path: Path, open_store: StoreOpener) -> None:
    make_conversation(root, 1, events=2, meta={"title": "Lease renewal"})
    make_conversation(root, 2, events=0, meta={"title": None})
    write_event(root / make_id(2), 0, make_event(0, **says("the lease of HTTPServer")))
    async with open_store(root):
        pass
    assert find(index_path, "lease") == [(make_id(1), -1), (make_id(2), 0)]
    assert find(index_path, "http server ") == [(make_id(2), 0)]
    assert find(index_path, "message 1 ") == [(make_id(1), 1)]


async def test_nothing_is_found_of_what_was_renamed_rewritten_or_removed(
    root: Path, index_path: Path, open_store: StoreOpener
) -> None:
    path = make_conversation(root, 1, events=1, meta={"title": "An old title"})
    event = write_event(path, 1, make_event(1, **says("an old text")))
    make_conversation(root, 2, events=1, meta={"title": "An old one"})
    async with open_store(root) as store:
        async with store.writer(ONE) as conversation:
            await conversation.set_title("Another title")
        assert find(index_path, "old ") == [(make_id(1), 1), (make_id(2), -1)]
        event.write_text(event.read_text().replace("old", "new"))
        await store.verify(fix=True)
        assert find(index_path, "old ") == [(make_id(2), -1)]
        assert find(index_path, "new ") == [(make_id(1), 1)]
        await store.delete(ConversationId(make_id(2)))
        assert find(index_path, "old ") == []
        event.unlink()
        await store.sync()
        assert find(index_path, "new ") == []


async def test_an_appended_message_is_found_at_once(root: Path, index_path: Path, open_store: StoreOpener) -> None:
    make_conversation(root, 1, events=2)
    async with open_store(root) as store, store.writer(ONE) as conversation:
        await conversation.append(make_event(2, **says("something unheard of")))
        assert find(index_path, "unheard") == [(make_id(1), 2)]


async def test_a_second_sync_writes_nothing_and_another_version_all_again(
    root: Path, index_path: Path, open_store: StoreOpener
) -> None:
    make_conversation(root, 1, events=3)
    async with open_store(root) as store:
        before = index_tables(index_path)
        await store.sync()
        assert index_tables(index_path) == before
        with closing(sqlite3.connect(index_path, isolation_level=None)) as db:
            db.execute("UPDATE sync_state SET derived_by = 'an older version'")
        await store.sync()
        assert index_tables(index_path) == before
        assert len(find(index_path, "message")) == 3


async def test_outputs_of_tools_are_in_the_index_only_on_request(
    root: Path, index_path: Path, open_store: StoreOpener
) -> None:
    path = make_conversation(root, 1, events=0)
    action = {"kind": "TerminalAction", "command": "grep unheard", "api_key": "a-planted-key"}
    thought = [{"type": "text", "text": "I look"}]
    observation = {"content": [{"type": "text", "text": "unheard of"}]}
    write_event(path, 0, make_event(0, kind="ActionEvent", tool_name="terminal", thought=thought, action=action))
    write_event(path, 1, make_event(1, kind="ObservationEvent", observation=observation))
    async with open_store(root):
        assert find(index_path, "unheard") == [(make_id(1), 0)]
        assert find(index_path, "I look ") == [(make_id(1), 0)]
    async with open_store(root, search_tools=True):
        assert find(index_path, "unheard") == [(make_id(1), 0), (make_id(1), 1)]
        assert find(index_path, "unheard", LookIn.SAID) == []
        assert find(index_path, "planted") == []


async def test_secrets_are_in_no_byte_of_the_index(root: Path, open_store: StoreOpener) -> None:
    planted = "planted-sesame-42"
    token = f"gAAAA{'B' * 60}"
    state = {"agent": {"llm": {"api_key": planted}}, "secret_registry": {"secret_sources": {"A": {"value": planted}}}}
    update = make_event(1, kind="ConversationStateUpdateEvent", key="full_state", value=state)
    said = make_event(0, **says(f"the token {token} and https://me:{planted}@host/ and https://x/?api_key={planted}"))
    action = make_event(
        2, kind="ActionEvent", tool_name="x", action={"kind": "X", "api_key": planted, "say": "visible"}
    )
    make_conversation(root, 1, events=[said, update, action])
    async with open_store(root, search_tools=True) as store:
        assert [hit.seq for hit in (await store.search_messages("visible ", IN_TOOLS)).items] == [2]
        assert "**********" in (await store.search_messages("token ")).items[0].snippet
        held = b"".join(path.read_bytes() for path in (root / ".convstore").glob("index.db*"))
    assert b"visible" in held
    assert token.encode() not in held
    assert planted.encode() not in held


async def test_the_index_of_words_stays_small_however_often_texts_are_written_anew(
    root: Path, index_path: Path, open_store: StoreOpener
) -> None:
    words = [f"word{number}" for number in range(400)]
    path = make_conversation(root, 1, events=0)
    for number in range(60):
        write_event(path, number, make_event(number, **says(" ".join(words[number : number + 300]))))
    async with open_store(root) as store:
        for turn in range(4):
            for number in range(60):
                write_event(path, number, make_event(number, **says(" ".join(words[turn * 9 + number :][:300]))))
            await store.verify(fix=True)
        await store.sync()
        found = await store.search_messages("word350 ")
    assert len(found.items) > 10
    with closing(sqlite3.connect(index_path)) as db:
        [size] = db.execute("SELECT sum(length(block)) FROM message_fts_data").fetchone()
        [text] = db.execute("SELECT sum(length(text)) FROM message").fetchone()
    assert size < 1.5 * text


def is_in_step(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as db:
        db.execute("INSERT INTO title_fts (title_fts, rank) VALUES ('integrity-check', 1)")
    return True


async def test_a_title_is_found_as_long_as_it_is_there(index: Index) -> None:
    await put(index, make_row(1, title="Fix the Parser"), make_row(2, title="Fix the lexer"))
    assert (await titled(index, "X THE P"), await titled(index, "fix")) == ((1, 1), (2, 2))
    await put(index, make_row(1, title="Other"))
    assert (await titled(index, "parser"), await titled(index, "OTHER"), is_in_step(index.path)) == (
        (0, 0),
        (1, 1),
        True,
    )
    await index.write(lambda connection: conversation_rows.delete_many(connection, [make_id(1)]))
    assert (await titled(index, "other"), is_in_step(index.path)) == ((0, 0), True)
