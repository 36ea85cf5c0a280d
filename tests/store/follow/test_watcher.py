"""The sweep: what it notices when, and what it leaves alone."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app import ConversationStore
from app.errors import StoreUnavailable
from app.model.ids import ConversationId, dashed
from app.store.follow import watcher
from app.store.follow.change_hints import ChangeHints
from app.store.follow.watcher import Watcher
from tests.builders import (
    index_database,
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

ONE = ConversationId(make_id(1))
LEASE = "owner_lease.json"
OLD = {"updated_at": "2020-01-01T00:00:00Z"}
OLD_EVENTS = [make_event(number, timestamp=f"2020-01-01T00:00:0{number}") for number in range(2)]


def today() -> dict[str, str]:
    return {"updated_at": datetime.now(UTC).isoformat()}


def swept(store: ConversationStore) -> Watcher:
    return Watcher(store.context)


def replace(path: Path, content: dict[str, Any]) -> None:
    """Write a file as agent-server does: beside it, then over it."""
    fresh = path.with_name(f".{path.name}.tmp")
    fresh.write_text(json.dumps(content))
    fresh.replace(path)


def retitle(directory: Path) -> None:
    replace(directory / "meta.json", make_meta(directory.name, title="Changed", **OLD))


def set_status(directory: Path) -> None:
    replace(directory / "base_state.json", make_state(directory.name, execution_status="stuck"))


def append(directory: Path) -> None:
    write_event(directory, 2, make_event(2, timestamp="2020-01-01T00:00:09"))


def rewrite_in_place(directory: Path) -> None:
    (directory / "meta.json").write_text(json.dumps(make_meta(directory.name, title="Written in place", **OLD)))


CHANGES: list[tuple[Callable[[Path], None], dict[str, Any]]] = [
    (retitle, {"title": "Changed"}),
    (set_status, {"execution_status": "stuck"}),
    (append, {"event_count": 3}),
]


@pytest.mark.parametrize(("change", "after"), [*CHANGES, (rewrite_in_place, {"title": "Written in place"})])
async def test_a_tick_notices_what_changed_in_a_conversation_of_today(
    root: Path, open_store: StoreOpener, change: Callable[[Path], None], after: dict[str, Any]
) -> None:
    directory = make_conversation(root, 1, meta=today(), events=OLD_EVENTS)
    make_conversation(root, 2, meta=today())
    async with open_store(root) as store:
        looking = swept(store)
        await looking.walk_all()
        change(directory)
        assert await looking.tick() == 1
        assert (await listed(store))[ONE].items() >= after.items()


@pytest.mark.parametrize(("change", "after"), CHANGES)
async def test_a_walk_notices_what_was_added_to_an_idle_conversation(
    root: Path, open_store: StoreOpener, change: Callable[[Path], None], after: dict[str, Any]
) -> None:
    directory = make_conversation(root, 1, meta=OLD, events=OLD_EVENTS)
    async with open_store(root) as store:
        looking = swept(store)
        await looking.walk_all()
        change(directory)
        assert await looking.tick() == 0
        assert await looking.walk_all(full=False) == 1
        assert (await listed(store))[ONE].items() >= after.items()


async def test_a_full_walk_notices_what_was_written_in_place(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "_MARGIN_NS", 0)
    directory = make_conversation(root, 1, meta=OLD, events=OLD_EVENTS)
    async with open_store(root) as store:
        looking = swept(store)
        await looking.walk_all()
        rewrite_in_place(directory)
        assert await looking.walk_all(full=False) == 0
        assert await looking.walk_all() == 1
        assert (await listed(store))[ONE]["title"] == "Written in place"


async def test_ten_walks_look_at_the_files_of_each_conversation_once(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "_MARGIN_NS", 0)
    directories = [make_conversation(root, number, meta=OLD, events=OLD_EVENTS) for number in range(20)]
    async with open_store(root) as store:
        looking = Watcher(store.context, since_ns=time.time_ns())
        looking._walk.over = True
        for directory in directories:
            rewrite_in_place(directory)
        monkeypatch.setattr(watcher, "_LATELY_MOST", 0)
        found = [await looking.walk_all(full=False) for _ in range(watcher.FULL_EVERY)]
        assert found == [4, *[2] * 8, 0]
        assert {one["title"] for one in (await listed(store)).values()} == {"Written in place"}


async def test_what_changed_lately_is_looked_at_all_the_time(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, 1, meta=OLD, events=OLD_EVENTS)
    async with open_store(root) as store:
        looking = swept(store)
        await looking.walk_all()
        append(directory)
        await looking.walk_all()
        rewrite_in_place(directory)
        assert await looking.tick() == 1


async def test_looking_at_what_did_not_change_opens_no_file_and_writes_no_row(
    root: Path, open_store: StoreOpener
) -> None:
    for number in range(5):
        make_conversation(root, number, meta=today() if number % 2 else OLD)
    async with open_store(root) as store:
        looking = swept(store)
        await looking.walk_all()
        before = index_tables(root / ".convstore" / "index.db")
        with opened_files() as opened:
            assert [await looking.tick(), await looking.tick(), await looking.walk_all(full=False)] == [0, 0, 0]
    assert [path for path in opened if path.endswith(".json") or make_id(1) in path] == []
    assert index_tables(root / ".convstore" / "index.db") == before


async def test_a_walk_is_spread_over_its_time(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "_LEAST_STEP", 2)
    for number in range(10):
        make_conversation(root, number, meta=OLD, events=0)
    async with open_store(root) as store:
        looking = swept(store)
        await looking.tick()
        assert (looking._walk.number, looking._walk.done, looking._walk.over) == (1, 2, False)
        for _ in range(5):
            await looking.tick()
        assert (looking._walk.number, looking._walk.done, looking._walk.over) == (1, 10, True)
        assert (await store.get_status())[0].last_sweep_at


@pytest.mark.parametrize(("conversations", "seconds"), [(0, 50), (175_000, 50), (1_000_000, 1_000_000 / 3500)])
def test_a_walk_over_very_many_takes_longer_and_not_more_of_a_processor(conversations: int, seconds: float) -> None:
    walk = watcher._Walk(1, conversations, 0)
    assert walk.seconds == seconds
    walk.began -= seconds / 2
    assert walk.step() == pytest.approx(max(conversations * (0.5 + 1 / seconds), 200), rel=0.01)


async def test_a_new_and_a_vanished_directory_are_noticed_by_a_tick(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, 1)
    gone = make_conversation(root, 2)
    async with open_store(root) as store:
        looking = swept(store)
        await looking.tick()
        shutil.rmtree(gone)
        make_conversation(root, 3)
        make_conversation(root, 0)
        assert await looking.tick() == 3
        assert set(await listed(store)) == {make_id(0), ONE, make_id(3)}


async def test_a_directory_that_is_filled_later_is_noticed(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, 1)
    (root / make_id(2) / "events").mkdir(parents=True)
    async with open_store(root) as store:
        looking = swept(store)
        await looking.tick()
        write_event(root / make_id(2), 0)
        assert await looking.tick() == 1
        assert set(await listed(store)) == {ONE, make_id(2)}


async def test_a_directory_that_is_renamed_stays_one_conversation(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, 1)
    make_conversation(root, 2)
    async with open_store(root) as store:
        looking = swept(store)
        await looking.tick()
        directory.rename(root / dashed(ONE))
        assert await looking.tick() == 1
        assert (len(await listed(store)), (await store.list_events(ONE)).items != []) == (2, True)


async def test_a_second_directory_for_an_id_is_told_once(
    root: Path, open_store: StoreOpener, caplog: pytest.LogCaptureFixture
) -> None:
    make_conversation(root, 1)
    async with open_store(root) as store:
        looking = swept(store)
        await looking.tick()
        make_conversation(root, 1, directory=dashed(ONE))
        await looking.tick()
        await looking.walk_all()
        assert await store.count_conversations() == 1
    assert caplog.text.count("is a second directory for an id") == 1


@pytest.mark.parametrize("mount_point", [False, True])
async def test_a_lost_disk_erases_nothing(
    root: Path, tmp_path: Path, open_store: StoreOpener, mount_point: bool
) -> None:
    make_conversation(root, 1, meta=today())
    async with open_store(root, index_url=f"sqlite:///{tmp_path / 'elsewhere.db'}") as store:
        looking = swept(store)
        await looking.tick()
        root.rename(tmp_path / "away")
        if mount_point:
            root.mkdir()
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await looking.tick()
        assert set(await listed(store)) == {ONE}
        shutil.rmtree(root, ignore_errors=True)
        (tmp_path / "away").rename(root)
        assert await looking.tick() == 0


async def test_what_was_read_half_written_is_read_again(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signature of what changed a moment ago is not trusted, so a write in the same clock tick is found."""
    ahead_ns = 0
    monkeypatch.setattr("app.files.fingerprint.time_ns", lambda: time.time_ns() + ahead_ns)
    directory = make_conversation(root, 1, meta=OLD, events=OLD_EVENTS)
    async with open_store(root) as store:
        looking = swept(store)
        rewrite_in_place(directory)
        assert [await looking.tick(), await looking.tick()] == [1, 0]
        os.utime(directory / "meta.json", ns=(0, 0))
        ahead_ns = 60_000_000_000
        await looking.tick()
        with opened_files() as opened:
            await looking.tick()
        assert [path for path in opened if path.endswith("meta.json")] == []


