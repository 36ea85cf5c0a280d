"""A trajectory that a real agent-server 1.58 zipped for download is imported by every byte that is not a lock."""

from __future__ import annotations

from pathlib import Path

from app.model.archive_format import FOREIGN_ARCHIVE
from app.model.ids import ConversationId
from app.store.admin.archive_import import Action, import_conversations
from tests.builders import make_conversation, make_id
from tests.conformance.agent_server import agent_server, needs_agent_server
from tests.conftest import StoreOpener
from tests.store.admin.importing import snapshot


@needs_agent_server
async def test_a_download_is_imported(root: Path, tmp_path: Path, open_store: StoreOpener) -> None:
    theirs = tmp_path / "theirs"
    state = {"agent": {"kind": "Agent", "llm": {"model": "openai/none", "usage_id": "agent"}, "tools": []}}
    path = make_conversation(theirs, 1, state=state, events=5)
    (path / "observations").mkdir()
    (path / "observations" / "long.txt").write_text("output " * 1000)
    (path / "acp").mkdir()
    (path / "acp" / "credentials.json").write_text("{}")
    with agent_server(theirs) as server:
        answer = server.client.get(f"/api/file/download-trajectory/{make_id(1)}")
        assert answer.status_code == 200
        downloaded = snapshot(theirs)
    archive = tmp_path / "download.zip"
    archive.write_bytes(answer.content)
    async with open_store(root) as store:
        [planned] = await import_conversations(store, [archive], FOREIGN_ARCHIVE)
        assert (planned.action, planned.left_out) == (Action.IMPORT, [])
        assert await store.count_events(ConversationId(make_id(1))) == 5
        assert [one.action for one in await import_conversations(store, [archive], FOREIGN_ARCHIVE)] == [
            Action.UNCHANGED
        ]
    others = {"owner_lease.json", "credentials.json", ".owner_lease.last", f"{make_id(1)}.zip"}  # the download itself
    expected = {
        name: raw for name, raw in downloaded.items() if Path(name).name not in others and ".marker" not in name
    }
    ours = {name: raw for name, raw in snapshot(root).items() if ".marker" not in name}
    assert ours.keys() == expected.keys()
    assert {name for name in ours if ours[name] != expected[name]} <= {f"{make_id(1)}/base_state.json"}
