"""What the models of agent-server's requests share."""

from __future__ import annotations

import pytest

from app.errors import InvalidConversation
from app.model.agent_server.agents import LLM, Tool
from app.model.agent_server.base import dump, validate


def test_a_wrong_value_is_told_with_its_place() -> None:
    with pytest.raises(InvalidConversation, match=r"llm.top_p: Input should be less than or equal to 1") as raised:
        validate(LLM, {"model": "a", "top_p": 2}, ("llm",))
    assert [one["loc"] for one in raised.value.problems] == [["llm", "top_p"]]


def test_what_was_sent_is_kept_and_no_default_is_added() -> None:
    assert dump(validate(LLM, {"model": "a", "temperature": "0.5", "unknown": [1]})) == {
        "model": "a", "temperature": 0.5, "unknown": [1],
    }  # fmt: skip


def test_null_parameters_of_a_tool_are_none() -> None:
    assert dump(validate(Tool, {"name": "a", "params": None})) == {"name": "a", "params": {}}
