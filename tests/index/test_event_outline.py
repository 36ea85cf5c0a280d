"""The outline of a conversation from its event rows."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from app.index.event_outline import BINS, Bin, Mark
from app.model.ids import ConversationId
from tests.builders import BEGIN, make_conversation, make_event, make_id, make_message_event
from tests.conftest import StoreOpener

ONE = ConversationId(make_id(1))
EDITED = {"command": "create", "path": "a.py", "new_content": "a = 1"}
LOG = [
    make_event(0, kind="SystemPromptEvent", source="agent"),
    make_message_event(1, "Fix   the parser"),
    make_event(2, kind="ActionEvent", source="agent", tool_name="file_editor", action={"command": "create"}),
    make_event(3, kind="ObservationEvent", source="environment", tool_name="file_editor", observation=EDITED),
    make_event(4, kind="AgentErrorEvent", source="agent", tool_name="terminal", error="no"),
    make_message_event(5, "It is done", source="agent"),
    make_event(6, kind="Condensation", source="environment", forgotten_event_ids=[f"event-{n}" for n in range(88)]),
    *(
        make_event(
            7 + blocked, kind="HookExecutionEvent", source="hook", hook_event_type="PreToolUse", tool_name="terminal",
            hook_command="guard.sh", blocked=bool(blocked),
        )
        for blocked in (0, 1)
    ),
]  # fmt: skip


async def test_counts_turns_marks_and_bins(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, events=LOG)
    (directory / "events" / f"event-00009-{make_event(9)['id']}.json").write_text("torn {")
    async with open_store(root) as store:
        outline = await store.get_outline(ONE)
    assert (outline.total, outline.unreadable, outline.last_seq) == (10, 1, 9)
    assert ("MessageEvent", "user", None, 1) in outline.kinds
    assert sum(count for *_, count in outline.kinds) == 10
    assert [(turn.seq, turn.text) for turn in outline.turns] == [(1, "Fix   the parser")]
    ids = [event["id"] for event in LOG]
    assert outline.marks[:3] == [
        Mark(4, ids[4], "AgentErrorEvent", "terminal"),
        Mark(6, ids[6], "Condensation", None, 88),
        Mark(8, ids[8], "HookExecutionEvent", "terminal", 1),
    ]
    assert [line.text for line in outline.list_lines()][2:] == [
        "terminal: tool call failed", "Condensed 88 events", "Hook stopped terminal", "Unreadable",
    ]  # fmt: skip
    assert outline.marks[3].seq == 9
    assert Bin(BINS // 10, 1, 0, 0, 0, 1_000_000) in outline.bins
    assert Bin(2 * BINS // 10, 0, 1, 0, 0, 1_000_000) in outline.bins
    assert sum(one.errors for one in outline.bins) == 2
    assert outline.edits == 1


def make_step(seq: int, tool: str, second: float, **fields: Any) -> dict[str, Any]:
    """Return an action at a second of the log."""
    at = (BEGIN + timedelta(seconds=second)).replace(tzinfo=None).isoformat()
    return make_event(seq, kind="ActionEvent", source="agent", tool_name=tool, timestamp=at, **fields)


async def test_steps_are_counted_by_turn_and_take_the_time_until_the_next(root: Path, open_store: StoreOpener) -> None:
    late = (BEGIN + timedelta(hours=5)).replace(tzinfo=None).isoformat()
    log = [
        make_step(0, "terminal", 0),
        make_message_event(1, "Fix it", timestamp=make_step(0, "", 1)["timestamp"]),
        make_step(2, "terminal", 2),
        make_step(3, "browser", 4),
        make_step(4, "file_editor", 3604, action={"command": "create"}),
        make_event(
            5,
            kind="ObservationEvent",
            source="environment",
            observation=EDITED,
            timestamp=make_step(0, "", 3605)["timestamp"],
        ),
        make_step(6, "finish", 3606),
        make_message_event(7, "Thanks", timestamp=late),
    ]
    make_conversation(root, events=log)
    async with open_store(root) as store:
        outline = await store.get_outline(ONE)
    assert [(turn.edits, turn.commands, turn.others) for turn in outline.turns] == [(1, 1, 1), (0, 0, 0)]
    seconds = {one.number * 8 // BINS: one.took_us / 1_000_000 for one in outline.bins}
    assert seconds == {0: 0, 1: 1, 2: 2, 3: 3600, 4: 1, 5: 1, 6: 0, 7: 0}


async def test_a_rest_is_no_step(root: Path, open_store: StoreOpener) -> None:
    log = [make_message_event(0, "Wait"), make_event(1, kind="PauseEvent", timestamp="2026-10-03T00:00:00")]
    make_conversation(root, events=[*log, make_event(2, kind="X", timestamp="2026-10-03T00:00:01")])
    async with open_store(root) as store:
        outline = await store.get_outline(ONE)
    assert [one.took_us for one in outline.bins] == [0, 1_000_000, 0]


async def test_an_empty_log_has_an_empty_outline(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, events=[])
    async with open_store(root) as store:
        outline = await store.get_outline(ONE)
    assert outline.as_json() == {
        "total": 0,
        "unreadable": 0,
        "edits": 0,
        "last_seq": -1,
        "kinds": [],
        "turns": [],
        "marks": [],
        "bins": [],
    }
