"""ConversationInfo from the two files, and fields of a shape that clients do not read."""

from __future__ import annotations

from typing import Any

import pytest

from app.model.ids import dashed
from app.model.info import STUB_AGENT, compose_info, is_agent, list_misshapen, related_id
from app.model.secrets import MASK
from tests.builders import make_id, make_meta, make_state

ONE, TWO = make_id(1), make_id(2)


def test_state_and_meta_make_one_answer_without_secrets() -> None:
    state = make_state(ONE, agent={"kind": "Agent", "llm": {"model": "m", "api_key": "planted"}}, tags={"a": "b"})
    info = compose_info(state, make_meta(ONE, parent_conversation_id=TWO, metrics={"n": 1}), include_skills=True)
    assert info["agent"]["llm"] == {"model": "m", "api_key": "**********"}
    assert (info["tags"], info["metrics"], info["parent_conversation_id"]) == ({"a": "b"}, {"n": 1}, dashed(TWO))
    assert (info["forked_from_conversation_id"], info["supports_runtime_model_switch"]) == (None, False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (STUB_AGENT, True),
        ({"kind": "ACPAgent"}, True),
        ({"kind": "Agent"}, False),
        ({"kind": "Agent", "llm": {"model": 5}}, False),
        ({}, False),
        (None, False),
    ],
)
def test_an_agent_has_a_kind_and_the_plain_one_a_model(value: object, *, expected: bool) -> None:
    assert is_agent(value) is expected


@pytest.mark.parametrize(("value", "expected"), [(TWO, TWO), (dashed(TWO), TWO), ("x", None), (5, None), (None, None)])
def test_a_relative_is_an_id(value: object, expected: str | None) -> None:
    assert related_id({"parent_conversation_id": value}, "parent_conversation_id") == expected


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        (make_state(ONE), []),
        ({"max_iterations": 0, "stats": None}, ["max_iterations", "stats"]),
        ({"tags": None, "workspace": None}, []),
        ({"tags": {"A": "b"}, "workspace": {"kind": "LocalWorkspace"}}, ["tags", "workspace"]),
        ({"workspace": {"kind": "RemoteWorkspace"}, "stats": {"usage_to_metrics": {"a": {}}}}, []),
    ],
)
def test_fields_that_clients_would_not_read_are_found(fields: dict[str, Any], wrong: list[str]) -> None:
    assert list_misshapen(fields) == wrong


def test_one_agent_of_many_conversations_is_masked_in_each() -> None:
    def compose(size: int) -> object:
        agent = {"kind": "Agent", "llm": {"model": "a/model", "api_key": "sk-planted"}, "padding": "x" * size}
        return compose_info({"id": "1", "agent": agent}, {}, include_skills=False)["agent"]

    for size in (1, 100_000):
        shown = {"kind": "Agent", "llm": {"model": "a/model", "api_key": MASK}, "padding": "x" * size}
        assert [compose(size), compose(size)] == [shown, shown]
