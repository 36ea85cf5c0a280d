"""The store for code that is not asynchronous: the same answers, without an event loop of one's own."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app import ConversationFilter, ConversationStore, Settings, Status, SyncStore
from app.errors import ConversationNotFound, StoreError
from app.model.ids import ConversationId
from tests.builders import make_conversation, make_id
from tests.conftest import StoreOpener

HELLO = {
    "source": "user",
    "kind": "MessageEvent",
    "llm_message": {"role": "user", "content": [{"type": "text", "text": "hello"}]},
}
NEW = {"agent": {"llm": {"model": "a/model"}}, "workspace": {"working_dir": "/home/dev/project"}}


async def test_it_answers_as_the_asynchronous_store_does(corpus: Path, open_store: StoreOpener) -> None:
    async with open_store(corpus) as store:
        page = await store.list_conversations()
        hits = await store.search_messages("the", limit=5)
    with ConversationStore.open_sync(Settings(store=corpus)) as plain:
        assert plain.list_conversations() == page
        assert plain.search_messages("the", limit=5) == hits
        assert [one["id"] for one in plain.walk_conversations()] == [json.loads(body)["id"] for body in page.items]


def test_walking_reads_all_pages(root: Path) -> None:
    for number in range(1, 104):
        make_conversation(root, number, events=2)
    with ConversationStore.open_sync(root) as store:
        store.sync()
        assert len({one["id"] for one in store.walk_conversations()}) == 103
        assert [one["id"] for one in store.walk_conversations(ConversationFilter(statuses=(Status.ERROR,)))] == []
        assert len([*store.walk_events(ConversationId(make_id(1)))]) == 2


def test_what_is_appended_is_found_and_exported(root: Path) -> None:
    with ConversationStore.open_sync(str(root)) as store:
        made = store.create(NEW)
        with store.writer(made.id) as conversation:
            assert conversation.append(HELLO).seq == 0
            conversation.set_title("A greeting")
        [event] = store.walk_events(made.id)
        found = [(hit.conversation_id, hit.seq) for hit in store.walk_messages("hello")]
        archive = zipfile.ZipFile(io.BytesIO(b"".join(store.export([made.id]))))
    assert event["llm_message"] == HELLO["llm_message"]
    assert found == [(made.id, 0)]
    assert any(name.endswith("meta.json") for name in archive.namelist())


def test_an_error_reaches_the_caller_and_the_store_goes_on(root: Path) -> None:
    with ConversationStore.open_sync(root) as store:
        with pytest.raises(ConversationNotFound):
            store.get_conversation(ConversationId(make_id(7)))
        with pytest.raises(ConversationNotFound), store.writer(ConversationId(make_id(7))):
            pass
        assert store.count_conversations() == 0
    with pytest.raises(StoreError), ConversationStore.open_sync(root / "nowhere"):
        pass


def test_its_thread_ends_with_it_and_with_what_was_not_read_to_the_end(root: Path) -> None:
    make_conversation(root, 1, events=3)
    before = threading.active_count()
    with ConversationStore.open_sync(root) as store:
        followed = store.follow(ConversationId(make_id(1)))
        assert len(next(followed)) == 3
    del followed
    assert threading.active_count() <= before + 1  # a thread for exports may stay


def test_several_threads_use_one_store(root: Path) -> None:
    ids = [ConversationId(make_id(number)) for number in range(1, 9)]
    for number in range(1, 9):
        make_conversation(root, number, events=number)
    with ConversationStore.open_sync(root) as store, ThreadPoolExecutor(4) as threads:
        store.sync()
        assert [*threads.map(store.count_events, ids)] == [*range(1, 9)]


def test_its_methods_keep_the_names_and_docs_of_the_store() -> None:
    named = {name for name in vars(SyncStore) if not name.startswith("_")}
    assert {name for name in named if getattr(SyncStore, name).__doc__ is None} == set()
    assert {name for name in named if not hasattr(ConversationStore, name)} == set()
