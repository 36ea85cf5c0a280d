"""Requests to create a conversation, read as agent-server reads them."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import InvalidConversation
from app.model.agent_server.conversation_request import read_request

NOW = "2026-01-01T00:00:00Z"
REQUEST: dict[str, Any] = {"agent": {"llm": {"model": "a"}}, "workspace": {"working_dir": "/a"}}
TOOL = {"name": "mine", "description": "d", "parameters": {"type": "object"}}


def test_values_are_stored_with_the_types_that_agent_server_reads() -> None:
    read = read_request(REQUEST | {"stuck_detection": "yes", "max_iterations": "5", "agent_settings": None}, NOW)
    assert (read["stuck_detection"], read["max_iterations"], read["agent"]["kind"]) == (True, 5, "Agent")


def test_a_request_adds_a_suffix_skills_and_its_tools_to_the_agent() -> None:
    skills = [{"name": "s", "content": "c"}]
    additions = {"agent_launch_additions": {"system_message_suffix_append": " x ", "skills": skills}}
    agent = read_request(REQUEST | additions | {"client_tools": [TOOL]}, NOW)["agent"]
    assert agent["agent_context"] == {"current_datetime": None, "system_message_suffix": "x", "skills": skills}
    assert agent["tools"] == [{"name": "mine", "params": {"spec": TOOL}}]


def test_moments_of_hooks_may_be_spelled_as_other_programs_do() -> None:
    hooks = {"hooks": {"PreToolUse": [{"hooks": [{"command": "a", "async": True}]}]}}
    read = read_request(REQUEST | {"hook_config": hooks}, NOW)
    assert read["hook_config"] == {"pre_tool_use": [{"hooks": [{"command": "a", "async": True}]}]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_tools": [TOOL, TOOL]},
        {"client_tools": [TOOL | {"name": "terminal"}]},
        {"hook_config": {"stop": [], "Stop": []}},
        {"hook_config": {"stop": [{"hooks": [{"type": "prompt", "command": "a"}]}]}},
        {"worktree_options": {"base": "ref"}},
        {"observability_metadata": {"a": [1, 1.5]}},
        {"plugins": [{"source": "a", "repo_path": "../b"}]},
        {"secrets": {"A": {"kind": "LookupSecret", "url": "http://["}}},
        {"security_analyzer": {"kind": "GraySwanAnalyzer", "low_threshold": 0.9}},
        {"confirmation_policy": {"kind": "ConfirmRisky", "threshold": "UNKNOWN"}},
    ],
)
def test_requests_that_agent_server_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidConversation):
        read_request(REQUEST | wrong, NOW)
