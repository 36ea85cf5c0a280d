"""What `repair` makes of missing and torn files is what the real agent-server 1.58 lists, opens and serves."""

from __future__ import annotations

from pathlib import Path

from app.model.ids import ConversationId, dashed
from tests.builders import names_in
from tests.conformance.agent_server import agent_server, needs_agent_server
from tests.conftest import StoreOpener


def _harm(directory: Path, number: int) -> None:
    """Do one of eight things to a conversation's files."""
    state, meta = directory / "base_state.json", directory / "meta.json"
    match number % 8:
        case 0:
            state.unlink()
        case 1:
            state.write_bytes(state.read_bytes()[: state.stat().st_size * 2 // 3])
        case 2:
            state.write_bytes(bytes(state.stat().st_size))
        case 3:
            meta.unlink()
        case 4:
            meta.write_bytes(meta.read_bytes()[: meta.stat().st_size // 2])
        case 5:
            state.write_bytes(b"")
            meta.write_bytes(b"")
        case 6:
            state.write_bytes(b"\xef\xbb\xbf" + state.read_bytes())
            meta.write_bytes(b"\xef\xbb\xbf" + meta.read_bytes())
        case 7:
            meta.write_bytes(meta.read_bytes() + bytes(40))
            last = max(directory.glob("events/event-*"))
            last.write_bytes(last.read_bytes() + bytes(40))


@needs_agent_server
async def test_agent_server_opens_what_was_repaired(corpus: Path, open_store: StoreOpener) -> None:
    harmed = sorted(meta.parent for meta in corpus.glob("*/meta.json"))[:12]
    logs = {path.name: [name[12:48] for name in names_in(path / "events") if name.endswith(".json")] for path in harmed}
    for number, directory in enumerate(harmed):
        _harm(directory, number)
    async with open_store(corpus) as store:
        for directory in harmed:
            assert (await store.repair(ConversationId(directory.name))).left == []
        assert (await store.get_status())[1].unreadable == 0
    with agent_server(corpus) as server:
        listed = server.client.get("/api/conversations/search?limit=100").json()["items"]
        assert {info["id"] for info in listed} >= {dashed(ConversationId(name)) for name in logs}
        for name, log in logs.items():
            path = f"/api/conversations/{dashed(ConversationId(name))}"
            assert server.client.get(path).status_code == 200
            served = [event["id"] for event in server.client.get(f"{path}/events/search").json()["items"]]
            assert served[: len(log)] == log  # it adds one of its own when it opens one
