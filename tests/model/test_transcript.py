"""Events as a person reads them."""

from __future__ import annotations

from typing import Any

import pytest

from app.model.event import STATE_UPDATE
from app.model.transcript import event_text, heading, problem_text, texts, who
from tests.builders import make_event, make_id, make_state


@pytest.mark.parametrize(
    ("event", "speaker", "said"),
    [
        (make_event(0), "user", ["message 0"]),
        (
            {
                "kind": "ActionEvent",
                "source": "agent",
                "tool_name": "t",
                "action": {"kind": "X", "command": "ls", "n": 1},
            },
            "agent uses t",
            ["command: ls", "n: 1"],
        ),
        (
            {"kind": "ObservationEvent", "tool_name": "t", "observation": {"is_error": True, "exit_code": 2}},
            "t answers",
            ["(error)", "(exit code 2)"],
        ),
        (
            {"kind": "SystemPromptEvent", "source": "agent", "tools": [1]},
            "agent SystemPromptEvent",
            ["system prompt, 1 tools"],
        ),
        ({"kind": STATE_UPDATE, "key": "stats"}, f"? {STATE_UPDATE}", ["key: stats"]),
        ({"kind": "X", "source": "hook", "error": "e"}, "hook X", ["e"]),
        ({}, "? ?", []),
    ],
)
def test_who_speaks_and_what(event: dict[str, Any], speaker: str, said: list[str]) -> None:
    assert (who(event), list(texts(event))) == (speaker, said)


def test_a_fence_is_longer_than_those_in_it_and_long_texts_are_cut() -> None:
    event = {"kind": "X", "error": "````\n" + "line\n" * 300}
    text = "".join(event_text(event))
    assert "`````\n````\nline" in text
    assert "… 101 more lines" in text


def test_what_would_be_syntax_is_escaped() -> None:
    lines = "".join(heading(make_id(1), {"title": "# <b>*x*"}, make_state(make_id(1))))
    assert lines.startswith("# \\# \\<b\\>\\*x\\*\n\n- id: ")
    assert problem_text("a_b", "torn") == "\n> a\\_b is left out: torn\n"
