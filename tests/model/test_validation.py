"""What may be written: events, titles, tags, messages; and an action without a result."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest

from app.errors import InvalidConversation, InvalidEvent
from app.model.conversation import TITLE_MAX
from app.model.event import STATE_UPDATE
from app.model.validation import (
    check_tags,
    check_title,
    complete_event,
    dump_event,
    find_unfinished_action,
    interrupted_error,
    is_node,
    make_message,
    moves_head,
)
from tests.builders import make_event

ACTION = {"kind": "ActionEvent", "id": "a", "tool_call_id": "call", "tool_name": "terminal", "action": {}}


def test_an_event_gets_what_it_lacks_and_its_named_fields_come_first() -> None:
    event = complete_event({"kind": "X", "more": 1, "source": "user", "parent_id": "p"}, UTC)
    assert list(event) == ["id", "timestamp", "source", "parent_id", "kind", "more"]
    assert complete_event(make_event(1), UTC) == make_event(1)


@pytest.mark.parametrize(
    ("field", "value"),
    [("id", "x"), ("timestamp", "soon"), ("source", "nobody"), ("kind", "1"), ("kind", None), ("parent_id", 5)],
)
def test_an_event_that_agent_server_would_not_read_is_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidEvent, match="event"):
        complete_event({**make_event(1), field: value}, UTC)


def test_an_event_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="event a cannot be written as JSON"):
        dump_event({"id": "a", "value": object()})


@pytest.mark.parametrize(
    ("kind", "moves", "node"),
    [("MessageEvent", True, True), (STATE_UPDATE, False, False), ("ConversationErrorEvent", True, False)],
)
def test_which_events_become_head(kind: str, *, moves: bool, node: bool) -> None:
    assert (moves_head({"kind": kind}), is_node({"kind": kind})) == (moves, node)


def test_a_title_is_stripped() -> None:
    assert check_title(" a ") == "a"


@pytest.mark.parametrize("title", [None, "", " ", "a" * (TITLE_MAX + 1), "\ud800"])
def test_a_title_that_agent_server_would_not_take_is_refused(title: object) -> None:
    with pytest.raises(InvalidConversation, match="title"):
        check_title(title)


@pytest.mark.parametrize("tags", [[], {"A": "b"}, {"a": 1}, {"a": "\ud800"}, {"a": "b" * 257}])
def test_tags_that_agent_server_would_not_take_are_refused(tags: object) -> None:
    with pytest.raises(InvalidConversation, match="tag"):
        check_tags(tags)


@pytest.mark.parametrize(("role", "source"), [("user", "user"), ("assistant", "agent"), ("system", "environment")])
def test_a_message_is_an_event_of_who_sent_it(role: str, source: str) -> None:
    event = make_message(role, [{"text": "a"}], name="b")
    message = {"role": role, "content": [{"text": "a"}], "name": "b", "thinking_blocks": []}
    assert (event["source"], event["llm_message"]) == (source, message)


@pytest.mark.parametrize(
    ("results", "unfinished"),
    [
        ([], True),
        ([{"kind": "ObservationEvent", "action_id": "a"}], False),
        ([{"kind": "AgentErrorEvent", "tool_call_id": "call"}], False),
        ([{"kind": "MessageEvent", "action_id": "a"}], True),
    ],
)
def test_an_action_without_a_result_is_found(results: list[dict[str, Any]], *, unfinished: bool) -> None:
    found = find_unfinished_action([ACTION, *results])
    assert (found or {}).get("id") == (ACTION["id"] if unfinished else None)


def test_an_action_that_a_crash_cut_off_gets_an_error() -> None:
    error = interrupted_error(ACTION)
    assert (error["kind"], error["tool_call_id"], error["parent_id"]) == ("AgentErrorEvent", "call", "a")
    assert find_unfinished_action([ACTION, error]) is None
