"""The outline of a conversation from its event rows."""

from __future__ import annotations

from pathlib import Path

from app.index.event_outline import BINS, Bin, Mark
from app.model.ids import ConversationId
from tests.builders import make_conversation, make_event, make_id, make_message_event
from tests.conftest import StoreOpener

ONE = ConversationId(make_id(1))
LOG = [
    make_event(0, kind="SystemPromptEvent", source="agent"),
    make_message_event(1, "Fix   the parser"),
    make_event(2, kind="ActionEvent", source="agent", tool_name="file_editor", action={"command": "create"}),
    make_event(3, kind="ObservationEvent", source="environment", tool_name="file_editor"),
    make_event(4, kind="AgentErrorEvent", source="agent", tool_name="terminal", error="no"),
    make_message_event(5, "It is done", source="agent"),
    make_event(6, kind="Condensation", source="environment", forgotten_event_ids=[]),
]


async def test_counts_turns_marks_and_bins(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, events=LOG)
    (directory / "events" / f"event-00007-{make_event(7)['id']}.json").write_text("torn {")
    async with open_store(root) as store:
        outline = await store.get_outline(ONE)
    assert (outline.total, outline.unreadable, outline.last_seq) == (8, 1, 7)
    assert ("MessageEvent", "user", None, 1) in outline.kinds
    assert sum(count for *_, count in outline.kinds) == 8
    assert [(turn.seq, turn.text) for turn in outline.turns] == [(1, "Fix   the parser")]
    ids = [event["id"] for event in LOG]
    assert outline.marks[:2] == [
        Mark(4, ids[4], "AgentErrorEvent", "terminal"),
        Mark(6, ids[6], "Condensation", None),
    ]
    assert outline.marks[2].seq == 7
    assert Bin(BINS // 8, 1, 0, 0, 0) in outline.bins
    assert Bin(2 * BINS // 8, 0, 1, 0, 0) in outline.bins
    assert sum(one.errors for one in outline.bins) == 2


async def test_an_empty_log_has_an_empty_outline(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, events=[])
    async with open_store(root) as store:
        outline = await store.get_outline(ONE)
    assert outline.as_json() == {
        "total": 0,
        "unreadable": 0,
        "last_seq": -1,
        "kinds": [],
        "turns": [],
        "marks": [],
        "bins": [],
    }
