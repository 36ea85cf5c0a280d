"""Repair: one test for each thing that has a safe answer, what has none is left, and a copy is kept of how it was."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.errors import ConversationNotFound, ConversationOwned, UnreadableFile
from app.model.event import STATE_UPDATE
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId, dashed
from tests.builders import make_conversation, make_event, make_id, make_state, names_in, write_event
from tests.conftest import StoreOpener

ONE = ConversationId(make_id(1))
LEASE_FILES = {"owner_lease.json", ".owner_lease.lock", ".owner_lease.last", ".eventlog.lock"}
EVENTS = [make_event(number) for number in range(3)]
LAST = EVENTS[-1]["id"]


def read(directory: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / name).read_text())
    return found


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name not in LEASE_FILES
    }


async def repaired(root: Path, open_store: StoreOpener) -> tuple[list[tuple[str, str]], list[str], dict[str, Any]]:
    """Repair, and return what was mended, what was left, and how the conversation is listed then."""
    async with open_store(root) as store:
        before = files(root / ONE)
        would = await store.repair(ONE, dry_run=True)
        assert (files(root / ONE), would.copy) == (before, None)
        done = await store.repair(ONE)
        assert [(m.file, m.what) for m in done.mended] == [(m.file, m.what) for m in would.mended]
        assert bool(done.copy) == bool(done.mended)
        if done.copy:
            assert files(root / ".trash" / done.copy) == before
        again = await store.repair(ONE)
        assert (again.mended, again.left, again.copy) == ([], done.left, None)
        [body] = (await store.list_conversations()).items
        assert await store.verify() == []
    return [(mend.file, mend.what) for mend in done.mended], done.left, orjson.loads(body)


async def test_a_sound_conversation_is_left_as_it_is(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, events=EVENTS)
    before = files(directory)
    mended, left, _ = await repaired(root, open_store)
    assert (mended, left, files(directory)) == ([], [], before)
    assert not (root / ".trash").exists()


async def test_a_missing_state_is_made_from_the_log_and_meta(root: Path, open_store: StoreOpener) -> None:
    workspace = {"kind": "LocalWorkspace", "working_dir": "/home/dev/it"}
    directory = make_conversation(root, events=EVENTS, meta={"tags": {"area": "store"}, "workspace": workspace})
    (directory / "base_state.json").unlink()
    mended, _, listed = await repaired(root, open_store)
    made = "missing; made again from the log and meta.json; its agent is not known any more and is a stub"
    assert mended == [("base_state.json", made)]
    assert (listed["title"], listed["execution_status"], listed.get("unreadable")) == ("A title", "idle", None)
    assert (listed["workspace"], listed["tags"]) == (workspace, {"area": "store"})
    state = read(directory, "base_state.json")
    assert (state["id"], state["leaf_event_id"]) == (dashed(ONE), LAST)


async def test_what_stands_whole_in_a_torn_state_is_kept(root: Path, open_store: StoreOpener) -> None:
    agent = {"kind": "Agent", "llm": {"model": "a/model", "api_key": "gAAAA-a-token"}, "tools": [], "unknown": [1, {}]}
    directory = make_conversation(root, events=EVENTS, state={"agent": agent, "execution_status": "running"})
    whole = (directory / "base_state.json").read_bytes()
    (directory / "base_state.json").write_bytes(whole[: whole.index(b'"secret_registry"') - 1])
    mended, _, listed = await repaired(root, open_store)
    assert "its 5 undamaged fields" in mended[0][1]
    assert (listed["execution_status"], listed["agent"]["llm"]["model"]) == ("error", "a/model")
    assert read(directory, "base_state.json")["agent"] == agent


async def test_what_the_log_told_of_the_state_is_taken(root: Path, open_store: StoreOpener) -> None:
    told = make_state(ONE, execution_status="running", agent={"kind": "Agent", "llm": {"model": "told"}, "tools": []})
    updates = [
        make_event(3, kind=STATE_UPDATE, key="full_state", value=told),
        make_event(4, kind=STATE_UPDATE, key="execution_status", value="paused"),
    ]
    directory = make_conversation(root, events=[*EVENTS, *updates])
    (directory / "base_state.json").write_bytes(b"")
    mended, _, listed = await repaired(root, open_store)
    assert mended == [("base_state.json", "the file is empty; made again from the log and meta.json")]
    assert (listed["execution_status"], listed["agent"]["llm"]["model"]) == ("paused", "told")


@pytest.mark.parametrize("name", ["base_state.json", "meta.json"])
async def test_a_temporary_file_that_is_whole_takes_its_place(root: Path, open_store: StoreOpener, name: str) -> None:
    directory = make_conversation(root, events=EVENTS)
    whole = (directory / name).read_bytes()
    (directory / f".{name}.abc.tmp").write_bytes(whole)
    (directory / f".{name}.def.tmp").write_bytes(whole.replace(ONE.encode(), make_id(2).encode())[:-9])
    (directory / name).write_bytes(whole[:40])
    mended, _, listed = await repaired(root, open_store)
    assert [file for file, _ in mended] == [name, f".{name}.abc.tmp", f".{name}.def.tmp"]
    assert f"replaced by .{name}.abc.tmp" in mended[0][1]
    assert ((directory / name).read_bytes(), listed.get("unreadable")) == (whole, None)
    assert set(names_in(directory)) - LEASE_FILES == {"base_state.json", "events", "meta.json"}


async def test_a_torn_meta_keeps_what_stands_whole(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, events=EVENTS, state={"tags": {"area": "store"}})
    whole = (directory / "meta.json").read_bytes()
    (directory / "meta.json").write_bytes(whole[: whole.index(b'"updated_at"') + 20])
    mended, _, listed = await repaired(root, open_store)
    assert [file for file, _ in mended] == ["meta.json"]
    assert mended[0][1].endswith("made again from the log and base_state.json")
    assert (listed["title"], listed["created_at"], listed["tags"]) == (
        "A title",
        "2026-10-01T12:00:00Z",
        {"area": "store"},
    )


@pytest.mark.parametrize("around", [("\ufeff", ""), ("", "\0" * 40)])
async def test_all_that_stands_whole_in_spoilt_files_is_listed_again(
    root: Path, open_store: StoreOpener, around: tuple[str, str]
) -> None:
    directory = make_conversation(root, events=EVENTS, state={"tags": {"area": "store"}})
    last = max((directory / "events").glob("event-*"))
    for file in (directory / "meta.json", directory / "base_state.json", last):
        file.write_text(file.read_text().join(around))
    mended, left, listed = await repaired(root, open_store)
    assert ([file for file, _ in mended], left) == (["base_state.json", "meta.json", f"events/{last.name}"], [])
    assert (listed["title"], listed["tags"], listed["agent"]["llm"]["model"]) == (
        "A title",
        {"area": "store"},
        "a/model",
    )


async def test_both_files_are_made_from_the_log_alone(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, events=EVENTS)
    for name in ("base_state.json", "meta.json"):
        (directory / name).unlink()
    async with open_store(root, timezone="UTC"):
        pass
    mended, left, listed = await repaired(root, open_store)
    assert ([file for file, _ in mended], left) == (["base_state.json", "meta.json"], [])
    assert (listed["event_count"], listed["agent"]["kind"], listed.get("unreadable")) == (3, "Agent", None)


async def test_a_head_that_the_log_does_not_have_becomes_the_last_event(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, events=EVENTS, state={"leaf_event_id": make_id(99), "unknown": "kept"})
    mended, _, _ = await repaired(root, open_store)
    assert [file for file, _ in mended] == ["base_state.json"]
    state = read(directory, "base_state.json")
    assert (state["leaf_event_id"], state["unknown"]) == (LAST, "kept")


async def test_a_head_that_a_crash_left_behind_goes_on(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, events=EVENTS, state={"leaf_event_id": LAST})
    os.utime(directory / "base_state.json", ns=(0, 0))
    write_event(directory, 3, make_event(3, parent_id=LAST))
    mended, _, _ = await repaired(root, open_store)
    assert [file for file, _ in mended] == ["base_state.json"]
    assert read(directory, "base_state.json")["leaf_event_id"] == make_event(3)["id"]


async def test_stale_markers_and_leftovers_are_deleted(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, events=EVENTS)
    for name in (".eventlog-len-2.marker", ".eventlog-len-3.marker", ".event-00003-abcdefgh.json.x.tmp"):
        (directory / "events" / name).touch()
    mended, _, _ = await repaired(root, open_store)
    assert [file for file, _ in mended] == [
        "events/.event-00003-abcdefgh.json.x.tmp",
        "events/.eventlog-len-2.marker",
    ]
    assert (directory / "events" / ".eventlog-len-3.marker").exists()


async def test_what_has_no_safe_answer_is_left_and_told(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, events=5, state={"execution_status": "nonsense"})
    write_event(directory, 1).write_bytes(b"")
    write_event(directory, 3).unlink()
    before = files(directory)
    mended, left, _ = await repaired(root, open_store)
    assert (mended, files(directory)) == ([], before)
    assert len(left) == 3
    assert "execution_status 'nonsense' is not known" in left[0]
    assert left[1].endswith("the file is empty")
    assert "event 3 is missing" in left[2]


async def test_another_owners_conversation_is_left_alone(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root)
    (directory / "meta.json").write_text("")
    lease = {"owner_instance_id": "other", "generation": 3, "expires_at": time.time() + 45}
    (directory / "owner_lease.json").write_text(json.dumps(lease))
    before = files(directory)
    async with open_store(root) as store:
        for dry_run in (True, False):
            with pytest.raises(ConversationOwned):
                await store.repair(ONE, dry_run=dry_run)
    assert files(directory) == before


async def test_the_run_that_a_crash_cut_off_is_still_ended_by_the_next_owner(
    root: Path, open_store: StoreOpener
) -> None:
    directory = make_conversation(root, state={"execution_status": "running"})
    lease = {"owner_instance_id": "dead", "generation": 3, "expires_at": time.time() - 45}
    (directory / "owner_lease.json").write_text(json.dumps(lease))
    (directory / ".meta.json.x.tmp").touch()
    async with open_store(root) as store:
        assert len((await store.repair(ONE)).mended) == 1
        async with store.writer(ONE) as conversation:
            assert conversation.files.status == "error"


async def test_a_ghost_gets_no_lease(root: Path, open_store: StoreOpener) -> None:
    (root / ONE / "events").mkdir(parents=True)
    async with open_store(root) as store:
        with pytest.raises(ConversationNotFound):
            await store.repair(ONE)
    assert names_in(root / ONE) == ["events"]


async def test_the_copy_comes_back_as_any_deleted_one(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, meta={"title": "Before"})
    (directory / "base_state.json").write_text("{")
    async with open_store(root) as store:
        await store.repair(ONE)
        await store.delete(ONE, permanent=True)
        await store.restore(ONE)
    assert (directory / "base_state.json").read_text() == "{"


def lose(path: Path) -> None:
    path.unlink()


def tear(path: Path) -> None:
    path.write_bytes(b'{"id": "to')


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        (lose, ["base_state.json"]),
        (lose, ["base_state.json", "meta.json"]),
        (tear, ["base_state.json"]),
        (tear, ["meta.json"]),
        (tear, ["base_state.json", "meta.json"]),
    ],
)
async def test_an_unreadable_conversation_is_archived_and_pinned_and_else_unchanged(
    root: Path, open_store: StoreOpener, damage: Callable[[Path], None], names: list[str]
) -> None:
    path = make_conversation(root, 1)
    for name in names:
        damage(path / name)
    kept = {each.name: each.read_bytes() for each in path.iterdir() if each.suffix == ".json"}
    async with open_store(root) as store:
        await store.mark(ONE, archived=True, pinned=True)
        counts = [await store.count_conversations(ConversationFilter(archived=one)) for one in (False, True)]
        assert counts == [0, 1]
        assert await store.count_conversations(ConversationFilter(archived=True, unreadable=True)) == 1
        assert await store.verify() == []
        await store.mark(ONE, archived=False)
        assert await store.count_conversations(ConversationFilter(unreadable=True)) == 1
    assert json.loads((path / "convstore.json").read_bytes()) == {"archived": False, "pinned": True}
    now = {each.name: each.read_bytes() for each in path.iterdir() if each.suffix == ".json"}
    assert {name: raw for name, raw in now.items() if name not in ("convstore.json", "owner_lease.json")} == kept


async def test_an_unreadable_conversation_of_another_owner_is_archived_only_by_force(
    root: Path, open_store: StoreOpener
) -> None:
    path = make_conversation(root, 1)
    (path / "base_state.json").unlink()
    async with open_store(root) as store, open_store(root, synced=False, instance="other") as other:
        await other.claim(ONE, "a-client", ttl_s=60)
        with pytest.raises(ConversationOwned):
            await store.mark(ONE, archived=True)
        assert not (path / "convstore.json").exists()
        await store.mark(ONE, archived=True, force=True)
        assert await store.count_conversations() == 0


async def test_a_write_to_an_unreadable_conversation_says_how_to_repair_it(root: Path, open_store: StoreOpener) -> None:
    (make_conversation(root, 1) / "base_state.json").unlink()
    async with open_store(root) as store:
        with pytest.raises(UnreadableFile, match=rf"missing; run `convstore repair {ONE}`, which"):
            async with store.writer(ONE) as conversation:
                await conversation.set_title("Other")
        await store.repair(ONE)
        async with store.writer(ONE) as conversation:
            await conversation.set_title("Other")
