"""An agent of the real openhands-sdk 1.58 finds in convstore what an earlier conversation decided."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.mcp.tools import TOOLS
from tests.api.clients import KEY
from tests.builders import make_conversation, make_message_event
from tests.cli.conftest import COMMAND
from tests.cli.test_serve import served, wait_until_in_step

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(400),
    pytest.mark.skipif("OPENHANDS_PYTHON" not in os.environ, reason="no Python with openhands-sdk was given"),
]

_AGENT = Path(__file__).with_name("mcp_agent.py")
DECISION = "Decision: we indent with tabs, because the linter wants it."


@contextmanager
def offered(transport: str, root: Path) -> Iterator[dict[str, Any]]:
    """Yield the MCP server of a store as the agent's configuration names it."""
    if transport == "stdio":
        yield {"command": str(COMMAND), "args": ["mcp", str(root)]}
        return
    with served(root, "--workers", "2", CONVSTORE_API_KEY=KEY) as server:
        wait_until_in_step(server.url, KEY)
        yield {"url": f"{server.url}/mcp", "headers": {"X-Session-API-Key": KEY}}


@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_it_finds_what_an_earlier_conversation_decided(transport: str, root: Path, tmp_path: Path) -> None:
    said = [make_message_event(0, "Which indentation?"), make_message_event(1, f"About indentation.\n{DECISION}")]
    make_conversation(root, 1, events=said)
    subprocess.run([COMMAND, "index", "sync", "--store", root], check=True, capture_output=True, timeout=100)
    with offered(transport, root) as server:
        done = subprocess.run(
            [os.environ["OPENHANDS_PYTHON"], _AGENT],
            input=json.dumps({"server": server, "workspace": str(tmp_path)}),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["answer"] == DECISION
    assert {*TOOLS} <= {*found["tools"]}
