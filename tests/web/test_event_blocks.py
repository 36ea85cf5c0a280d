"""Events as blocks of the page."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.web.event_blocks import PAIR_DISTANCE, Block, make_blocks
from app.web.event_bodies import Event, make_body
from tests.builders import make_event, make_message_event

Json = dict[str, Any]


def event(number: int, **fields: Any) -> Event:
    return Event(number, make_event(number, **fields))


def terminal(number: int, command: str = "ls") -> Event:
    action = {"kind": "TerminalAction", "command": command}
    return event(number, kind="ActionEvent", source="agent", tool_name="terminal", action=action, thought=[])


def answer(number: int, to: Event, **observation: Any) -> Event:
    seen = {"kind": "TerminalObservation", "content": [{"type": "text", "text": "a.py"}], "exit_code": 0} | observation
    return event(
        number, kind="ObservationEvent", source="environment", tool_name="terminal", observation=seen, action_id=to.id
    )


def one(*events: Event) -> Block:
    [block] = make_blocks(events)
    return block


def test_an_action_and_its_observation_are_one_folded_line() -> None:
    action = terminal(0, "ls  -la")
    block = one(action, answer(2, action))
    assert (block.shape, block.group, block.tool, block.what, block.open) == (
        "step",
        "tools",
        "terminal",
        "ls -la",
        False,
    )
    assert block.result == '<span class="ok">exit 0</span> · 2.0 s'


def test_a_command_that_failed_is_open_and_an_error() -> None:
    action = terminal(0)
    block = one(action, answer(1, action, exit_code=1))
    assert (block.group, block.bad, block.open) == ("errors", True, True)
    assert block.body is not None
    assert block.body.output == "a.py"


def test_an_action_without_an_answer_yet_has_no_result() -> None:
    block = one(terminal(0))
    assert (block.result, block.waits) == ("", True)


@pytest.mark.parametrize(
    ("after", "waiting"),
    [
        ({"kind": "ActionEvent", "tool_name": "think", "llm_response_id": "a"}, [0, 1]),
        ({"kind": "ActionEvent", "tool_name": "think", "llm_response_id": "b"}, [1]),
        ({"kind": "UserRejectObservation", "action_id": make_event(0)["id"]}, []),
        ({"kind": "AgentErrorEvent", "tool_call_id": "call"}, []),
        ({"kind": "ConversationStateUpdateEvent"}, [0]),
        ({"kind": "MessageEvent"}, []),
    ],
)
def test_only_an_action_of_the_last_step_waits(after: Json, waiting: list[int]) -> None:
    action = terminal(0)
    action.value |= {"llm_response_id": "a", "tool_call_id": "call"}
    blocks = make_blocks([action, event(1, source="agent", **after)])
    assert [block.event.seq for block in blocks if block.waits] == waiting


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("....F..\n\x1b[31m=== \x1b[1m1 failed\x1b[0m, 6 passed, 2 warnings in 11.87s ===\x1b[0m\n", "1 of 7 failed"),
        ("1,204 lines\n12 passed in 0.10s", "12 passed"),
        ("1 passed, 1 error in 2s", "1 of 2 failed"),
        ("Tests:       2 failed, 5 passed, 7 total\nTime: 3 s", "2 of 7 failed"),
        ("test result: ok. 40 passed; 0 failed; 1 ignored", "40 passed"),
        ("no tests ran in 0.01s", ""),
        ("I passed 3 passed tests", ""),
        ("", ""),
    ],
)
def test_a_command_that_runs_tests_says_how_many_failed(output: str, words: str) -> None:
    action = terminal(0, "make test")
    block = one(action, answer(1, action, content=[{"type": "text", "text": output}]))
    assert block.result == '<span class="ok">exit 0</span> · ' + (f"{words} · " if words else "") + "1.0 s"


def test_an_answer_is_shown_with_its_action_over_the_end_of_a_section() -> None:
    action = terminal(99)
    late = answer(100, action)
    [block] = make_blocks([action], later=[late])
    assert block.observation is late
    assert make_blocks([late], earlier=[action]) == []


def test_an_answer_far_from_its_action_is_a_line_of_its_own() -> None:
    action = terminal(0)
    late = answer(PAIR_DISTANCE + 1, action)
    assert [block.event.seq for block in make_blocks([action, late])] == [0, PAIR_DISTANCE + 1]


def test_messages_are_markdown_without_html() -> None:
    block = one(Event(0, make_message_event(0, "**bold** <img src=x onerror=alert(1)> [a](javascript:x)")))
    assert block.shape == "message"
    assert "<strong>bold</strong>" in block.html
    assert "<img" not in block.html
    assert "&lt;img src=x" in block.html
    assert "javascript:x" not in block.html.split("href")[-1] or "href" not in block.html


def test_an_edit_is_a_diff_with_numbers() -> None:
    action = event(
        0, kind="ActionEvent", tool_name="file_editor", thought=[],
        action={"kind": "FileEditorAction", "command": "str_replace", "path": "/p/a.py"},
    )  # fmt: skip
    seen: Json = {"kind": "FileEditorObservation", "command": "str_replace", "path": "/p/a.py", "exit_code": None}
    seen |= {"old_content": "a\nb\nc\n", "new_content": "a\nB\nc\n", "content": []}
    block = one(action, answer(1, action, **seen))
    assert (block.group, block.tool, block.what) == ("edits", "edit", "/p/a.py")
    assert block.result.startswith('<span class="plus">+1</span> <span class="minus">')
    assert block.observation is not None
    body = make_body(block.event, block.observation)
    [(path, diff)] = body.diffs
    assert path == "/p/a.py"
    assert [(line.sign, line.old, line.new) for line in diff.lines if line.sign in "+-"] == [
        ("-", 2, None),
        ("+", None, 2),
    ]


def test_a_patch_is_a_diff_of_each_file() -> None:
    patch = "*** Begin Patch\n*** Update File: a.py\n-1\n+2\n*** Add File: b.py\n+3\n*** End Patch"
    action = event(
        0, kind="ActionEvent", tool_name="apply_patch", action={"kind": "ApplyPatchAction", "patch": patch}, thought=[]
    )
    changes = {
        "a.py": {"type": "update", "old_content": "1\n", "new_content": "2\n", "move_path": None},
        "b.py": {"type": "add", "old_content": None, "new_content": "3\n", "move_path": None},
    }
    seen: Json = {"kind": "ApplyPatchObservation", "content": [], "exit_code": None, "commit": {"changes": changes}}
    block = one(action, answer(1, action, **seen))
    assert (block.group, block.tool, block.what) == ("edits", "edit", "a.py, b.py")
    assert block.result.startswith('<span class="plus">+2</span> <span class="minus">\N{MINUS SIGN}1</span>')
    body = make_body(block.event, block.observation)
    assert [(path, [line.sign for line in diff.lines if line.sign in "+-"]) for path, diff in body.diffs] == [
        ("a.py", ["-", "+"]),
        ("b.py", ["+"]),
    ]


def test_a_list_of_tasks_and_a_thought_are_read_as_such() -> None:
    tasks = [{"title": "Write it", "status": "done", "notes": ""}, {"title": "Test it", "status": "in_progress"}]
    action = event(0, kind="ActionEvent", tool_name="task_tracker", thought=[], action={"task_list": tasks})
    block = one(action, answer(1, action, kind="TaskTrackerObservation", exit_code=None))
    assert (block.what, block.result) == ("1 of 2 done", "1.0 s")
    assert make_body(action, None).tasks == [("done", "Write it"), ("in_progress", "Test it")]
    thought = {"kind": "ThinkAction", "thought": "**Why**?"}
    thinking = event(0, kind="ActionEvent", tool_name="think", thought=[], action=thought)
    assert "<strong>Why</strong>" in make_body(thinking, None).html


@pytest.mark.parametrize(
    ("fields", "shape", "group", "words"),
    [
        ({"kind": "AgentErrorEvent", "error": "no such tool"}, "note", "errors", "no such tool"),
        ({"kind": "ConversationErrorEvent", "detail": "model away"}, "note", "errors", "model away"),
        ({"kind": "UserRejectObservation", "rejection_reason": "not that"}, "note", "errors", "not that"),
        ({"kind": "HookExecutionEvent", "blocked": True, "reason": "kept"}, "note", "errors", "kept"),
        ({"kind": "HookExecutionEvent", "blocked": False, "hook_command": "lint"}, "dim", "state", "lint"),
        ({"kind": "Condensation", "forgotten_event_ids": ["a", "b"]}, "rule", "messages", "2 events left"),
        ({"kind": "CondensationSummaryEvent", "summary": "so far"}, "rule", "messages", "so far"),
        ({"kind": "PauseEvent"}, "rule", "state", "Paused"),
        ({"kind": "InterruptEvent"}, "rule", "state", "Interrupted"),
        ({"kind": "SystemPromptEvent", "tools": [1, 2]}, "dim", "state", "2 tools"),
        ({"kind": "ConversationStateUpdateEvent", "key": "stats", "value": {}}, "dim", "state", "stats"),
        ({"kind": "ACPToolCallEvent", "title": "Edit a.py", "status": "completed"}, "step", "tools", "Edit a.py"),
        ({"kind": "ACPToolCallEvent", "title": "Run", "status": "failed"}, "step", "errors", "Run"),
        ({"kind": "SomethingNew", "field": 1}, "dim", "other", "SomethingNew"),
        ({"kind": None}, "dim", "other", "without a kind"),
    ],
)
def test_every_kind_has_a_shape(fields: Json, shape: str, group: str, words: str) -> None:
    block = one(event(0, source="environment", **fields))
    assert (block.shape, block.group) == (shape, group)
    assert words in f"{block.note} {block.html} {block.what} {block.tool}"


def test_a_long_pause_and_another_day_are_said() -> None:
    first = Event(0, make_event(0, timestamp="2026-10-01T23:50:00"))
    blocks = make_blocks([first, Event(1, make_event(1, timestamp="2026-10-02T00:10:00"))])
    assert (blocks[1].gap, blocks[1].day) == ("20 min later", "02 October 2026")


def test_a_pause_before_the_first_event_of_a_section_is_said() -> None:
    before = Event(49, make_event(49, timestamp="2026-10-01T12:00:00"))
    [block] = make_blocks([Event(50, make_event(50, timestamp="2026-10-01T14:14:00"))], [before])
    assert block.gap == "2 h 14 min later"


def test_the_time_that_a_tool_ran_is_no_pause() -> None:
    action = event(
        0, kind="ActionEvent", tool_name="terminal", thought=[], action={"kind": "TerminalAction", "command": "make"}
    )
    seen = answer(1, action, kind="TerminalObservation", exit_code=0)
    seen.value["timestamp"] = "2026-10-01T12:30:00"
    after = event(2, timestamp="2026-10-01T12:30:05")
    blocks = make_blocks([action, seen, after])
    assert [block.gap for block in blocks] == ["", ""]
    assert "30 min" in blocks[0].result


KINDS = st.sampled_from(
    ["MessageEvent", "ActionEvent", "ObservationEvent", "ACPToolCallEvent", "HookExecutionEvent", "Condensation",
     "UserRejectObservation", "AgentErrorEvent", "ConversationErrorEvent", "SystemPromptEvent", "PauseEvent", "X"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["timestamp", "source", "action", "observation", "thought", "llm_message", "tool_name", "content", "error",
     "forgotten_event_ids", "summary", "action_id", "tools", "value", "key", "title", "raw_input", "id"]
)  # fmt: skip


@pytest.mark.long
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(KINDS, st.dictionaries(NAMES, VALUES, max_size=6)), max_size=8))
def test_any_events_give_blocks_and_each_is_shown_once(given_events: list[tuple[str, Json]]) -> None:
    events = [Event(seq, fields | {"kind": kind}) for seq, (kind, fields) in enumerate(given_events)]
    blocks = make_blocks(events)
    shown = [block.event.seq for block in blocks] + [block.observation.seq for block in blocks if block.observation]
    assert sorted(set(shown)) == list(range(len(events)))
    for block in blocks:
        make_body(block.event, block.observation)
