"""What needs an agent is answered 501."""

from __future__ import annotations

from pathlib import Path

from app import Settings
from tests.builders import make_conversation, make_id
from tests.conftest import serving


async def test_what_needs_an_agent_is_501(root: Path) -> None:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        for name in ("run", "pause", "secrets", "goal/stop", "switch_llm", "events/respond_to_confirmation"):
            answer = await client.post(f"/api/conversations/{make_id(1)}/{name}", json={})
            assert (answer.status_code, answer.json()["code"]) == (501, "needs_agent")
