"""The arguments of tools: a short schema, leniency for the slips of models, and plain errors."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from app.mcp.arguments import GetEvents, ListConversations, SearchMessages, UsageSummary, explain, make_schema
from app.mcp.tools import TOOLS
from app.model.filters import ConversationFilter, Status, parse_tag


@pytest.mark.parametrize("name", TOOLS)
def test_a_schema_has_no_references_titles_or_nulls(name: str) -> None:
    text = json.dumps(make_schema(TOOLS[name].arguments))
    assert [part for part in ("$ref", "$defs", '"title": "', '"null"', "anyOf") if part in text] == (
        ["anyOf"] if name == "get_events" else []
    )
    assert '"additionalProperties": false' in text


def test_filters_become_those_of_the_store() -> None:
    given = {
        "query": "x",
        "workspace": "/p" * 3000,
        "status": ["error"],
        "tag": ["area:auth"],
        "model": "m",
        "archived": "any",
    }
    asked = SearchMessages.model_validate(given | {"since": "2026-10-01", "before": "2026-10-02T00:00:00Z"})
    assert asked.conversation_filter == ConversationFilter(
        statuses=(Status.ERROR,),
        tags=(parse_tag("area:auth"),),
        workspace_under="/p" * 3000,
        model="m",
        updated_at_gte_us=1_790_812_800_000_000,
        updated_at_lt_us=1_790_899_200_000_000,
        archived=None,
        subagents=None,
    )
    assert asked.given == ["before", "model", "since", "status", "tag", "workspace"]


def test_the_slips_of_models_are_understood() -> None:
    asked = ListConversations.model_validate({"status": "error", "tag": None, "title": None, "archived": True})
    assert (asked.status, asked.tag, asked.title, asked.archived) == ([Status.ERROR], [], None, "true")
    assert asked.given == ["status"]


def test_archived_conversations_are_left_out_but_of_sums() -> None:
    assert ListConversations().conversation_filter.archived is False
    assert UsageSummary().conversation_filter.archived is None
    assert UsageSummary().since_us == 0


def test_wrong_arguments_are_told_without_their_values() -> None:
    with pytest.raises(ValidationError) as raised:
        GetEvents.model_validate({"conversation": "secret-1", "before": "secret-2", "max_chars": 10})
    told = explain(raised.value)
    assert "secret" not in told
    assert told.count(";") == 3
    assert "conversation_id: Field required" in told
    assert "conversation: Extra inputs are not permitted" in told


def test_names_of_wrong_arguments_are_told_in_short_and_on_one_line() -> None:
    given = {"x\nquery: fine\x1b[2J\u202e" + "y" * 100_000: 1, **{f"z{number}": 1 for number in range(10_000)}}
    with pytest.raises(ValidationError) as raised:
        GetEvents.model_validate({"conversation_id": "abcd", **given})
    told = explain(raised.value)
    assert len(told) < 1000
    assert told.isprintable()
    assert told.endswith("; and 9991 more")
