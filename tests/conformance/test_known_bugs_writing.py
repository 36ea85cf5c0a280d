"""What goes wrong while conversations are written, followed, downloaded and deleted in the field, and with the index.

The numbers are those of the list of known bugs; each was reported for, or measured on, agent-server 1.58 or older.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pytest

from app import ConversationStore, Settings
from app.errors import ConversationOwned
from app.files import liveness
from app.index.sqlite.index_file import measure_files
from app.model.ids import ConversationId, dashed
from app.model.page import SortOrder
from app.store.admin.doctor import examine_store
from app.store.admin.usage import By, measure
from tests.builders import index_database, make_conversation, make_event, make_id, second_process, write_event
from tests.conformance.asking import event_ids, listed, listed_ids, logged
from tests.conftest import StoreOpener, serving, transaction

ONE = ConversationId(make_id(1))
PATH = f"/api/conversations/{ONE}"

WRITE = """
import asyncio, sys
from app import ConversationStore, Settings

async def main():
    async with ConversationStore.open(Settings(store=sys.argv[1])) as store:
        async with store.writer(sys.argv[2]) as conversation:
            print("owns it", flush=True)
            await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
"""


def state_of(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "base_state.json").read_text())
    return found


def numbers_of(directory: Path) -> list[int]:
    return sorted(int(path.name[6:11]) for path in (directory / "events").glob("event-*.json"))


def write_lease(directory: Path, **fields: Any) -> None:
    lease = {"owner_instance_id": "other", "generation": 3, "expires_at": time.time() + 45}
    (directory / "owner_lease.json").write_text(json.dumps(lease | fields))


async def test_bug_05_concurrent_appends_get_a_number_each_and_two_writers_are_fenced(
    root: Path, open_store: StoreOpener
) -> None:
    directory = make_conversation(root, events=2)
    async with open_store(root) as one, open_store(root) as other:

        async def append(number: int) -> int:
            async with one.writer(ONE) as conversation:
                return (await conversation.append(make_event(number))).seq

        got = await asyncio.gather(*(append(number) for number in range(2, 22)))
        with pytest.raises(ConversationOwned):
            async with other.writer(ONE):
                pass
    assert (sorted(got), numbers_of(directory)) == (list(range(2, 22)), list(range(22)))


async def test_bug_06_after_a_crash_head_goes_forward_along_parents_through_newer_files(
    root: Path, open_store: StoreOpener
) -> None:
    """Three events stand after HEAD: its child, that one's child, and the child of an older event, a dead branch."""
    first, last = event_ids(0, 1)
    directory = make_conversation(root, events=2, state={"leaf_event_id": last})
    os.utime(directory / "base_state.json", ns=(0, 0))
    for number, parent in ((2, last), (3, event_ids(2)[0]), (4, first)):
        write_event(directory, number, make_event(number, parent_id=parent))
    write_lease(directory, expires_at=time.time() - 1)
    async with open_store(root) as store, store.writer(ONE):
        assert state_of(directory)["leaf_event_id"] == event_ids(3)[0]


async def test_bug_06_without_a_crash_a_head_that_was_moved_back_stays(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, events=3, state={"leaf_event_id": event_ids(0)[0]})
    write_lease(directory, expires_at=0)
    async with open_store(root) as store, store.writer(ONE):
        assert state_of(directory)["leaf_event_id"] == event_ids(0)[0]


async def test_bug_08_a_live_pid_is_no_sign_of_life(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root)
    convstore = {"boot": liveness.boot_id()}
    write_lease(directory, owner_host=socket.gethostname(), owner_pid=os.getpid(), convstore=convstore)
    async with open_store(root) as store, store.writer(ONE) as conversation:
        await conversation.append(make_event(2))


