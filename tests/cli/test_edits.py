"""`convstore edits`."""

from __future__ import annotations

from pathlib import Path

from tests.builders import make_conversation, make_event
from tests.cli.conftest import Command


def test_edits_names_the_conversations_that_changed_a_file(root: Path, convstore: Command) -> None:
    diff = [{"type": "diff", "path": "/p/a.py", "oldText": "", "newText": "x"}]
    make_conversation(root, 1, events=[make_event(0, kind="ACPToolCallEvent", status="completed", content=diff)])
    ran = convstore("edits", "/p/a.py", "--store", root)
    assert ran.out.splitlines()[0].startswith("00000000  2026-10-01 12:00  event 0")
    assert ran.out.splitlines()[-1] == "1 change"
    assert convstore("edits", "/p/b.py", "--store", root).out == "0 changes\n"
    assert convstore("edits", "/p/a.py", "--store", root, "--json").json[0]["path"] == "/p/a.py"
