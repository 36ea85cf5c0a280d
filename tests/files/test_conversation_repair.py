"""Mending a conversation's files: a plan writes nothing, and a repair does what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import ConversationNotFound, ConversationOwned
from app.files import conversation_repair, lease, liveness, trash
from app.files.layout import META, SIDECAR, STATE
from app.files.metadata_reader import Reader
from app.model.ids import ConversationId
from tests.builders import details_in, make_conversation, make_event, make_id, make_state

ONE = ConversationId(make_id(1))
ME = "convstore-me"
LAST = make_event(1)["id"]

DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "state torn": (lambda path: (path / STATE).write_text('{"max_iterations": 7, "agent'), STATE),
    "state gone": (lambda path: (path / STATE).unlink(), STATE),
    "meta gone": (lambda path: (path / META).unlink(), META),
    "no such head": (lambda path: (path / STATE).write_text(json.dumps(make_state(ONE, leaf_event_id="none"))), STATE),
    "a leftover": (
        lambda path: (path / ".meta.json.0123456789abcdef.tmp").write_text("x"),
        ".meta.json.0123456789abcdef.tmp",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_repair_does_what_its_plan_says(root: Path, damage: str) -> None:
    path = make_conversation(root)
    damage_it, file = DAMAGES[damage]
    damage_it(path)
    before = details_in(path)
    reader = Reader(root, None)
    planned = conversation_repair.plan(reader, path.name, ONE)
    assert ([mend.file for mend in planned.mended], details_in(path)) == ([file], before)
    with liveness.stay_alive(root, ME):
        done = conversation_repair.repair(reader, path.name, ONE, ME, 1)
        assert lease.find_holder(root, path.name) is None
    assert [(mend.file, mend.what) for mend in done.mended] == [(mend.file, mend.what) for mend in planned.mended]
    assert [entry.name for entry in trash.list_trash(root)] == [done.copy]
    assert conversation_repair.plan(reader, path.name, ONE) == conversation_repair.Repair([], [])


BOM = b"\xef\xbb\xbf"
AROUND = {"a byte order mark": (BOM, b""), "NULs at the end": (b"", bytes(99)), "both": (BOM, bytes(3) + b"}")}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("file", [META, STATE, SIDECAR, f"events/event-00001-{LAST}.json"])
def test_what_is_whole_is_kept_to_the_byte(root: Path, file: str, around: str) -> None:
    path = make_conversation(root, state={"leaf_event_id": LAST, "unknown": 1.50, "execution_status": "running"})
    (path / SIDECAR).write_text('{"archived":true}')
    whole = (path / file).read_bytes()
    (path / file).write_bytes(AROUND[around][0] + whole + AROUND[around][1])
    with liveness.stay_alive(root, ME):
        done = conversation_repair.repair(Reader(root, None), path.name, ONE, ME, 1)
    assert ([mend.file for mend in done.mended], done.left, (path / file).read_bytes()) == ([file], [], whole)


def test_a_whole_state_gets_the_head_that_the_log_has(root: Path) -> None:
    path = make_conversation(root, state={"leaf_event_id": "none"})
    (path / STATE).write_bytes(BOM + (path / STATE).read_bytes())
    with liveness.stay_alive(root, ME):
        [mend] = conversation_repair.repair(Reader(root, None), path.name, ONE, ME, 1).mended
    assert "its JSON object is undamaged" in mend.what
    assert "HEAD was none" in mend.what
    assert json.loads((path / STATE).read_text())["leaf_event_id"] == LAST


def test_an_event_of_another_name_is_not_mended(root: Path) -> None:
    path = make_conversation(root)
    file = path / "events" / f"event-00001-{LAST}.json"
    file.write_bytes(BOM + json.dumps(make_event(7)).encode())
    planned = conversation_repair.plan(Reader(root, None), path.name, ONE)
    assert (planned.mended, len(planned.left)) == ([], 1)


@pytest.mark.parametrize(
    ("raw", "kept"), [(b'{"pinned": true, "archi', {"pinned": True}), (b"", None), (b"torn", None), (bytes(9), None)]
)
def test_of_a_torn_sidecar_the_flags_that_are_whole_are_kept(
    root: Path, raw: bytes, kept: dict[str, object] | None
) -> None:
    path = make_conversation(root)
    (path / SIDECAR).write_bytes(raw)
    with liveness.stay_alive(root, ME):
        done = conversation_repair.repair(Reader(root, None), path.name, ONE, ME, 1)
    assert ([mend.file for mend in done.mended], done.left) == ([SIDECAR], [])
    assert (json.loads((path / SIDECAR).read_text()) if (path / SIDECAR).exists() else None) == kept


def test_what_stood_whole_in_a_torn_state_is_kept(root: Path) -> None:
    path = make_conversation(root)
    (path / STATE).write_text('{"max_iterations": 7, "agent": {"kind": "Agent", "llm": {"model": "m"}}, "tags')
    with liveness.stay_alive(root, ME):
        conversation_repair.repair(Reader(root, None), path.name, ONE, ME, 1)
    state = json.loads((path / STATE).read_text())
    assert (state["max_iterations"], state["agent"]["llm"]["model"], state["leaf_event_id"]) == (7, "m", LAST)


def test_a_torn_event_has_no_safe_answer_and_is_told(root: Path) -> None:
    path = make_conversation(root)
    (path / "events" / f"event-00001-{LAST}.json").write_text("{")
    found = conversation_repair.plan(Reader(root, None), path.name, ONE)
    assert [left.split(":")[0] for left in found.left] == [f"events/event-00001-{LAST}.json"]


def test_one_that_another_owns_is_not_mended(root: Path) -> None:
    path = make_conversation(root)
    with liveness.stay_alive(root, "another"):
        lease.claim(root, path.name, "another")
        with pytest.raises(ConversationOwned, match="is owned by another"):
            conversation_repair.plan(Reader(root, None), path.name, ONE)


def test_what_holds_no_conversation_is_not_mended(root: Path) -> None:
    (root / ONE).mkdir()
    with pytest.raises(ConversationNotFound):
        conversation_repair.plan(Reader(root, None), ONE, ONE)
