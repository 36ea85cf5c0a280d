"""What is made again of a torn file, and of a log."""

from __future__ import annotations

from typing import Any

import pytest

from app.model.event import STATE_UPDATE
from app.model.ids import ConversationId
from app.model.salvage import find_whole, is_same_id, rebuild_state, replay_state, salvage
from tests.builders import make_id, make_state

ONE = ConversationId(make_id(1))
WHOLE = b' {"a": 1, "b": {"c": [1, "x,y"]}, "d": "\\u00e9", "e": 12.5} '


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b"", {}),
        (b"[1]", {}),
        (b"\0" * 20, {}),
        (b'{"a": 1', {}),
        (b'{"a": 1,', {"a": 1}),
        (b'{"a": 1, "a": 2, 3: 4', {"a": 2}),
        (b'{"a": "x\0\0\0\0', {}),
        (b'{"a": ' + b"[" * 100_000, {}),
        (WHOLE[:-2], {"a": 1, "b": {"c": [1, "x,y"]}, "d": "é"}),
        (WHOLE, {"a": 1, "b": {"c": [1, "x,y"]}, "d": "é", "e": 12.5}),
        (b"\xef\xbb\xbf" + WHOLE[:-9], {"a": 1, "b": {"c": [1, "x,y"]}, "d": "é"}),
        (("\ufeff" + WHOLE.decode()[:-9]).encode("utf-16-le"), {"a": 1, "b": {"c": [1, "x,y"]}, "d": "é"}),
        (b'{"a": 1, "b": "x"\0\0\0', {"a": 1, "b": "x"}),
        (b'{"a": [1, 2]', {"a": [1, 2]}),
        (b'{"a": "x", "b": 12\0\0', {"a": "x"}),
        (b'\0\0{"a": "x", ', {"a": "x"}),
    ],
)
def test_salvage_takes_what_stands_whole(raw: bytes, found: dict[str, Any]) -> None:
    assert salvage(raw) == found


@pytest.mark.parametrize(
    ("raw", "whole"),
    [
        (b"", None),
        (b"\0" * 20, None),
        (b"[1]", None),
        (b"\xef\xbb\xbf[1]", None),
        (WHOLE[:-2], None),
        (b'{"a": NaN}\0', None),
        (b'{"a": "\xff"}\0', None),
        (b'{"a": ' + b"[" * 100_000, None),
        (b"\xef\xbb\xbf" + WHOLE, WHOLE.strip()),
        (WHOLE.strip() + b"\0\0\n", WHOLE.strip()),
        (b"\0\0" + WHOLE + b'"}', WHOLE.strip()),
        (("\ufeff" + WHOLE.decode()).encode("utf-16-be"), WHOLE.strip()),
    ],
)
def test_what_is_whole_keeps_its_bytes(raw: bytes, whole: bytes | None) -> None:
    assert find_whole(raw) == whole


@pytest.mark.parametrize(
    ("value", "is_same"), [({}, True), ({"id": ONE}, True), ({"id": make_id(2)}, False), ({"id": 5}, False)]
)
def test_a_file_of_another_conversation_is_told(value: dict[str, Any], is_same: bool) -> None:
    assert is_same_id(value, ONE) is is_same


def test_state_updates_of_a_log_are_a_state() -> None:
    events: list[dict[str, Any]] = [
        {"kind": STATE_UPDATE, "key": "full_state", "value": {"a": 1, "b": 1}},
        {"kind": STATE_UPDATE, "key": "b", "value": 2},
        {"kind": STATE_UPDATE, "key": 5, "value": "none"},
        {"kind": "MessageEvent", "key": "a", "value": 3},
    ]
    assert replay_state(events) == {"a": 1, "b": 2}


@pytest.mark.parametrize(("status", "rebuilt"), [("paused", "paused"), ("running", "error"), ("made up", "error")])
def test_what_was_salvaged_comes_before_the_log_and_a_run_ends(status: str, rebuilt: str) -> None:
    salvaged = {"execution_status": status, "max_iterations": 7, "agent": {"kind": 3}, "tags": "of another type"}
    state = rebuild_state(ONE, salvaged=salvaged, logged={"max_iterations": 8, "stuck_detection": False}, meta={})
    assert (state["execution_status"], state["max_iterations"], state["stuck_detection"]) == (rebuilt, 7, False)
    assert (state["id"], state["agent"]["llm"]["model"], state["tags"]) == (make_state(ONE)["id"], "unknown", {})


def test_a_salvaged_field_replaces_a_default_of_nothing() -> None:
    state = rebuild_state(ONE, salvaged={"last_user_message_id": "m", "stats": None}, logged={}, meta={})
    assert (state["last_user_message_id"], state["stats"]) == ("m", make_state(ONE)["stats"])