def lease(directory: Path, *, expires_in_s: float, owner: str = "another-server") -> None:
    body = {"owner_instance_id": owner, "generation": 2, "expires_at": time.time() + expires_in_s}
    replace(directory / LEASE, body | {"owner_host": "elsewhere", "owner_pid": 1})


def revision(root: Path) -> int:
    with index_database(root / ".convstore" / "index.db") as database:
        return int(database.execute("SELECT revision FROM revision").fetchone()[0])


@pytest.mark.parametrize("times", [today(), OLD])
async def test_an_owner_is_listed_and_a_renewal_reads_nothing_again(
    root: Path, open_store: StoreOpener, times: dict[str, str]
) -> None:
    directory = make_conversation(root, 1, meta=times, events=OLD_EVENTS)
    async with open_store(root) as store:
        looking = swept(store)
        await looking.walk_all()
        assert (await listed(store))[ONE]["owner"] is None
        lease(directory, expires_in_s=45)
        await looking.walk_all(full=False)
        assert (await listed(store))[ONE]["owner"] == "another-server"
        noticed = revision(root)

        lease(directory, expires_in_s=60)
        with opened_files() as opened:
            assert await looking.tick() == 0
        assert [path for path in opened if path.endswith(("meta.json", "base_state.json"))] == []
        assert revision(root) == noticed

        lease(directory, expires_in_s=-1)
        await looking.tick()
        assert (await listed(store))[ONE]["owner"] is None
        assert revision(root) == noticed + 1


