"""Agents built of settings; tests/conformance compares them with those that agent-server builds."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import InvalidConversation
from app.model.agent_server.agent_settings import build_agent

NOW = "2026-01-01T00:00:00Z"


def test_settings_make_an_agent_with_the_standard_tools() -> None:
    agent = build_agent({"llm": {"model": "a"}}, NOW)
    assert [tool["name"] for tool in agent["tools"]] == ["terminal", "file_editor", "task_tracker"]
    assert agent["include_default_tools"] == ["FinishTool", "ThinkTool", "SwitchLLMTool"]
    assert agent["condenser"] == {"llm": {"model": "a", "usage_id": "condenser"}, "kind": "LLMSummarizingCondenser"}
    assert (agent["agent_context"], agent["kind"]) == ({"current_datetime": NOW}, "Agent")


def test_acp_settings_make_an_agent_with_the_command_of_its_server() -> None:
    agent = build_agent({"agent_kind": "acp", "acp_server": "opencode", "acp_env": {"A": "secret"}}, NOW)
    assert (agent["kind"], agent["acp_server"], agent["acp_command"][-1]) == ("ACPAgent", "opencode", "acp")
    assert agent["llm"] == {"model": "acp-managed", "usage_id": "acp-managed"}
    assert "acp_env" not in agent


@pytest.mark.parametrize(
    "settings",
    [
        {"agent_kind": "acp", "llm": {"model": "a"}},
        {"agent_kind": "acp", "acp_server": "custom"},
        {"agent_kind": "other"},
        {"enable_sub_agents": True},
        {"schema_version": 10},
        {"llm": {"model": "a", "auth_type": "subscription"}},
    ],
)
def test_settings_of_no_agent_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidConversation):
        build_agent(settings, NOW)
