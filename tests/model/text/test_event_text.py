"""What was said in an event."""

from __future__ import annotations

from typing import Any

import pytest

from app.model.event import STATE_UPDATE
from app.model.text.event_text import (
    ERROR_MAX,
    INPUT_MAX,
    PREVIEW_MAX,
    SAID_MAX,
    preview_text,
    searchable_text,
    searchable_title,
    tool_text,
)
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


FAILED = {"kind": "TerminalObservation", "content": [{"type": "text", "text": "AssertionError"}], "exit_code": 1}
EDIT = {"kind": "FileEditorAction", "command": "create", "path": "a.py", "file_text": "import os"}
PATCH = {"kind": "ApplyPatchAction", "patch": "*** Begin Patch\n*** Update File: b.py\n-old\n+new"}
MCP = {"kind": "MCPToolAction", "data": {"query": "flights", "rows": "9"}}


@pytest.mark.parametrize(
    ("event", "said", "in_short", "whole"),
    [
        (make_event(0), "message 0", "", ""),
        ({"kind": "ActionEvent", "thought": "a", "action": {"kind": "X", "command": "ls"}}, "a", "ls", "ls"),
        ({"kind": "ActionEvent", "action": EDIT}, "", "a.py", "create\na.py\nimport os"),
        ({"kind": "ActionEvent", "action": PATCH}, "", "b.py", PATCH["patch"]),
        ({"kind": "ActionEvent", "action": MCP}, "", "flights", "flights\n9"),
        ({"kind": "ActionEvent", "action": {"kind": "FinishAction", "message": "done"}}, "done", "", ""),
        ({"kind": "ActionEvent", "action": {"kind": "ThinkAction", "thought": "hm"}}, "hm", "", ""),
        ({"kind": "ObservationEvent", "observation": {"content": "out"}}, "", "", "out"),
        ({"kind": "ObservationEvent", "observation": {"content": "no", "is_error": True}}, "", "no", "no"),
        ({"kind": "ObservationEvent", "observation": FAILED}, "", "AssertionError", "AssertionError"),
        (ACP_CALL, "", "Edit a.py\na.py", "Edit a.py\na.py\ndone\ndiff\nold line\nnew line"),
        (
            ACP_CALL | {"status": "failed"},
            "",
            "Edit a.py\na.py\ndone",
            "Edit a.py\na.py\ndone\ndiff\nold line\nnew line",
        ),
        (HOOK, "failed", "check.sh", "check.sh\nout\nno\nls"),
        (HOOK | {"blocked": True}, "failed", "check.sh\nno", "check.sh\nout\nno\nls"),
        ({"kind": STATE_UPDATE, "error": "e"}, "", "", ""),
        ({"kind": "X", "error": "e", "other": "o", "detail": ["d"]}, "e\nd", "", ""),
        ({}, "", "", ""),
    ],
)
def test_what_was_said_and_what_tools_did_are_texts_of_their_own(
    event: dict[str, Any], said: str, in_short: str, whole: str
) -> None:
    assert (searchable_text(event), tool_text(event), tool_text(event, outputs=True)) == (said, in_short, whole)


def test_of_a_tool_a_long_command_and_the_end_of_a_long_error_are_kept() -> None:
    command, output = "echo " + "a" * 5000, "a" * 5000 + " the end"
    action = {"kind": "TerminalAction", "command": command}
    assert tool_text({"kind": "ActionEvent", "action": action}) == command[:INPUT_MAX]
    failed = {"content": output, "exit_code": 2}
    assert tool_text({"kind": "ObservationEvent", "observation": failed}) == output[-ERROR_MAX:]


def test_an_acp_call_that_failed_has_its_command_once_and_its_error() -> None:
    shown = [{"type": "content", "content": {"type": "text", "text": "1 failed"}}]
    call = {"kind": "ACPToolCallEvent", "title": "pytest", "raw_input": {"command": "pytest"}, "content": shown}
    assert tool_text(call) == "pytest"
    assert tool_text(call | {"status": "failed"}) == "pytest\n1 failed"


def test_no_secret_of_a_tool_is_searched() -> None:
    action = {"kind": "X", "command": "curl https://me:planted@host", "query": {"api_key": "planted"}}
    assert "planted" not in tool_text({"kind": "ActionEvent", "action": action})
    assert tool_text(ACP_CALL | {"raw_input": {"query": {"api_key": "planted"}}}) == "Edit a.py"


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