async def test_an_owner_that_died_is_gone_when_its_lease_ends(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, 1, meta=today())
    async with open_store(root) as store:
        looking = swept(store)
        lease(directory, expires_in_s=1)
        await looking.tick()
        assert (await listed(store))[ONE]["owner"] == "another-server"
        await asyncio.sleep(1.1)
        with opened_files() as opened:
            await looking.tick()
        assert (await listed(store))[ONE]["owner"] is None
        assert [path for path in opened if path.endswith(".json")] == []


async def test_an_unreadable_lease_is_nobodys(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, 1, meta=today())
    async with open_store(root) as store:
        looking = swept(store)
        (directory / LEASE).write_text('{"owner_inst')
        await looking.tick()
        assert (await listed(store))[ONE]["owner"] is None


@pytest.mark.usefixtures("settled_clock")
async def test_a_hint_brings_the_look_at_an_idle_conversation_forward(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root, 1, meta=OLD, events=OLD_EVENTS)
    async with open_store(root) as store:
        await store.sync()
        hints = ChangeHints(root)
        watcher = Watcher(store.context, hints=hints)
        await watcher.tick()
        while not hints.watched:
            await asyncio.sleep(0.01)
        append(path)
        await asyncio.sleep(0.2)
        assert await watcher.tick() == 1
        assert (await listed(store))[ONE]["event_count"] == 3
        await watcher.close()


@asynccontextmanager
async def hinted(store: ConversationStore, root: Path) -> AsyncIterator[tuple[Watcher, list[str]]]:
    """A watcher whose hints have begun, and the directories that it watches, in order."""
    chosen: list[str] = []

    class Recorded(ChangeHints):
        def watch(self, directories: Sequence[str]) -> None:
            chosen[:] = directories
            super().watch(directories)

    hints = Recorded(root)
    looking = Watcher(store.context, hints=hints)
    await looking.tick()
    async with asyncio.timeout(60):
        while not hints.watched:
            await asyncio.sleep(0.01)
    yield looking, chosen
    await looking.close()


@pytest.mark.usefixtures("settled_clock")
async def test_the_most_recently_active_conversations_are_watched_and_no_more_than_allowed(
    root: Path, open_store: StoreOpener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, year in ((1, 2012), (2, 2020), (3, 2010), (4, 2015)):
        times = {"updated_at": f"{year}-01-01T00:00:00Z"}
        make_conversation(root, number, meta=times, events=0)
    (tmp_path / "limit").write_text("12")
    monkeypatch.setattr("app.store.follow.change_hints._LIMIT", tmp_path / "limit")
    async with open_store(root) as store, hinted(store, root) as (_, chosen):
        assert chosen == [make_id(2), make_id(4), make_id(1)]


@pytest.mark.usefixtures("settled_clock")
async def test_a_lease_is_a_hint_and_no_activity(root: Path, open_store: StoreOpener) -> None:
    """agent-server makes a lease before the first event, and for a request that only reads events, too."""
    path = make_conversation(root, 1, meta=OLD, events=OLD_EVENTS)
    async with open_store(root) as store, hinted(store, root) as (looking, _):
        before = (await listed(store))[ONE]
        lease(path, expires_in_s=45)
        async with asyncio.timeout(60):
            while (await listed(store))[ONE]["owner"] is None:
                await looking.tick()
        after = (await listed(store))[ONE]
        assert after == before | {"owner": "another-server"}
        append(path)
        async with asyncio.timeout(60):
            while (await listed(store))[ONE]["event_count"] == 2:
                await looking.tick()
