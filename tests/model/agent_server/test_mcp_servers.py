"""MCP servers that agent-server refuses."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import InvalidConversation
from app.model.agent_server.base import validate
from app.model.agent_server.mcp_servers import MCPServer


@pytest.mark.parametrize(
    "wrong",
    [
        {"transport": "stdio", "url": "http://a"},
        {"transport": "sse", "command": "a"},
        {"url": "http://a", "headers": {"Authorization": "b"}, "auth": {"strategy": "none"}},
        {"unknown": 1},
    ],
)
def test_mcp_servers_that_agent_server_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidConversation):
        validate(MCPServer, wrong)
