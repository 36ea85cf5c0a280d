"""Writing to an open conversation: files, index and log agree after every acknowledgement."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.errors import (
    EventExists,
    EventNotFound,
    InvalidConversation,
    InvalidEvent,
    WriteFailed,
)
from app.model.filters import Status
from tests.builders import (
    index_database,
    index_tables,
    make_conversation,
    make_event,
    make_id,
    make_message_event,
    names_in,
    write_event,
)
from tests.conftest import StoreOpener
from tests.store.helpers import ONE, is_rebuilt_equal, log_of, state_of


async def test_an_appended_event_is_in_the_log_in_the_index_and_under_head(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    async with open_store(root) as store:
        async with store.writer(ONE) as conversation:
            done = await conversation.append(make_event(7, kind="SomethingNew", extra={"a": [1]}))
        events = log_of(path)
        assert (done.seq, done.warning) == (2, None)
        assert events[2] == make_event(7, kind="SomethingNew", extra={"a": [1]}) | {"parent_id": make_event(1)["id"]}
        assert list(events[2]) == ["id", "timestamp", "source", "parent_id", "llm_message", "kind", "extra"]
        assert state_of(path)["leaf_event_id"] == done.event_id
        info = orjson.loads(await store.get_conversation(ONE))
        assert (info["event_count"], info["leaf_event_id"]) == (3, done.event_id)
        assert orjson.loads(await store.get_event(ONE, done.event_id)) == events[2]
        assert ".eventlog-len-3.marker" in names_in(path / "events")
        assert await is_rebuilt_equal(store)


async def test_a_message_is_stored_with_the_fields_of_agent_server(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root, events=0)
    async with open_store(root) as store, store.writer(ONE) as conversation:
        await conversation.send_message("user", [{"type": "text", "text": "a"}], name="b")
        with pytest.raises(InvalidConversation, match="agent-server would refuse it"):
            await conversation.send_message("user", [{"type": "text", "unknown": "a"}])
    (event,) = log_of(path)
    content = [{"cache_prompt": False, "type": "text", "text": "a"}]
    assert event["llm_message"] == {"role": "user", "content": content, "name": "b", "thinking_blocks": []}


async def test_what_is_missing_in_an_event_is_filled(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root, events=0)
    async with open_store(root) as store, store.writer(ONE) as conversation:
        first = await conversation.append({"source": "user", "kind": "MessageEvent"})
        second = await conversation.append({"source": "agent", "kind": "MessageEvent", "parent_id": None})
    events = log_of(path)
    assert [event["id"] for event in events] == [first.event_id, second.event_id]
    assert "parent_id" not in events[0]
    assert events[1]["parent_id"] == first.event_id
    assert all("timestamp" in event for event in events)


async def test_a_batch_is_one_after_the_other(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    async with open_store(root) as store:
        async with store.writer(ONE) as conversation:
            done = await conversation.append_batch([make_event(i) for i in range(2, 6)])
        assert [one.seq for one in done] == [2, 3, 4, 5]
        events = log_of(path)
        assert [event["parent_id"] for event in events[2:]] == [event["id"] for event in events[1:-1]]
        assert names_in(path / "events")[:2] == [".eventlog-len-6.marker", ".eventlog.lock"]
        assert await is_rebuilt_equal(store)


async def test_everything_that_was_not_set_stays_to_the_byte(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    raw_state = (
        b'{ "zz": 1.50, "agent":{"kind":"Agent","llm":{"api_key":"gAAAAsecret"}},\n"leaf_event_id" : null, "t":{}}'
    )
    raw_meta = b'{"secrets":{"A":"gAAAAx"},  "title":"old", "created_at":"2026-10-01T12:00:00Z", "new":[1,2]}'
    (path / "base_state.json").write_bytes(raw_state)
    (path / "meta.json").write_bytes(raw_meta)
    async with open_store(root) as store, store.writer(ONE) as conversation:
        done = await conversation.append(make_event(5))
        await conversation.set_title("new")
    assert (path / "base_state.json").read_bytes() == raw_state.replace(b"null", b'"%b"' % done.event_id.encode())
    meta = (path / "meta.json").read_bytes()
    assert meta.startswith(raw_meta.replace(b'"old"', b'"new"')[:-1])


async def test_state_title_tags_and_head_are_set(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root, events=3)
    async with open_store(root) as store:
        async with store.writer(ONE) as conversation:
            await conversation.set_status(Status.RUNNING)
            await conversation.update_state(
                stats={"usage_to_metrics": {"agent": {"accumulated_cost": 1.5}}}, agent_state={"a": 1}
            )
            await conversation.set_title("  A new title ")
            await conversation.set_tags({"area": "store"})
            await conversation.navigate(make_event(0)["id"])
        info = orjson.loads(await store.get_conversation(ONE))
        assert (info["execution_status"], info["cost"], info["title"]) == ("running", 1.5, "A new title")
        assert (info["tags"], info["agent_state"]) == ({"area": "store"}, {"a": 1})
        assert info["updated_at"] > "2026-10-02"
        assert state_of(path)["leaf_event_id"] == make_event(0)["id"]
        assert len(log_of(path)) == 3
        assert await is_rebuilt_equal(store)


async def test_navigating_to_the_empty_tree_makes_the_next_event_a_root(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    async with open_store(root) as store, store.writer(ONE) as conversation:
        await conversation.navigate(None)
        assert (state_of(path)["leaf_event_id"], state_of(path)["head_is_empty"]) == (None, True)
        await conversation.append(make_event(5))
    assert log_of(path)[2]["parent_id"] == "__root__"
    assert state_of(path)["head_is_empty"] is False


async def test_a_state_update_moves_no_head_and_an_error_does(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    async with open_store(root) as store, store.writer(ONE) as conversation:
        first = await conversation.append(make_event(5))
        await conversation.append(make_event(6, kind="ConversationStateUpdateEvent", source="environment"))
        assert state_of(path)["leaf_event_id"] == first.event_id
        error = await conversation.append(make_event(7, kind="ConversationErrorEvent", source="environment"))
        assert state_of(path)["leaf_event_id"] == error.event_id
    assert [event["parent_id"] for event in log_of(path)[3:]] == [first.event_id] * 2


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"kind": "MessageEvent"}, InvalidEvent),
        ({"source": "user"}, InvalidEvent),
        ({"source": "nobody", "kind": "A"}, InvalidEvent),
        ({"source": "user", "kind": "../x"}, InvalidEvent),
        ({"source": "user", "kind": "A", "id": "../../../etc"}, InvalidEvent),
        ({"source": "user", "kind": "A", "id": 5}, InvalidEvent),
        ({"source": "user", "kind": "A", "timestamp": "yesterday"}, InvalidEvent),
        ({"source": "user", "kind": "A", "parent_id": make_id(77)}, InvalidEvent),
        ({"source": "user", "kind": "A", "n": 2**70}, InvalidEvent),
        (make_event(0), EventExists),
    ],
)
async def test_what_is_wrong_is_not_written(
    root: Path, open_store: StoreOpener, event: dict[str, Any], error: type[Exception]
) -> None:
    path = make_conversation(root)
    async with open_store(root) as store, store.writer(ONE) as conversation:
        with pytest.raises(error):
            await conversation.append_batch([make_event(5), event])
        assert len(log_of(path)) == 2
        with pytest.raises(EventNotFound):
            await conversation.navigate(make_id(77))
        for title in ("", "  ", "x" * 201):
            with pytest.raises(InvalidConversation):
                await conversation.set_title(title)
        for tags in ({"A": "b"}, {"": "b"}, {"a": "b" * 257}):
            with pytest.raises(InvalidConversation):
                await conversation.set_tags(tags)
        assert (await conversation.append(make_event(8))).seq == 2


async def test_a_conversation_without_meta_gets_one_for_agent_server_when_it_is_named(
    root: Path, open_store: StoreOpener
) -> None:
    path = make_conversation(root)
    (path / "meta.json").unlink()
    async with open_store(root) as store:
        before = orjson.loads(await store.get_conversation(ONE))
        async with store.writer(ONE) as conversation:
            await conversation.append(make_event(5))
            assert not (path / "meta.json").exists()
            await conversation.set_title("named")
        after = orjson.loads(await store.get_conversation(ONE))
        assert (after["title"], after["created_at"]) == ("named", before["created_at"])
        meta = json.loads((path / "meta.json").read_text())
        assert meta["workspace"] == state_of(path)["workspace"]
        assert await is_rebuilt_equal(store)


async def test_a_change_by_another_program_is_noticed_before_the_next_write(
    root: Path, open_store: StoreOpener
) -> None:
    path = make_conversation(root)
    async with open_store(root) as store, store.writer(ONE) as conversation:
        await conversation.append(make_event(2))
        other = path / "events" / f"event-00003-{make_event(3)['id']}.json"
        other.write_text(json.dumps(make_event(3)))
        state = state_of(path) | {"leaf_event_id": make_event(3)["id"], "execution_status": "paused"}
        (path / "base_state.json").write_text(json.dumps(state))
        done = await conversation.append(make_event(4))
        assert done.seq == 4
        assert log_of(path)[4]["parent_id"] == make_event(3)["id"]
        assert state_of(path)["execution_status"] == "paused"
        assert await store.count_events(ONE) == 5
        assert await is_rebuilt_equal(store)


async def test_what_another_program_writes_during_a_write_is_noticed_before_the_next(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = make_conversation(root) / "meta.json"
    real = os.fsync

    def fsync(descriptor: int) -> None:
        meta.write_text(json.dumps(json.loads(meta.read_text()) | {"title": "Meanwhile"}))
        real(descriptor)

    async with open_store(root) as store, store.writer(ONE) as conversation:
        await conversation.append(make_event(2))
        with monkeypatch.context() as during:
            during.setattr(os, "fsync", fsync)
            await conversation.append(make_event(3))
        await conversation.append(make_event(4))
        assert json.loads(await store.get_conversation(ONE))["title"] == "Meanwhile"
        await conversation.set_tags({"area": "x"})
        assert json.loads(meta.read_text())["title"] == "Meanwhile"
        assert await is_rebuilt_equal(store)


async def test_a_log_whose_numbers_are_used_up_takes_no_more(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root, events=1)
    write_event(path, 10**18 - 2, make_event(5))
    async with open_store(root) as store, store.writer(ONE) as conversation:
        assert (await conversation.append(make_event(7))).seq == 10**18 - 1
        before = names_in(path / "events")
        with pytest.raises(WriteFailed, match=r"has no number above .* nothing was appended"):
            await conversation.append(make_event(8))
        assert names_in(path / "events") == before
        assert await store.verify() == []


async def test_head_moves_in_its_file_and_a_backup_of_hard_links_stays_as_it_was(
    root: Path, open_store: StoreOpener
) -> None:
    path = make_conversation(root)
    state, backup = path / "base_state.json", root.parent / "backup.json"
    async with open_store(root) as store, store.writer(ONE) as conversation:
        await conversation.append(make_event(7))
        before, inode = state.read_bytes(), state.stat().st_ino
        await conversation.append(make_event(8))
        assert state.stat().st_ino == inode
        now = state.read_bytes()
        assert now == before.replace(make_event(7)["id"].encode(), make_event(8)["id"].encode()) != before
        backup.hardlink_to(state)
        await conversation.append(make_event(9))
        assert backup.read_bytes() == now
        assert (backup.stat().st_ino, state_of(path)["leaf_event_id"]) == (inode, make_event(9)["id"])
        assert state.stat().st_ino != inode


async def test_an_append_makes_one_file_and_syncs_it_and_its_directory(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_conversation(root)
    synced: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    def inodes() -> set[int]:
        return {file.stat().st_ino for file in path.rglob("*")}

    async with open_store(root) as store, store.writer(ONE) as conversation:
        await conversation.append(make_event(7))
        before = inodes()
        monkeypatch.setattr(os, "fsync", fsync)
        await conversation.append(make_event(8))
        event = path / "events" / f"event-00003-{make_event(8)['id']}.json"
        state = (path / "base_state.json").stat().st_ino  # synced each second, not by the append
        assert [one for one in synced if one != state] == [file.stat().st_ino for file in (event, path / "events")]
        assert inodes() == before | {event.stat().st_ino}
        assert ".eventlog-len-4.marker" in names_in(path / "events")


async def test_rows_that_a_failing_disk_kept_from_being_read_are_written_later(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_conversation(root)
    real = os.lstat

    def refuse(name: Any, **options: Any) -> os.stat_result:
        if Path(name) == path and len(log_of(path)) > 3:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(name, **options)

    async with open_store(root) as store:
        async with store.writer(ONE) as conversation:
            write_event(path, 2, make_event(6))  # by another program, so that the rows must be read from the files
            with monkeypatch.context() as patch:
                patch.setattr(os, "lstat", refuse)
                done = await conversation.append(make_event(7))
            assert "not yet in the index" in (done.warning or "")
            await conversation.catch_up()  # as the pool does within a second
        assert await store.verify() == []
        assert await is_rebuilt_equal(store)


async def test_after_an_error_head_goes_to_a_new_file(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_conversation(root)
    state = path / "base_state.json"

    def refuse(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with open_store(root) as store, store.writer(ONE) as conversation:
        await conversation.append(make_event(7))
        inode = state.stat().st_ino
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", refuse)
            done = await conversation.append(make_event(8))
        assert "but HEAD or other fields are not" in (done.warning or "")
        done = await conversation.append(make_event(9))
        assert (done.warning, state_of(path)["leaf_event_id"]) == (None, make_event(9)["id"])
        assert state.stat().st_ino != inode
        assert log_of(path)[-1]["parent_id"] == make_event(8)["id"]
        assert await is_rebuilt_equal(store)


async def test_a_conversation_is_archived_and_pinned_independently_and_unknown_fields_stay(
    root: Path, open_store: StoreOpener
) -> None:
    own = make_conversation(root, 1) / "convstore.json"
    own.write_text('{"later": {"x": 1.50}}')
    async with open_store(root) as store, store.writer(ONE) as conversation:
        await conversation.update(pinned=True)
        await conversation.update(archived=True)
    assert own.read_text() == '{"later": {"x": 1.50},"pinned":true,"archived":true}'


async def test_what_changes_nothing_writes_nothing(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root, 1)
    async with open_store(root) as store, store.writer(ONE) as conversation:
        await conversation.update(archived=False)
        assert not (path / "convstore.json").exists()


async def test_tags_follow_what_is_written_and_go_with_their_conversation(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, 1, state={"tags": {"a": "1", "b": "2"}})
    async with open_store(root) as store:
        async with store.writer(ONE) as conversation:
            await conversation.set_tags({"b": "3", "c": "4"})
        held = index_tables(store.settings.index_path)
        assert held["conversation_tag"] == [(ONE, "b", "3"), (ONE, "c", "4")]
        await store.delete(ONE)
        assert index_tables(store.settings.index_path)["conversation_tag"] == []


async def test_a_preview_is_written_once_and_kept(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, events=0, meta={"title": None})
    async with open_store(root) as store:
        seen = []
        async with store.writer(ONE) as conversation:
            for event in (
                make_event(0, kind="SystemPromptEvent", source="agent"),
                make_message_event(1, "key gAAAAabcdefghijklmnopqrstuvwxyz\nis the key"),
                make_message_event(2, "Now the tests"),
            ):
                await conversation.append(event)
                seen.append(orjson.loads(await store.get_conversation(ONE))["preview"])
            await conversation.update_state(execution_status="error", agent_state={"a": 1})
            await conversation.set_tags({"area": "auth"})
        assert seen == [None, "key ********** is the key", "key ********** is the key"]
        forked = await store.fork(ONE)
        page = await store.list_conversations()
        assert {orjson.loads(item)["preview"] for item in page.items} == {seen[-1]}
        assert forked.is_new
        with index_database(store.settings.index_path) as db:
            assert db.execute("SELECT DISTINCT preview FROM conversation_info").fetchall() == [(seen[-1],)]
        assert await store.verify() == []
        assert await is_rebuilt_equal(store)


@pytest.mark.parametrize(
    ("write", "error", "told"),
    [
        (lambda it: it.append("x"), InvalidEvent, "an event is an object of names and values; this one is 'x'"),
        (lambda it: it.append_batch("x"), InvalidEvent, "this one is 'x'"),
        (lambda it: it.update_state(stats=object()), InvalidConversation, "stats cannot be written as JSON"),
        (lambda it: it.update_state(stats={"a": {5: 1}}), InvalidConversation, "stats cannot be written as JSON"),
        (lambda it: it.update_state(stats={"a": [math.nan]}), InvalidConversation, "it contains NaN or infinity"),
        (lambda it: it.set_title(None), InvalidConversation, "a title must be a string"),
        (lambda it: it.set_status("made up"), InvalidConversation, "'made up' is not a status; use one of idle"),
        (lambda it: it.navigate(5), EventNotFound, "5 is not an event id"),
    ],
)
async def test_wrong_arguments_are_explained_and_change_nothing(
    root: Path, open_store: StoreOpener, write: Any, error: type[Exception], told: str
) -> None:
    path = make_conversation(root)
    before = state_of(path)
    async with open_store(root) as store, store.writer(ONE) as conversation:
        with pytest.raises(error, match=told):
            await write(conversation)
        assert (state_of(path), conversation.files.broken) == (before, False)
        await conversation.append(make_event(2))


async def test_a_directory_in_the_place_of_a_sidecar_is_told(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    (path / "convstore.json").mkdir()
    async with open_store(root) as store:
        with pytest.raises(WriteFailed, match="A directory has the name of the file; move it away"):
            await store.mark(ONE, archived=True)
