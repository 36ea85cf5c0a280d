"""What goes wrong with one stored conversation in the field: damage, old formats, odd logs.

The numbers are those of the list of known bugs; each was reported for, or measured on, agent-server 1.58 or older.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from app.model.filters import ConversationFilter, Status
from app.model.ids import ConversationId, dashed
from app.model.page import SortOrder
from tests.builders import make_conversation, make_event, make_id, write_event
from tests.conformance.asking import event_ids, listed, listed_ids, logged
from tests.conftest import StoreOpener

ONE = ConversationId(make_id(1))
STUBS: dict[str, Any] = {
    "execution_status": "error",
    "agent": {"kind": "Agent", "llm": {"model": "unknown"}, "tools": []},
    "workspace": {"kind": "LocalWorkspace", "working_dir": "."},
}


async def test_bug_01_an_unknown_event_kind_is_listed_served_and_counted(root: Path, open_store: StoreOpener) -> None:
    odd = make_event(1, kind="EventFromTheFuture", payload={"a": [1, None]})
    make_conversation(root, events=[make_event(0), odd, make_event(2)])
    async with open_store(root) as store:
        page = await store.list_events(ONE)
        assert [orjson.loads(raw) for raw in page.items] == [make_event(0), odd, make_event(2)]
        assert await store.count_events(ONE) == 3
        assert await listed_ids(store) == [ONE]


@pytest.mark.parametrize("content", [b"", b"\0" * 50, b'{"id": "x", "kind": "Mess', b"[]"])
async def test_bug_02_a_torn_event_file_is_reported_and_the_others_served(
    root: Path, open_store: StoreOpener, content: bytes
) -> None:
    write_event(make_conversation(root, events=3), 1).write_bytes(content)
    async with open_store(root) as store:
        served, unreadable = await logged(store, ONE)
        assert (served, [seq for seq, _ in unreadable]) == (event_ids(0, 2), [1])
        assert await store.count_events(ONE) == 2
        assert [info["execution_status"] for info in await listed(store)] == ["finished"]


async def test_bug_03_a_cycle_in_the_event_tree_is_served_in_log_order(root: Path, open_store: StoreOpener) -> None:
    first, second = event_ids(0, 1)
    make_conversation(root, events=[make_event(0, parent_id=second), make_event(1, parent_id=first), make_event(2)])
    async with open_store(root) as store:
        assert await logged(store, ONE) == (event_ids(0, 1, 2), [])


async def test_bug_04_an_event_number_past_99999_is_served_in_its_place(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root, events=0)
    for number in (99_998, 99_999, 100_000, 100_001):
        write_event(path, number, make_event(number))
    async with open_store(root) as store:
        served, _ = await logged(store, ONE)
        assert served == event_ids(99_998, 99_999, 100_000, 100_001)


async def test_bug_07_events_without_a_parent_are_a_linear_log(root: Path, open_store: StoreOpener) -> None:
    old, new = [make_event(0), make_event(1)], make_event(2, parent_id=make_event(1)["id"])
    make_conversation(root, events=[*old, new])
    async with open_store(root) as store:
        assert await logged(store, ONE) == (event_ids(0, 1, 2), [])


async def test_bug_09_a_restart_keeps_every_updated_at(corpus: Path, open_store: StoreOpener) -> None:
    async with open_store(corpus) as store:
        before = {info["id"]: info["updated_at"] for info in await listed(store)}
    async with open_store(corpus) as store:
        assert {info["id"]: info["updated_at"] for info in await listed(store)} == before


@pytest.mark.parametrize(
    ("meta", "state", "expected"),
    [
        ({"created_at": "2026-10-01T12:00:00"}, {}, {"created_at": "2026-10-01T12:00:00Z"}),
        ({"created_at": "0001-01-01T00:00:00+14:00"}, {}, {"title": "A title"}),
        ({}, {"agent": {"kind": "NewAgent", "plan": 1}}, {"agent": {"kind": "NewAgent", "plan": 1}}),
    ],
)
async def test_bug_11_one_odd_record_leaves_every_other_listed(
    root: Path, open_store: StoreOpener, meta: dict[str, Any], state: dict[str, Any], expected: dict[str, Any]
) -> None:
    make_conversation(root, 1, meta=meta, state=state)
    make_conversation(root, 2)
    async with open_store(root) as store:
        for order in SortOrder:
            infos = {info["id"]: info for info in await listed(store, order=order)}
            assert set(infos) == {dashed(ONE), dashed(make_id(2))}
            assert expected.items() <= infos[dashed(ONE)].items()


async def test_bug_12_counts_are_the_lengths_of_the_lists(corpus: Path, open_store: StoreOpener) -> None:
    make_conversation(corpus, 1, state={"execution_status": "nonsense"})
    (make_conversation(corpus, 2) / "base_state.json").write_text("")
    async with open_store(corpus) as store:
        everything = [info["execution_status"] for info in await listed(store)]
        for status in Status:
            asked = ConversationFilter((status,))
            found = [info["execution_status"] for info in await listed(store, asked=asked)]
            assert found == [status] * await store.count_conversations(asked) == [s for s in everything if s == status]
        assert await store.count_conversations() == 32


@pytest.mark.parametrize(
    ("damage", "reason"), [(None, "missing"), (b"", "the file is empty"), (b'{"id": "to', "not valid JSON")]
)
async def test_bug_13_without_a_base_state_it_is_listed_with_the_reason_and_opened(
    root: Path, open_store: StoreOpener, damage: bytes | None, reason: str
) -> None:
    state = make_conversation(root, events=2) / "base_state.json"
    state.unlink() if damage is None else state.write_bytes(damage)
    async with open_store(root) as store:
        [info] = await listed(store)
        assert STUBS.items() <= info.items()
        assert info["unreadable"].startswith(f"base_state.json: {reason}")
        assert (info["id"], info["title"]) == (dashed(ONE), "A title")
        assert orjson.loads(await store.get_conversation(ONE)) == info
        assert await logged(store, ONE) == (event_ids(0, 1), [])


@pytest.mark.parametrize(
    ("damage", "reason"), [(b"", "the file is empty"), (b'{"id": "to', "not valid JSON"), (b"[]", "not a JSON object")]
)
async def test_bug_13_a_damaged_meta_is_listed_with_the_reason_and_opened(
    root: Path, open_store: StoreOpener, damage: bytes, reason: str
) -> None:
    (make_conversation(root, events=2) / "meta.json").write_bytes(damage)
    async with open_store(root) as store:
        [info] = await listed(store)
        assert info["unreadable"].startswith(f"meta.json: {reason}")
        assert (info["title"], info["execution_status"], info["agent"]["kind"]) == (None, "error", "Agent")
        assert await logged(store, ONE) == (event_ids(0, 1), [])


async def test_bug_13_a_missing_meta_is_how_the_cli_leaves_it(root: Path, open_store: StoreOpener) -> None:
    (make_conversation(root, events=3) / "meta.json").unlink()
    async with open_store(root, timezone="UTC") as store:
        [info] = await listed(store)
        assert (info["title"], info["execution_status"], info.get("unreadable")) == (None, "finished", None)
        assert (info["created_at"], info["updated_at"]) == ("2026-10-01T12:00:00Z", "2026-10-01T12:00:02Z")


async def test_bug_14_events_on_both_sides_of_a_gap_are_served(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root, events=6)
    for number in (2, 3):
        write_event(path, number).unlink()
    async with open_store(root) as store:
        reason = "events 2 to 3 are missing: no file has this number"
        assert await logged(store, ONE) == (event_ids(0, 1, 4, 5), [(2, reason)])
        assert await store.count_events(ONE) == 4
