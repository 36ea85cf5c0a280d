"""Bringing the index up to date: what is noticed, what is not opened, and when it is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from app import ConversationStore
from app.errors import StoreUnavailable, SyncRunning
from app.files import fingerprint
from app.files.layout import ConversationDir
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId, dashed
from app.store.follow.full_sync import SyncReport, readers, run_ahead
from tests.builders import (
    held_by_another_process,
    index_database,
    index_path,
    index_tables,
    make_conversation,
    make_event,
    make_id,
    make_meta,
    make_state,
    opened_files,
    write_event,
)
from tests.conftest import StoreOpener
from tests.store.helpers import listed


def found(report: SyncReport) -> dict[str, Any]:
    """Return what a sync says that it found, apart from its duration and what is nothing."""
    return {name: value for name, value in asdict(report).items() if value and name != "seconds"}


async def titles(store: ConversationStore) -> dict[str, str | None]:
    return {key: info["title"] for key, info in (await listed(store)).items()}


async def test_the_first_sync_reads_every_conversation_and_its_log(root: Path, open_store: StoreOpener) -> None:
    for number in range(3):
        make_conversation(root, number)
    async with open_store(root, synced=False) as store:
        assert found(await store.sync()) == {"conversations": 3, "opened": 3, "added": 3, "logs": 3}


async def test_a_second_sync_opens_nothing(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, 1)
    make_conversation(root, 2, events=0)
    async with open_store(root) as store:
        with opened_files() as opened:
            assert found(await store.sync()) == {"conversations": 2}
    assert [path for path in opened if make_id(1) in path or make_id(2) in path or path.endswith(".json")] == []


async def test_files_are_looked_at_once_for_a_new_conversation_and_again_for_a_known_one(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    signature = fingerprint.signature

    def note(root: Path, directory: str) -> bytes:
        looked.append(directory)
        return signature(root, directory)

    monkeypatch.setattr(fingerprint, "signature", note)
    make_conversation(root, 1)
    async with open_store(root, synced=False) as store:
        await store.sync()
        make_conversation(root, 2)
        await store.sync()
    assert looked == [make_id(1), make_id(1), make_id(2)]


async def test_a_sync_that_finds_nothing_new_leaves_the_revision(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root)
    async with open_store(root) as store:
        before, _ = await store.get_status()
        await store.sync()
        after, _ = await store.get_status()
    assert (after.epoch, after.revision) == (before.epoch, before.revision)


async def test_a_new_directory_is_noticed(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, 1)
    async with open_store(root) as store:
        make_conversation(root, 2, meta={"title": "New"})
        assert found(await store.sync()) == {"conversations": 2, "opened": 1, "added": 1, "logs": 1}
        assert await titles(store) == {make_id(1): "A title", make_id(2): "New"}


def retitle(directory: Path) -> None:
    (directory / "meta.json").write_text(json.dumps(make_meta(directory.name, title="Changed")))


def run(directory: Path) -> None:
    (directory / "base_state.json").write_text(json.dumps(make_state(directory.name, execution_status="running")))


def append(directory: Path) -> None:
    write_event(directory, 2, make_event(2, timestamp="2026-10-01T12:30:00"))


def lose_an_event(directory: Path) -> None:
    sorted((directory / "events").iterdir())[1].unlink()


@pytest.mark.parametrize(
    ("change", "after"),
    [
        (retitle, {"title": "Changed"}),
        (run, {"execution_status": "running"}),
        (append, {"event_count": 3, "last_event_at": "2026-10-01T12:30:00Z"}),
        (lose_an_event, {"event_count": 1, "last_event_at": "2026-10-01T12:00:00Z"}),
    ],
)
async def test_a_change_is_noticed(
    root: Path, open_store: StoreOpener, change: Callable[[Path], None], after: dict[str, Any]
) -> None:
    directory = make_conversation(root, 1)
    make_conversation(root, 2)
    async with open_store(root, timezone="UTC") as store:
        before = await listed(store)
        change(directory)
        assert found(await store.sync()) == {"conversations": 2, "opened": 1, "changed": 1, "logs": 1}
        assert await listed(store) == before | {make_id(1): before[make_id(1)] | after}


async def test_an_appended_event_gets_its_row(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, 1, events=1)
    async with open_store(root) as store:
        write_event(directory, 1, make_event(1, kind="ActionEvent", source="agent", tool_name="terminal"))
        await store.sync()
    events = [row[1:5] + row[6:7] for row in index_tables(index_path(root))["event"]]
    assert events == [
        (0, make_event(0)["id"], "MessageEvent", "user", None),
        (1, make_event(1)["id"], "ActionEvent", "agent", "terminal"),
    ]


async def test_a_vanished_directory_takes_its_rows_with_it(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, 1)
    shutil.rmtree(make_conversation(root, 2, directory="elsewhere"))
    async with open_store(root) as store:
        only_one = index_tables(index_path(root))
        directory = make_conversation(root, 2)
        await store.sync()
        shutil.rmtree(directory)
        assert found(await store.sync()) == {"conversations": 1, "removed": 1}
    assert index_tables(index_path(root)) == only_one


async def test_a_directory_renamed_to_its_dashed_name_stays_one_conversation(
    root: Path, open_store: StoreOpener
) -> None:
    directory = make_conversation(root, 1)
    async with open_store(root) as store:
        before = index_tables(index_path(root))
        directory.rename(root / dashed(make_id(1)))
        await store.sync()
        after = index_tables(index_path(root))
    [row] = before.pop("conversation")
    assert after.pop("conversation") == [(row[0], dashed(make_id(1)), *row[2:])]
    assert after == before


async def test_an_empty_root_with_a_filled_index_is_refused(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root)
    async with open_store(root) as store:
        before = index_tables(index_path(root))
        shutil.rmtree(directory)
        with pytest.raises(StoreUnavailable, match="the index has 1; check that its disk is mounted"):
            await store.sync()
        after = index_tables(index_path(root))
    assert "check that its disk is mounted" in after.pop("sync_state")[0][3]
    before.pop("sync_state")
    assert after == before


async def test_an_empty_root_empties_the_index_when_that_is_allowed(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root)
    async with open_store(root) as store:
        shutil.rmtree(directory)
        assert found(await store.sync(allow_empty=True)) == {"removed": 1}
        assert await listed(store) == {}


async def test_two_directories_for_one_id_are_reported_and_the_plain_one_is_listed(
    root: Path, open_store: StoreOpener
) -> None:
    make_conversation(root, 1, meta={"title": "Dashed"}, directory=dashed(make_id(1)))
    make_conversation(root, 1, meta={"title": "Plain"})
    async with open_store(root, synced=False) as store:
        assert (await store.sync()).duplicates == [dashed(make_id(1))]
        assert await titles(store) == {make_id(1): "Plain"}


async def test_what_changed_a_moment_ago_is_read_again(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.files.fingerprint.time_ns", time.time_ns)
    make_conversation(root)
    one = ConversationDir(make_id(1), ConversationId(make_id(1)))
    async with open_store(root, synced=False) as store:
        assert (await store.sync()).untrusted == [one]
        assert found(await store.sync()) == {
            "conversations": 1,
            "opened": 1,
            "changed": 1,
            "logs": 1,
            "untrusted": [one],
        }


async def test_a_sync_is_refused_while_another_process_syncs(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root)
    async with open_store(root, synced=False) as store:
        with (
            held_by_another_process(root / ".convstore" / "sync.lock"),
            pytest.raises(SyncRunning, match="another process is syncing the index"),
        ):
            await store.sync()
        assert found(await store.sync())["added"] == 1


async def test_a_directory_of_lock_files_alone_is_no_conversation(root: Path, open_store: StoreOpener) -> None:
    ghost = root / make_id(1) / "events"
    ghost.mkdir(parents=True)
    (ghost / ".eventlog.lock").touch()
    (ghost.parent / ".owner_lease.lock").touch()
    async with open_store(root, synced=False) as store:
        assert found(await store.sync()) == {"empty": [make_id(1)]}
        assert await listed(store) == {}


async def test_a_deleted_index_comes_back_equal(corpus: Path, open_store: StoreOpener) -> None:
    async with open_store(corpus):
        pass
    before = index_tables(index_path(corpus))
    shutil.rmtree(corpus / ".convstore")
    async with open_store(corpus):
        pass
    assert index_tables(index_path(corpus)) == before


async def test_progress_is_told_in_two_phases(root: Path, open_store: StoreOpener) -> None:
    for number in range(3):
        make_conversation(root, number)
    told: list[tuple[str, int, int]] = []
    async with open_store(root, synced=False) as store:
        await store.sync(on_progress=lambda *step: told.append(step))
    assert told[:2] == [("metadata", 3, 3), ("events", 3, 3)]
    assert {phase for phase, *_ in told[2:]} <= {"text"}


async def test_after_many_logs_the_words_are_merged_in_a_phase_of_its_own(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.follow.full_sync._LOG_BATCH", 1)
    monkeypatch.setattr("app.store.follow.full_sync._WORTH_MERGING", 3)
    for number in range(3):
        make_conversation(root, number)
    told: list[tuple[str, str]] = []

    def note(phase: str, _done: int, _total: int) -> None:
        [(stored, *_)] = index_tables(index_path(root))["sync_state"]
        told.append((phase, stored))

    async with open_store(root, synced=False) as store:
        await store.sync(on_progress=note)
        assert (await store.get_status())[0].phase == "idle"
    assert told == [("metadata", "metadata"), *[("events", "events")] * 3, *[("text", "text")] * (len(told) - 4)]
    assert len(told) > 4
    assert count_segments(index_path(root)) == 1


def count_segments(path: Path) -> int:
    """Return in how many parts the index of words is."""
    with index_database(path) as index:
        [[number]] = index.execute("SELECT count(DISTINCT segid) FROM message_fts_idx")
    return int(number)


ONE = ConversationId(make_id(1))


async def test_a_convstore_json_that_appears_is_seen_by_the_next_sync(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root, 1)
    async with open_store(root) as store:
        (path / "convstore.json").write_text(json.dumps({"archived": True}))
        assert (await store.sync()).changed == 1
        assert await store.count_conversations() == 0


async def test_a_damaged_convstore_json_is_told_and_archives_nothing(root: Path, open_store: StoreOpener) -> None:
    (make_conversation(root, 1) / "convstore.json").write_text("{")
    async with open_store(root) as store:
        assert await store.count_conversations(ConversationFilter(unreadable=True)) == 1
        async with store.writer(ONE) as conversation:
            await conversation.update(archived=True)
        await store.sync()
        assert await store.count_conversations(ConversationFilter(unreadable=False, archived=True)) == 1


async def numbers(count: int) -> AsyncIterator[tuple[int]]:
    for number in range(count):
        yield (number,)


def square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def die(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.long
@pytest.mark.parametrize("processes", [0, 2])
async def test_results_come_in_order(processes: int) -> None:
    with readers(processes) as executor:
        results = [result async for result in run_ahead(executor, processes + 1, square, numbers(20))]
    assert [result for result, _ in results] == [number * number for number in range(20)]
    assert (os.getpid() in {process for _, process in results}) == (processes == 0)


@pytest.mark.long
async def test_a_killed_process_is_an_error_that_says_what_to_do() -> None:
    with readers(1) as executor, pytest.raises(StoreUnavailable, match="CONVSTORE_SYNC_PROCESSES=0"):
        _ = [result async for result in run_ahead(executor, 1, die, numbers(5))]


@pytest.mark.parametrize("processes", [1, 3])
async def test_processes_read_what_a_thread_reads(
    corpus: Path, tmp_path: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setattr("app.store.follow.full_sync._WORTH_PROCESSES", 1)
    monkeypatch.setattr("app.store.follow.full_sync._BATCH", 7)
    tables = []
    for number in (0, processes):
        path = tmp_path / f"{number}.db"
        async with open_store(corpus, index_url=f"sqlite:///{path}", sync_processes=number):
            pass
        tables.append(index_tables(path))
    assert tables[0] == tables[1]
