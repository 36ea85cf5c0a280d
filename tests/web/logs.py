"""A log with an event of every kind that the page reads in its own way."""

from __future__ import annotations

import itertools
from random import Random
from typing import Any

from tests.bench.shapes import make_log
from tests.builders import make_event, make_message_event

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAA"
    "AfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def _texts(*texts: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text} for text in texts]


_COMMAND = make_event(
    2, kind="ActionEvent", source="agent", tool_name="terminal", thought=_texts("I look first."),
    action={"kind": "TerminalAction", "command": "pytest -q"}, reasoning_content="a thought",
)  # fmt: skip
_ANSWER = make_event(
    3, kind="ObservationEvent", source="environment", tool_name="terminal", action_id=_COMMAND["id"],
    observation={"kind": "TerminalObservation", "content": _texts("\x1b[32mok\x1b[0m"), "exit_code": 0},
)  # fmt: skip
_EDIT = make_event(
    4, kind="ActionEvent", source="agent", tool_name="file_editor", thought=[],
    action={"kind": "FileEditorAction", "command": "str_replace", "path": "/home/dev/project/a.py"},
)  # fmt: skip
_EDITED = make_event(
    5, kind="ObservationEvent", source="environment", tool_name="file_editor", action_id=_EDIT["id"],
    observation={
        "kind": "FileEditorObservation", "command": "str_replace", "path": "/home/dev/project/a.py", "content": [],
        "old_content": "def a():\n    return 1\n", "new_content": "def a():\n    return 2\n",
    },
)  # fmt: skip
_FAILED = make_event(
    6, kind="ActionEvent", source="agent", tool_name="terminal", thought=[],
    action={"kind": "TerminalAction", "command": "make check"},
)  # fmt: skip
_FAILURE = make_event(
    7, kind="ObservationEvent", source="environment", tool_name="terminal", action_id=_FAILED["id"],
    observation={"kind": "TerminalObservation", "content": _texts("no rule"), "exit_code": 2},
)  # fmt: skip

EVERY_KIND: list[dict[str, Any]] = [
    make_event(0, kind="SystemPromptEvent", source="agent", system_prompt=_texts("be careful")[0], tools=[]),
    make_event(
        1,
        llm_message={
            "role": "user",
            "content": [*_texts("Please **fix** it"), {"type": "image", "image_urls": [PIXEL]}],
        },
    ),
    _COMMAND, _ANSWER, _EDIT, _EDITED, _FAILED, _FAILURE,
    make_event(8, kind="AgentErrorEvent", source="agent", tool_name="browser", error="no such tool"),
    make_event(9, kind="UserRejectObservation", source="environment", tool_name="terminal",
               rejection_reason="not that"),
    make_event(
        10, kind="HookExecutionEvent", source="hook", hook_event_type="PreToolUse", hook_command="guard.sh",
        blocked=True, success=True, exit_code=2, reason="backups stay",
    ),
    make_event(
        11, kind="Condensation", source="environment", forgotten_event_ids=["a", "b"], summary="So far: *nothing*.",
        timestamp="2026-10-01T14:00:00",
    ),
    make_event(
        12, kind="ACPToolCallEvent", source="agent", title="Edit b.py", status="completed", tool_kind="edit",
        content=[{"type": "diff", "path": "b.py", "oldText": "x = 1\n", "newText": "x = 2\n"}],
        timestamp="2026-10-01T14:00:01",
    ),
    make_event(13, kind="PauseEvent", source="user", timestamp="2026-10-01T14:00:02"),
    make_event(
        14, kind="ConversationStateUpdateEvent", source="environment", key="execution_status", value="paused",
        timestamp="2026-10-01T14:00:03",
    ),
    make_message_event(15, "Go on.", timestamp="2026-10-01T14:00:04"),
    make_event(
        16, kind="ConversationErrorEvent", source="environment", code="RuntimeError", detail="model away",
        classification={"retryable": True}, timestamp="2026-10-01T14:00:05",
    ),
    make_event(17, kind="SomethingNew", source="agent", field=1, timestamp="2026-10-01T14:00:06"),
    make_event(
        18, kind="ActionEvent", source="agent", tool_name="finish", thought=[], timestamp="2026-10-01T14:00:07",
        action={"kind": "FinishAction", "message": "Done: `a.py` returns 2."},
    ),
]  # fmt: skip


def make_talkative_log() -> list[dict[str, Any]]:
    """Return a log with 1,000 turns and errors among many steps of tools."""
    random = Random(7)  # noqa: S311 - made-up data
    steps = itertools.cycle(make_log(random, 40)[2:-2])
    log: list[dict[str, Any]] = []
    for turn in range(500):
        log.append(make_message_event(len(log), f"turn {turn}: go on with the next part of it"))
        log += [{**next(steps), **{name: make_event(len(log) + n)[name] for name in ("id",)}} for n in range(4)]
        log.append(make_event(len(log), kind="AgentErrorEvent", source="agent", tool_name="terminal", error="no"))
    return log
