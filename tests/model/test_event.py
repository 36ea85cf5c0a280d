from __future__ import annotations

from contextlib import suppress
from datetime import UTC
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UnreadableFile
from app.model.event import (
    GAP_ID,
    NO_FACTS,
    EventFacts,
    EventRow,
    event_facts,
    final_response,
    gap_rows,
    message_text,
    parse_event,
    parse_json_object,
)
from app.model.ids import EventName
from tests.builders import make_event

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ["kind", "source", "timestamp", "tool_name", "llm_message", "extended_content", "action"]
NOON_US = 1_790_856_000_000_000


def test_the_facts_of_an_event() -> None:
    event = make_event(0, kind="ActionEvent", source="agent", tool_name="terminal")
    assert event_facts(event, UTC) == EventFacts("ActionEvent", "agent", NOON_US, "terminal")


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({"kind": "Condensation", "forgotten_event_ids": ["a", "b"]}, 2),
        ({"kind": "Condensation", "forgotten_event_ids": 5}, None),
        ({"kind": "HookExecutionEvent", "blocked": True}, 1),
        ({"kind": "HookExecutionEvent", "blocked": False}, None),
        ({"kind": "MessageEvent", "blocked": True, "forgotten_event_ids": ["a"]}, None),
    ],
)
def test_the_number_of_a_condensation_and_of_a_hook(fields: dict[str, object], number: int | None) -> None:
    assert event_facts(fields, UTC).number == number


@pytest.mark.parametrize("odd", [None, 1, [], {}, True])
def test_facts_of_another_type_are_missing(odd: object) -> None:
    assert event_facts({"kind": odd, "source": odd, "timestamp": odd, "tool_name": odd}, UTC) == NO_FACTS


def test_facts_are_bounded() -> None:
    long = "x" * 1000
    facts = event_facts({"kind": long, "source": long, "tool_name": long}, UTC)
    assert [len(text or "") for text in (facts.kind, facts.source, facts.tool)] == [200, 200, 200]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_no_event_is_too_odd_to_be_looked_at(event: dict[str, Any]) -> None:
    assert isinstance(event_facts(event, UTC), EventFacts)
    assert isinstance(message_text(event), str)
    assert isinstance(final_response(event), str)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"a": 1', "not valid JSON"),
        (b"\0\0\0", "not valid JSON"),
        (b'{"a": "\xff"}', "not valid JSON"),
        (b'{"a": NaN}', "not valid JSON"),
        (b'{"a": "\\ud800"}', "not valid JSON"),
        (b'{"a": 1}{"a": 2}', "not valid JSON"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "not valid JSON"),
    ],
)
def test_what_is_no_json_object_has_a_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(UnreadableFile, match=reason) as caught:
        parse_json_object(raw)
    assert len(str(caught.value)) < 200


@pytest.mark.long
@given(st.dictionaries(st.text(st.characters(codec="utf-8")), JSON))
def test_a_json_object_is_read(value: dict[str, Any]) -> None:
    assert parse_json_object(orjson.dumps(value)) == value


@pytest.mark.parametrize("raw", [b"{}", b'{"kind": 5}', b'{"kind": null}'])
def test_an_object_without_a_kind_is_no_event(raw: bytes) -> None:
    with pytest.raises(UnreadableFile, match="no kind"):
        parse_event(raw)


@given(st.binary())
def test_any_bytes_are_read_or_have_a_reason(raw: bytes) -> None:
    with suppress(UnreadableFile):
        assert isinstance(parse_json_object(raw), dict)


def text(*words: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": word} for word in words]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({}, ""),
        ({"llm_message": {"content": text("one", "two")}}, "one two"),
        ({"llm_message": {"content": text("one")}, "extended_content": text("two")}, "one two"),
        ({"llm_message": {"content": text("one"), "reasoning_content": "why"}}, "one why"),
        ({"llm_message": {"content": [{"type": "image", "image_urls": ["a", "b"]}]}}, "[Image: 2 URLs]"),
        ({"llm_message": {"content": "one"}}, ""),
        ({"llm_message": {"content": [None, "one", {"text": 1}, *text("two")]}}, "two"),
    ],
)
def test_the_text_of_a_message(event: dict[str, Any], expected: str) -> None:
    assert message_text(event) == expected


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"action": {"kind": "FinishAction", "message": "all done"}}, "all done"),
        ({"action": {"kind": "FinishAction"}}, ""),
        ({"action": {"message": 1}, "llm_message": {"content": text("no")}}, ""),
        ({"llm_message": {"content": text("one", "two"), "reasoning_content": "why"}}, "onetwo"),
        ({"llm_message": None}, ""),
        ({}, ""),
    ],
)
def test_the_final_response_of_an_event(event: dict[str, Any], expected: str) -> None:
    assert final_response(event) == expected


def gap(seq: int, reason: str) -> EventRow:
    return EventRow(EventName(seq, GAP_ID), NO_FACTS, f"{reason} missing: no file has this number")


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([], []),
        ([0, 1, 2], []),
        ([0, 0, 1, 1], []),
        ([1], [gap(0, "event 0 is")]),
        ([0, 2], [gap(1, "event 1 is")]),
        ([0, 5, 5, 8], [gap(1, "events 1 to 4 are"), gap(6, "events 6 to 7 are")]),
        ([10**17], [gap(0, f"events 0 to {10**17 - 1} are")]),
    ],
)
def test_a_gap_is_one_row_at_the_first_missing_number(numbers: list[int], expected: list[EventRow]) -> None:
    assert gap_rows([EventName(number, "a") for number in numbers]) == expected