async def test_bug_08_an_owner_lives_as_long_as_its_process_whatever_clock_and_pid_say(
    root: Path, open_store: StoreOpener
) -> None:
    directory = make_conversation(root)
    with second_process(WRITE, root, ONE) as other:
        assert other.hear() == "owns it"
        other.signal("STOP")
        lease = json.loads((directory / "owner_lease.json").read_text())
        assert "owner_pid" not in lease
        (directory / "owner_lease.json").write_text(json.dumps(lease | {"expires_at": 1.0}))
        async with open_store(root) as store:
            with pytest.raises(ConversationOwned):
                async with store.writer(ONE):
                    pass
            other.kill()
            async with store.writer(ONE):
                pass


async def test_bug_10_tags_are_kept_on_create(root: Path) -> None:
    asked = {"agent": {"llm": {"model": "a/model"}}, "workspace": {"working_dir": "/home/dev"}, "tags": {"area": "x"}}
    async with serving(Settings(store=root)) as client:
        made = (await client.post("/api/conversations", json=asked)).json()
    directory = root / made["id"].replace("-", "")
    stored = [json.loads((directory / name).read_text())["tags"] for name in ("meta.json", "base_state.json")]
    assert [made["tags"], *stored] == [{"area": "x"}] * 3


async def test_bug_19_another_key_and_a_patch_leave_secrets_and_unknown_fields_to_the_byte(root: Path) -> None:
    agent = {"kind": "Agent", "llm": {"model": "m", "api_key": "gAAAAAB-of-another-key"}, "tools": [], "new": {"a": 1}}
    directory = make_conversation(root, state={"agent": agent, "future": [1, {"x": None}]}, meta={"future": "kept"})
    meta, state = directory / "meta.json", directory / "base_state.json"
    before = meta.read_text(), state.read_bytes()
    settings = Settings.model_validate({"store": root, "secret_key": "not the key that they were stored with"})
    async with serving(settings) as client:
        assert (await client.patch(PATH, json={"title": "New"})).status_code == 200
    assert state.read_bytes() == before[1]
    was, now = (json.loads(text) for text in (before[0], meta.read_text()))
    assert {name for name in now if now[name] != was.get(name)} <= {"title", "updated_at"}
    assert list(now) == list(was)


async def test_bug_20_the_order_by_activity_is_in_the_index_before_a_clean_close(
    root: Path, open_store: StoreOpener
) -> None:
    """The writer is killed; what another process lists afterwards is in the right order."""
    make_conversation(root, 1)
    make_conversation(root, 2, meta={"updated_at": "2026-10-01T14:00:00Z"})
    async with open_store(root) as store:
        assert await listed_ids(store, order=SortOrder.UPDATED_AT_DESC) == [make_id(2), ONE]
    code = WRITE.replace('print("owns', 'await conversation.append({"source": "user", "kind": "Any"}); print("owns')
    with second_process(code, root, ONE) as other:
        assert other.hear() == "owns it"
        other.kill()
    async with ConversationStore.open(Settings(store=root)) as store:
        assert await listed_ids(store, order=SortOrder.UPDATED_AT_DESC) == [ONE, make_id(2)]


async def test_bug_24_a_patch_of_tags_appends_no_event(root: Path) -> None:
    directory = make_conversation(root)
    async with serving(Settings(store=root)) as client:
        for value in ("one", "two"):
            assert (await client.patch(PATH, json={"tags": {"area": value}})).status_code == 200
        info = (await client.get(PATH)).json()
    assert (info["tags"], info["event_count"], numbers_of(directory)) == ({"area": "two"}, 2, [0, 1])


async def test_bug_26_downloads_at_the_same_time_are_each_whole(root: Path) -> None:
    make_conversation(root, events=300)
    async with serving(Settings(store=root)) as client:
        answers = await asyncio.gather(*(client.get(f"{PATH}/export") for _ in range(5)))
    for answer in answers:
        with zipfile.ZipFile(BytesIO(answer.content)) as archive:
            assert archive.testzip() is None
            assert sum("/events/event-" in name for name in archive.namelist()) == 300


