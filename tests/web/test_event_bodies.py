"""The insides of folded blocks."""

from __future__ import annotations

from typing import Any

from app.web.event_bodies import make_body
from tests.web.test_event_blocks import answer, event

Json = dict[str, Any]


def test_an_acp_call_shows_the_diff_of_each_file() -> None:
    content = [
        {"type": "diff", "path": "a.py", "old_text": "a\n", "new_text": "b\n"},
        {"type": "diff", "path": "b.py", "oldText": "c\n", "newText": "d\n"},
    ]
    body = make_body(event(0, kind="ACPToolCallEvent", title="Edit two files", content=content), None)
    assert [(path, diff.added, diff.removed) for path, diff in body.diffs] == [("a.py", 1, 1), ("b.py", 1, 1)]


def test_the_screenshot_of_a_browser_is_an_image() -> None:
    action = event(0, kind="ActionEvent", tool_name="browser_navigate", thought=[], action={"url": "http://a/"})
    seen: Json = {"kind": "BrowserObservation", "content": [], "exit_code": None, "screenshot_data": "/9j/4AAQ"}
    assert make_body(action, answer(1, action, **seen)).images == ["data:image/jpeg;base64,/9j/4AAQ"]
