"""What was said, in the index: each text once, its words in step with it, and nothing left of what is gone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app.model.ids import ConversationId
from app.model.text.tokenizer import parse_question, split
from tests.builders import index_tables, make_conversation, make_event, make_id, write_event
from tests.conftest import StoreOpener

ONE = ConversationId(make_id(1))


def find(path: Path, question: str) -> list[tuple[str, int]]:
    """Return (conversation, seq) of what the words' index finds, after SQLite's check that it fits the texts."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.create_function("split", 1, split)
        db.execute("INSERT INTO message_fts (message_fts, rank) VALUES ('integrity-check', 1)")
        return db.execute(
            "SELECT uuid, seq FROM message_fts JOIN message ON message.id = message_fts.rowid"
            " JOIN conversation ON conversation.id = message.conversation WHERE message_fts MATCH ? ORDER BY 1, 2",
            [parse_question(question).match],
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


async def test_what_tools_say_is_found_where_it_is_asked_for(
    root: Path, index_path: Path, open_store: StoreOpener
) -> None:
    path = make_conversation(root, 1, events=0)
    action = {"kind": "TerminalAction", "command": "grep unheard", "api_key": "a-planted-key"}
    thought = [{"type": "text", "text": "I look"}]
    observation = {"content": [{"type": "text", "text": "unheard of"}]}
    write_event(path, 0, make_event(0, kind="ActionEvent", tool_name="terminal", thought=thought, action=action))
    write_event(path, 1, make_event(1, kind="ObservationEvent", observation=observation))
    async with open_store(root):
        assert find(index_path, "unheard") == []
        assert find(index_path, "I look ") == [(make_id(1), 0)]
    async with open_store(root, search_tools=True):
        assert find(index_path, "unheard") == [(make_id(1), 0), (make_id(1), 1)]
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
        assert [hit.seq for hit in (await store.search_messages("visible ")).items] == [2]
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
