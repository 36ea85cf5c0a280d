"""Agents that agent-server reads, and some that it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import InvalidConversation
from app.model.agent_server.agents import Agent, Skill
from app.model.agent_server.base import dump, validate

AGENT: dict[str, Any] = {"kind": "Agent", "llm": {"model": "a"}}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"system_prompt": "a", "system_prompt_filename": "b.j2"}, "not both"),
        ({"condenser": {"kind": "LLMSummarizingCondenser", "llm": {"model": "a"}, "max_size": 4}}, "keep_first"),
        ({"agent_context": {"skills": [{"name": "a", "content": "b"}] * 2}}, "same name"),
        ({"critic": {"kind": "APIBasedCritic"}}, "api_key"),
        ({"tools": [{"name": " "}]}, "name"),
    ],
)
def test_agents_that_agent_server_refuses(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidConversation, match=said):
        validate(Agent, AGENT | wrong)


def test_a_skill_is_read_as_agent_server_reads_it() -> None:
    servers = {"mcpServers": {"m": {"command": "c", "unknown": 1}}}
    skill = {"name": "a", "content": "b", "allowed_tools": "x y", "metadata": {"n": 1}, "mcp_tools": servers}
    assert dump(validate(Skill, skill)) == {
        "name": "a", "content": "b", "allowed_tools": ["x", "y"], "metadata": {"n": "1"},
        "mcp_tools": {"m": {"command": "c"}},
    }  # fmt: skip
