"""What was said in an event."""

from __future__ import annotations

from typing import Any

import pytest

from app.model.event import STATE_UPDATE
from app.model.text.event_text import PREVIEW_MAX, SAID_MAX, preview_text, searchable_text, searchable_title
from tests.builders import make_event, make_message_event

ACP_CALL = {
    "kind": "ACPToolCallEvent",
    "title": "Edit a.py",
    "tool_kind": "edit",
    "raw_input": {"path": "a.py", "api_key": "sk-planted"},
    "raw_output": ["done"],
    "content": [{"type": "diff", "oldText": "old line", "newText": "new line"}],
}
HOOK = {
    "kind": "HookExecutionEvent",
    "error": "failed",
    "hook_command": "check.sh",
    "stdout": "out",
    "reason": "no",
    "hook_input": {"command": "ls"},
}


@pytest.mark.parametrize(
    ("event", "said", "with_tools"),
    [
        (make_event(0), "message 0", "message 0"),
        ({"kind": "ActionEvent", "thought": "a", "action": {"kind": "X", "command": "ls"}}, "a", "a\nls"),
        ({"kind": "ActionEvent", "action": {"kind": "FinishAction", "message": "done"}}, "done", "done"),
        ({"kind": "ActionEvent", "action": {"kind": "ThinkAction", "thought": "hm"}}, "hm", "hm"),
        ({"kind": "ObservationEvent", "observation": {"content": "out"}}, "", "out"),
        (ACP_CALL, "", "Edit a.py\na.py\ndone\ndiff\nold line\nnew line"),
        (HOOK, "failed", "failed\ncheck.sh\nout\nno\nls"),
        ({"kind": STATE_UPDATE, "error": "e"}, "", ""),
        ({"kind": "X", "error": "e", "other": "o", "detail": ["d"]}, "e\nd", "e\nd"),
        ({}, "", ""),
    ],
)
def test_what_was_said_is_searched_and_tools_only_if_asked(event: dict[str, Any], said: str, with_tools: str) -> None:
    assert (searchable_text(event), searchable_text(event, tools=True)) == (said, with_tools)


def test_a_text_is_bounded_and_in_one_normal_form() -> None:
    assert searchable_text({"error": "e\u0301\0x"}) == "é x"
    assert len(searchable_text({"error": "a" * (SAID_MAX + 5)})) == SAID_MAX


def test_a_secret_in_a_title_is_not_searched() -> None:
    assert searchable_title("key gAAAAabcdefghijklmnopqrstuvwxyz at https://me:pw@host ") == (
        "key ********** at https://**********@host"
    )


@pytest.mark.parametrize(
    ("event", "preview"),
    [
        (make_event(0), "message 0"),
        (make_message_event(0, " Fix\n\tthe ", "", "build\0now"), "Fix the build now"),
        (make_message_event(0, "a", extended_content=[{"type": "text", "text": "a skill"}]), "a"),
        (make_message_event(0), ""),
        (make_message_event(0, "a", source="agent"), ""),
        (make_message_event(0, "a", kind="SystemPromptEvent"), ""),
        ({"kind": "MessageEvent", "source": "user", "llm_message": "a"}, ""),
        (make_message_event(0, "key gAAAAabcdefghijklmnopqrstuvwxyz"), "key **********"),
        ({}, ""),
    ],
)
def test_a_preview_is_the_users_text_on_one_line(event: dict[str, Any], preview: str) -> None:
    assert preview_text(event) == preview


def test_a_long_preview_is_cut_and_shows_no_part_of_a_secret() -> None:
    assert preview_text(make_message_event(0, "a" * PREVIEW_MAX)) == "a" * PREVIEW_MAX
    assert preview_text(make_message_event(0, "ab " * PREVIEW_MAX)) == ("ab " * PREVIEW_MAX)[: PREVIEW_MAX - 1] + "…"
    secret = "a" * (PREVIEW_MAX - 10) + " gAAAAabcdefghijklmnopqrstuvwxyz"
    assert "gAAAA" not in preview_text(make_message_event(0, secret))
