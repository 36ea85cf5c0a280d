"""verify finds every way in which an index and its files can differ, and changes neither."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app import Settings
from app.errors import StoreUnavailable
from app.store.follow.background import run_background, verify_slowly
from app.store.follow.rebuild import rebuild
from app.store.follow.verify import Difference
from tests.builders import (
    IndexDatabase,
    index_database,
    make_conversation,
    make_event,
    make_id,
    opened_files,
    write_event,
)
from tests.conftest import StoreOpener

Damage = Callable[[Path, IndexDatabase], None]


async def differences(open_store: StoreOpener, root: Path) -> list[Difference]:
    async with open_store(root, synced=False) as store:
        return await store.verify()


async def test_the_corpus_as_synced_is_clean(corpus: Path, open_store: StoreOpener) -> None:
    async with open_store(corpus):
        pass
    assert await differences(open_store, corpus) == []


def sql(statement: str) -> Damage:
    def change(_root: Path, index: IndexDatabase) -> None:
        index.execute(statement)

    return change


def edit(name: str, **fields: object) -> Damage:
    def change(root: Path, _index: IndexDatabase) -> None:
        path = root / make_id(1) / name
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return change


def files(change: Callable[[Path], object]) -> Damage:
    def apply(root: Path, _index: IndexDatabase) -> None:
        change(root)

    return apply


def remove(root: Path) -> None:
    (root / make_id(3) / "base_state.json").unlink()
    (root / make_id(3) / "meta.json").unlink()
    for path in (root / make_id(3) / "events").iterdir():
        path.unlink()


_COPIED = (
    "title, status, created_at, updated_at, last_event_at, event_count, workspace, agent_kind, model, parent,"
    " forked_from, cost, tokens, unreadable, signature, events_behind"
)

KINDS: dict[str, tuple[Damage, set[str]]] = {
    "row gone": (sql(f"DELETE FROM conversation WHERE uuid = '{make_id(1)}'"), {"row", "orphan", "tally"}),
    "row extra": (
        sql(
            f"INSERT INTO conversation (id, uuid, directory, {_COPIED}) SELECT 99, 'f'||substr(uuid, 2),"
            f" 'f'||substr(uuid, 2), {_COPIED} FROM conversation LIMIT 1"
        ),
        {"row", "tally"},
    ),
    "title changed in the index": (sql("UPDATE conversation SET title = 'other' WHERE id = 1"), {"title"}),
    "title changed on disk": (edit("meta.json", title="other"), {"title", "info.title"}),
    "status changed on disk": (edit("base_state.json", execution_status="stuck"), {"status", "info.execution_status"}),
    "time changed in the index": (sql("UPDATE conversation SET updated_at = 1 WHERE id = 1"), {"updated_at", "tally"}),
    "body gone": (sql("DELETE FROM conversation_info WHERE conversation = 1"), {"info.id", "info.title"}),
    "body changed": (
        sql("UPDATE shared_info SET body = CAST(replace(body, 'a/model', 'b/model') AS BLOB)"),
        {"info.agent"},
    ),
    "name of a null field changed": (
        sql(
            "UPDATE conversation_info SET body = CAST(replace(body, 'from_event_id', 'from_e_ent_id') AS BLOB)"
            " WHERE conversation = 1"
        ),
        {"info"},
    ),
    "preview changed in the index": (
        sql("UPDATE conversation_info SET preview = 'other' WHERE conversation = 1"),
        {"preview"},
    ),
    "counts of events changed": (sql("UPDATE activity SET events = events + 1"), {"activity"}),
    "counts of conversations changed": (sql("UPDATE tally SET number = number + 1 WHERE facet = ''"), {"tally"}),
    "counts of a long log changed": (sql("INSERT INTO log_block VALUES (1, 7, 'X', 'user', '', 3, 0)"), {"block"}),
    "event row gone": (sql("DELETE FROM event WHERE conversation = 1 AND seq = 1"), {"event 1"}),
    "event row extra": (
        sql("INSERT INTO event (conversation, seq, event_id, kind, source) VALUES (1, 7, 'abcdef01', 'X', 'user')"),
        {"event 7"},
    ),
    "event row changed": (sql("UPDATE event SET kind = 'X' WHERE conversation = 1 AND seq = 0"), {"event 0 kind"}),
    "text of an event changed": (sql("UPDATE message SET text = 'other' WHERE seq = 1"), {"event 1 text", "words"}),
    "text of an event gone": (sql("DELETE FROM message WHERE seq = 1"), {"event 1 text", "words"}),
    "text of a title gone": (sql("DELETE FROM message WHERE seq = -1"), {"title in search", "words"}),
    "text without an event": (sql("UPDATE message SET seq = 77 WHERE seq = 1"), {"message", "event 1 text"}),
    "words of another text": (
        sql("INSERT INTO message_fts (rowid, text) SELECT id, 'gone' FROM message LIMIT 1"),
        {"words"},
    ),
    "words gone": (sql("INSERT INTO message_fts (message_fts) VALUES ('delete-all')"), {"words"}),
    "parts of another title": (
        sql("INSERT INTO title_fts (rowid, title_key) SELECT id, 'zebra' FROM conversation WHERE id = 1"),
        {"title parts"},
    ),
    "parts of a title gone": (
        sql("INSERT INTO title_fts (title_fts, rowid, title_key) SELECT 'delete', id, title_key FROM conversation"),
        {"title parts"},
    ),
    "event file gone": (
        files(lambda root: next((root / make_id(1) / "events").glob("event-00002-*")).unlink()),
        {"event 2", "event_count", "info.event_count", "last_event_at", "info.last_event_at"},
    ),
    "event file torn": (
        files(lambda root: next((root / make_id(1) / "events").glob("event-00001-*")).write_text('{"id')),
        {"event 1 kind", "event 1 source", "event 1 timestamp_us", "event 1 unreadable"},
    ),
    "event file added": (
        files(lambda root: write_event(root / make_id(1), 3, make_event(3))),
        {"event 3", "event_count", "info.event_count", "last_event_at", "updated_at", "info.updated_at"},
    ),
    "directory emptied": (files(remove), {"row"}),
    "directory added": (files(lambda root: make_conversation(root, 4)), {"row"}),
    "directory twice": (
        files(lambda root: make_conversation(root, 1, directory="00000000-0000-4000-8000-000000000001")),
        {"directory"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
async def test_it_finds(kind: str, root: Path, open_store: StoreOpener) -> None:
    for number in (1, 2, 3):
        make_conversation(root, number, events=3, meta={"updated_at": "2026-10-01T12:00:01Z"})
    async with open_store(root):
        pass
    assert await differences(open_store, root) == []
    damage, expected = KINDS[kind]
    with index_database(root / ".convstore" / "index.db") as index:
        damage(root, index)

    found = await differences(open_store, root)

    assert expected <= {difference.what for difference in found}
    assert {difference.conversation for difference in found} & {
        "-", *(f"{i[:8]}-{i[8:12]}-{i[12:16]}-{i[16:20]}-{i[20:]}" for i in (make_id(1), make_id(3), make_id(4))),
        "f0000000-0000-4000-8000-000000000001",
    }  # fmt: skip


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "directory twice"])
async def test_a_rebuild_mends(kind: str, root: Path, open_store: StoreOpener) -> None:
    for number in (1, 2, 3):
        make_conversation(root, number, events=3)
    async with open_store(root):
        pass
    with index_database(root / ".convstore" / "index.db") as index:
        KINDS[kind][0](root, index)

    await rebuild(Settings(store=root), lambda *_: None)

    assert await differences(open_store, root) == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "directory twice"])
async def test_fix_mends_what_differs_and_writes_nothing_else(kind: str, root: Path, open_store: StoreOpener) -> None:
    for number in (1, 2, 3):
        make_conversation(root, number, events=3)
    async with open_store(root):
        pass
    path = root / ".convstore" / "index.db"
    with index_database(path) as index:
        KINDS[kind][0](root, index)
        untouched = index.execute("SELECT * FROM conversation WHERE id = 2").fetchall()

    async with open_store(root, synced=False) as store:
        found = await store.verify(fix=True)
        assert found
        assert [difference for difference in found if not difference.fixed] == []
        assert await store.verify() == []
    with index_database(path) as index:
        after = index.execute("SELECT * FROM conversation WHERE id = 2").fetchall()
        assert after == untouched or kind == "body changed"  # which changes that of each


async def test_a_second_directory_can_only_be_told(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, 1)
    make_conversation(root, 1, directory="00000000-0000-4000-8000-000000000001")
    async with open_store(root) as store:
        assert [found.fixed for found in await store.verify(fix=True)] == [False]


async def test_fix_does_not_believe_that_all_were_removed(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, 1)
    async with open_store(root) as store:
        directory.rename(root.parent / "away")
        with pytest.raises(StoreUnavailable, match="check that its disk is mounted"):
            await store.verify(fix=True)
        assert await store.count_conversations() == 1


async def test_a_sample_reads_so_many_conversations(root: Path, open_store: StoreOpener) -> None:
    for number in range(10):
        make_conversation(root, number)
    told: list[tuple[int, int]] = []
    async with open_store(root) as store:
        with opened_files() as opened:
            assert await store.verify(sample=3, on_verified=lambda *step: told.append(step)) == []
    assert len([path for path in opened if path == "meta.json"]) == 3
    assert told == [(3, 3)]


async def test_what_is_changed_meanwhile_is_looked_at_again_before_it_is_told(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make_conversation(root, 1)
    monkeypatch.setattr("app.store.follow.verify._SETTLE_S", 0.2)
    monkeypatch.setattr("app.files.fingerprint.time_ns", time.time_ns)
    async with open_store(root) as store:
        write_event(directory, 2)
        checking = asyncio.create_task(store.verify())
        await asyncio.sleep(0.1)
        await store.sync()
        assert await checking == []


async def test_what_goes_on_changing_is_told_once_it_is_left_alone(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make_conversation(root, 1)
    monkeypatch.setattr("app.store.follow.verify._SETTLE_S", 0.0)
    async with open_store(root) as store:
        write_event(directory, 2)
        with monkeypatch.context() as changing:
            changing.setattr("app.files.fingerprint.time_ns", time.time_ns)
            assert await store.verify() == []
        assert "event 2" in [one.what for one in await store.verify()]


@pytest.mark.long
async def test_a_server_that_is_told_to_verifies_slowly_all_the_time(
    root: Path, open_store: StoreOpener, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1, 121):
        make_conversation(root, number)
    caplog.set_level(logging.INFO)
    async with open_store(root, verify_hours=0.6 / 3600) as store:
        following = asyncio.create_task(run_background(store))
        async with asyncio.timeout(60):
            while "120 conversations, 0 differences" not in caplog.text:
                await asyncio.sleep(0.02)
            with index_database(store.settings.index_path) as database:
                database.execute("UPDATE event SET kind = 'other' WHERE seq = 1 AND conversation = 77")
            while "120 conversations, 1 differences" not in caplog.text:
                await asyncio.sleep(0.02)
        following.cancel()
        assert "event 1 kind: other, in the files MessageEvent; corrected" in caplog.text
        assert await store.verify() == []


async def test_verifying_slowly_takes_the_time_that_it_was_given(root: Path, open_store: StoreOpener) -> None:
    for number in range(1, 101):
        make_conversation(root, number)
    async with open_store(root) as store:
        began = time.monotonic()
        assert await verify_slowly(store, 0.6) == 0
        assert 0.4 <= time.monotonic() - began < 5