async def test_bug_27_who_follows_while_others_write_gets_each_event_once_in_order(
    root: Path, open_store: StoreOpener
) -> None:
    directory = make_conversation(root, events=5)

    async def write() -> None:
        for number in range(5, 40):
            await asyncio.to_thread(write_event, directory, number)
            await asyncio.sleep(0.01)

    async with open_store(root) as store, asyncio.timeout(60):
        writing = asyncio.create_task(write())
        got: list[str] = []
        async for batch in store.follow(ONE):
            got += [orjson.loads(event.raw)["id"] for event in batch]
            if len(got) >= 40:
                break
        await writing
    assert got == event_ids(*range(40))


async def test_bug_28_read_only_files_are_deleted_and_nothing_is_half_gone(root: Path, open_store: StoreOpener) -> None:
    for number in (1, 2):
        directory = make_conversation(root, number)
        for path in [*directory.rglob("*.json"), directory / "events", directory]:
            path.chmod(0o444 if path.suffix else 0o555)
    make_conversation(root, 3)
    async with open_store(root) as store:
        for number, permanent in ((1, False), (2, True)):
            try:
                await store.delete(ConversationId(make_id(number)), permanent=permanent)
            except ConversationOwned as error:
                pytest.fail(str(error))
            except Exception as error:  # noqa: BLE001 - a clear error is allowed, and then all is as it was
                assert "Permission denied" in str(error)  # noqa: PT017
                assert len(list((root / make_id(number)).rglob("*.json"))) == 4
            else:
                assert not (root / make_id(number)).exists()


LIES = {
    "row": "UPDATE conversation SET event_count = 99",
    "body": "UPDATE conversation_info SET body = '{}'",
    "missing row": "DELETE FROM conversation",
    "event": "UPDATE event SET kind = 'other' WHERE seq = 1",
    "missing event": "DELETE FROM event WHERE seq = 1",
    "text": "UPDATE message SET text = 'other' WHERE seq = 1",
    "text of no event": "UPDATE message SET seq = 9 WHERE seq = 1",
    "text of the title": "UPDATE message SET text = 'other' WHERE seq = -1",
    "search hits": "INSERT INTO message_fts(message_fts) VALUES ('delete-all')",
    "search hits of nothing": "DELETE FROM message WHERE seq = 0",
    "missing text": "DELETE FROM message WHERE seq = 1",
}


@pytest.mark.parametrize("lie", LIES)
async def test_bug_35_verify_finds_every_kind_of_lie(root: Path, open_store: StoreOpener, lie: str) -> None:
    make_conversation(root)
    async with open_store(root) as store:
        assert await store.verify() == []
        with index_database(store.settings.index_path) as database:
            database.execute(LIES[lie])
        assert await store.verify() != []
        assert all(difference.fixed for difference in await store.verify(fix=True))
        assert await store.verify() == []
        assert [info["id"] for info in await listed(store)] == [dashed(ONE)]
        assert await logged(store, ONE) == (event_ids(0, 1), [])
        assert [len((await store.search_messages(text)).items) for text in ("message", "other")] == [2, 0]


LOCK = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
for _ in sys.stdin:
    try:
        database.execute("BEGIN IMMEDIATE")
        database.execute("ROLLBACK")
        print("free", flush=True)
    except sqlite3.OperationalError as error:
        print(error, flush=True)
"""


async def test_bug_36_nothing_that_looks_at_the_database_drops_this_processs_locks_on_it(
    root: Path, open_store: StoreOpener
) -> None:
    make_conversation(root)
    async with open_store(root) as store:
        with second_process(LOCK, store.settings.index_path) as other:

            def ask() -> str:
                other.say()
                return other.hear()

            async with transaction(store.index):
                assert ask() == "database is locked"
                await store.get_status()
                await asyncio.to_thread(measure_files, store.settings.index_path)
                await store.require_ready()
                assert not store.index.is_unusable()
                await measure(store, By.STATUS, 1)
                assert [one async for one in examine_store(store.settings, "1", sample=1)]
                async with ConversationStore.open(store.settings) as again:
                    await listed(again)
                assert ask() == "database is locked"
            assert ask() == "free"
