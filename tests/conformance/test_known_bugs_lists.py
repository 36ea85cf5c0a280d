"""What goes wrong with lists of stored conversations in the field: pages, owners, stale data, lost disks.

The numbers are those of the list of known bugs; each was reported for, or measured on, agent-server 1.58 or older.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from pathlib import Path

import orjson
import pytest

from app import Settings
from app.errors import ConversationNotFound, StoreUnavailable
from app.files import fingerprint
from app.model.conversation import TITLE_MAX
from app.model.filters import ConversationFilter, Status
from app.model.ids import ConversationId, dashed
from app.model.page import COLUMN_ORDERS, SortOrder
from app.model.workspace import WORKSPACE_MAX
from tests.builders import index_tables, make_conversation, make_event, make_id, make_state
from tests.conformance.asking import event_ids, listed, listed_ids, logged, walked_ids
from tests.conftest import StoreOpener, serving

ONE = ConversationId(make_id(1))
COUNT = "/api/conversations/count"
SEARCH = "/api/conversations/search"


def write_lease(directory: Path, *, expires_in_s: float) -> None:
    lease = {"owner_instance_id": "other", "generation": 3, "expires_at": time.time() + expires_in_s}
    (directory / "owner_lease.json").write_text(json.dumps(lease | {"owner_host": "elsewhere", "owner_pid": 1}))
    (directory / ".owner_lease.lock").touch()


def tree(directory: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in [directory, *directory.rglob("*")]}


def lose_the_disk(root: Path, *, keep_the_mount_point: bool) -> None:
    root.rename(root.with_name("unmounted"))
    if keep_the_mount_point:
        root.mkdir()


async def test_bug_15_the_page_after_a_deleted_row_goes_on_where_it_stood(root: Path, open_store: StoreOpener) -> None:
    for number in range(1, 8):
        make_conversation(root, number)
    async with open_store(root) as store:
        everything = await listed_ids(store)
        first = await store.list_conversations(limit=3)
        shutil.rmtree(root / everything[2])
        await store.sync()
        assert await listed_ids(store, page_id=first.next_page_id) == everything[3:]


@pytest.mark.parametrize("token", [dashed(ONE), ONE, "nonsense", "", "%00"])
async def test_bug_15_a_token_that_was_never_given_out_is_400(root: Path, token: str) -> None:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        answer = await client.get(SEARCH, params={"page_id": token})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_page_token")


@pytest.mark.parametrize("order", COLUMN_ORDERS)
async def test_bug_16_rows_with_equal_sort_keys_are_neither_skipped_nor_repeated(
    root: Path, open_store: StoreOpener, order: SortOrder
) -> None:
    ids = [make_conversation(root, number).name for number in range(1, 11)]
    async with open_store(root) as store:
        pages = await walked_ids(store, order=order, limit=3)
    assert [one for page in pages for one in page] == sorted(ids, reverse=order.descending)


async def test_bug_17_filtered_pages_are_full_until_the_last(root: Path, open_store: StoreOpener) -> None:
    for number in range(1, 31):
        make_conversation(root, number, state={"execution_status": "paused" if number % 6 == 0 else "finished"})
    async with open_store(root) as store:
        pages = await walked_ids(store, asked=ConversationFilter((Status.PAUSED,)), limit=2)
    assert [len(page) for page in pages] == [2, 2, 1]


async def test_bug_18_counting_events_leaves_the_directory_as_it_was(root: Path) -> None:
    path = make_conversation(root, state={"workspace": {"kind": "LocalWorkspace", "working_dir": str(root / "work")}})
    before = tree(path)
    async with serving(Settings(store=root)) as client:
        assert (await client.get(f"/api/conversations/{ONE}/events/count")).json() == 2
    assert tree(path) == before
    assert not (root / "work").exists()


async def test_bug_21_a_directory_with_a_dashed_name_is_listed_and_opened(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, directory=dashed(ONE))
    async with open_store(root) as store:
        assert (await listed_ids(store), await store.count_conversations()) == ([ONE], 1)
        assert await logged(store, ONE) == (event_ids(0, 1), [])


async def test_bug_21_of_two_directories_for_one_id_the_second_is_reported(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, meta={"title": "dashed"}, directory=dashed(ONE))
    make_conversation(root, meta={"title": "plain"})
    async with open_store(root, synced=False) as store:
        report = await store.sync()
        assert (report.duplicates, report.conversations) == ([dashed(ONE)], 1)
        assert [info["title"] for info in await listed(store)] == ["plain"]


@pytest.mark.parametrize("expires_in_s", [45, -45])
async def test_bug_22_23_a_conversation_that_another_owns_or_left_is_listed_and_read(
    root: Path, open_store: StoreOpener, expires_in_s: float
) -> None:
    write_lease(make_conversation(root), expires_in_s=expires_in_s)
    async with open_store(root) as store:
        assert await listed_ids(store) == [ONE]
        assert await logged(store, ONE) == (event_ids(0, 1), [])


def make_ghost(root: Path) -> None:
    (root / ONE / "events").mkdir(parents=True)
    (root / ONE / "events" / ".eventlog.lock").touch()
    write_lease(root / ONE, expires_in_s=-1)


async def test_bug_22_a_directory_of_lock_files_alone_is_no_conversation(root: Path, open_store: StoreOpener) -> None:
    make_ghost(root)
    async with open_store(root) as store:
        assert (await listed_ids(store), await store.count_conversations()) == ([], 0)
        with pytest.raises(ConversationNotFound):
            await store.get_conversation(ONE)


async def test_bug_22_a_directory_of_lock_files_alone_is_not_reported_as_added(
    root: Path, open_store: StoreOpener
) -> None:
    make_ghost(root)
    async with open_store(root, synced=False) as store:
        reports = [await store.sync(), await store.sync()]
    assert [(report.added, report.changed, report.removed) for report in reports] == [(0, 0, 0), (0, 0, 0)]


async def test_bug_25_the_directory_that_was_read_counts_and_not_persistence_dir(
    root: Path, open_store: StoreOpener
) -> None:
    elsewhere = make_conversation(root.parent / "old", events=5)
    make_conversation(root, state={"persistence_dir": str(elsewhere)}, events=2)
    async with open_store(root) as store:
        assert await logged(store, ONE) == (event_ids(0, 1), [])


async def test_bug_29_a_replacement_of_the_same_size_and_mtime_is_seen(root: Path, open_store: StoreOpener) -> None:
    state = make_conversation(root, state={"execution_status": "running"}) / "base_state.json"
    async with open_store(root) as store:
        before = state.stat()
        fresh = state.with_name(".fresh")
        fresh.write_text(json.dumps(make_state(ONE, execution_status="stuck  ")).replace('stuck  "', 'stuck"  '))
        os.utime(fresh, ns=(before.st_atime_ns, before.st_mtime_ns))
        fresh.replace(state)
        assert (state.stat().st_size, state.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        await store.sync()
        assert [info["execution_status"] for info in await listed(store)] == ["stuck"]


async def test_bug_29_what_changed_within_two_seconds_is_read_again(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_conversation(root)
    now_ns = (root / ONE / "base_state.json").stat().st_ctime_ns
    async with open_store(root, synced=False) as store:
        opened = []
        for later_s in (1, 1, 3, 3):
            monkeypatch.setattr(fingerprint, "time_ns", lambda later_s=later_s: now_ns + later_s * 1_000_000_000)
            opened.append((await store.sync()).opened)
    assert opened == [1, 1, 1, 0]


async def test_bug_30_31_lists_and_counts_need_no_conversation_file(corpus: Path) -> None:
    paths = [f"{SEARCH}?sort_order={order}" for order in SortOrder]
    paths += [f"{route}?status={status}" for route in (SEARCH, COUNT) for status in Status]
    index_url = f"sqlite:///{corpus.parent / 'elsewhere.db'}"
    async with serving(Settings(store=corpus, index_url=index_url)) as client:
        before = {path: (await client.get(path)).content for path in paths}
        lose_the_disk(corpus, keep_the_mount_point=True)
        assert {path: (await client.get(path)).content for path in paths} == before
    assert len(orjson.loads(before[paths[0]])["items"]) == 30


async def test_bug_32_every_text_in_the_index_is_bounded(root: Path, open_store: StoreOpener) -> None:
    long = "x" * 1_000_000
    agent = {"kind": long, "llm": {"model": long}, "tools": []}
    state = {"agent": agent, "workspace": {"working_dir": long}, "execution_status": long}
    events = [make_event(0, kind=long, source=long, tool_name=long), make_event(1, timestamp=long)]
    make_conversation(root, 1, meta={"title": long, "parent_conversation_id": long}, state=state, events=events)
    async with open_store(root) as store:
        [info] = await listed(store)
    assert len(info["title"]) == TITLE_MAX
    database = sqlite3.connect(root / ".convstore" / "index.db")
    longest = {}
    for table in ("conversation", "event"):
        for _, column, kind, *_ in database.execute(f"PRAGMA table_info({table})").fetchall():
            if kind == "TEXT" or kind.startswith("VARCHAR"):
                [(most,)] = database.execute(f"SELECT max(length({column})) FROM {table}")
                longest[f"{table}.{column}"] = most or 0
    database.close()
    assert longest.pop("conversation.workspace") == WORKSPACE_MAX
    assert {column for column, most in longest.items() if most > 500} == set()
    assert longest["conversation.title"] == TITLE_MAX


async def test_bug_33_an_empty_root_stops_a_sync_and_erases_nothing(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    async with open_store(root) as store:
        path.rename(root.parent / "unmounted")
        with pytest.raises(StoreUnavailable, match="contains no conversations, but the index has 1"):
            await store.sync()
        assert await listed_ids(store) == [ONE]
        report = await store.sync(allow_empty=True)
    assert (report.conversations, report.removed) == (0, 1)


async def test_bug_33_a_missing_root_stops_a_sync_and_erases_nothing(
    root: Path, tmp_path: Path, open_store: StoreOpener
) -> None:
    make_conversation(root)
    async with open_store(root, index_url=f"sqlite:///{tmp_path / 'elsewhere.db'}") as store:
        lose_the_disk(root, keep_the_mount_point=False)
        with pytest.raises(StoreUnavailable, match="cannot be read"):
            await store.sync()
        with pytest.raises(StoreUnavailable):
            await listed_ids(store)
    assert len(index_tables(tmp_path / "elsewhere.db")["conversation"]) == 1


@pytest.mark.parametrize("mount_point", [False, True])
async def test_bug_33_opening_a_conversation_of_a_lost_disk_erases_nothing(
    root: Path, tmp_path: Path, open_store: StoreOpener, mount_point: bool
) -> None:
    make_conversation(root)
    async with open_store(root, index_url=f"sqlite:///{tmp_path / 'elsewhere.db'}") as store:
        lose_the_disk(root, keep_the_mount_point=mount_point)
        with pytest.raises((StoreUnavailable, ConversationNotFound)):
            await store.list_events(ONE)
    assert len(index_tables(tmp_path / "elsewhere.db")["conversation"]) == 1


async def test_bug_34_a_sync_that_died_is_not_shown_as_running(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root)
    async with open_store(root):
        pass
    database = sqlite3.connect(root / ".convstore" / "index.db")
    database.execute("UPDATE sync_state SET phase = 'events', done = 1, total = 9, heartbeat_at = 1")
    database.commit()
    database.close()
    async with open_store(root, synced=False) as store:
        progress, _ = await store.get_status()
        assert progress.phase == "events"
        await store.sync()
        progress, totals = await store.get_status()
    assert (progress.phase, progress.total, totals.conversations) == ("idle", 0, 1)
