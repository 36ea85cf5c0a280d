"""Which conversations changed a file, over HTTP."""

from __future__ import annotations

from pathlib import Path

from app import Settings
from tests.builders import make_conversation, make_event, make_id
from tests.conftest import serving


async def test_the_changes_of_a_file_come_latest_first(root: Path) -> None:
    edit = {"command": "create", "path": "/p/a.py", "old_content": None, "new_content": "x"}
    view = edit | {"command": "view"}
    failed = edit | {"is_error": True}
    for number, seen in ((1, [edit, view]), (2, [failed]), (3, [view, edit])):
        events = [
            make_event(seq, kind="ObservationEvent", source="environment", observation=one)
            for seq, one in enumerate(seen)
        ]
        make_conversation(root, number, events=events)
    async with serving(Settings(store=root)) as client:
        found = (await client.get("/api/edits", params={"path": "/p/a.py"})).json()
        assert [(one["conversation_id"][-1], one["seq"]) for one in found["items"]] == [("3", 1), ("1", 0)]
        assert found["items"][0]["link"] == f"/c/{make_id(3)}#e1"
        assert (await client.get("/api/edits?path=/p/a.py&limit=1")).json()["more"]
        html = (await client.get("/ui/edits?path=/p/a.py")).text
        assert f'href="/c/{make_id(1)}#e0"' in html
