"""Mending a conversation's files: a plan writes nothing, and a repair does what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import ConversationNotFound, ConversationOwned
from app.files import conversation_repair, lease, liveness, trash
from app.files.layout import META, STATE
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
