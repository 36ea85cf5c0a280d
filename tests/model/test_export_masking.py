"""What of a file goes into an export."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.errors import UnreadableFile
from app.model.export_masking import redact_file
from app.model.secrets import MASK
from tests.builders import make_event, make_id, make_meta, make_state

PLANTED = "planted-secret"
COPIES = (
    "base_state.json.bak",
    "old/base_state.json",
    ".base_state.json.k3j.new",
    "a/Base_State.json~",
    "copy of base_state.json",
)


def encoded(value: object) -> bytes:
    return json.dumps(value, indent=1).encode()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("meta.json", make_meta(make_id(1), secrets={"TOKEN": PLANTED})),
        ("meta.json", make_meta(make_id(1), hook_config={"hooks": [{"env": {"A": PLANTED}}]})),
        ("base_state.json", make_state(make_id(1), agent={"kind": "Agent", "llm": {"api_key": PLANTED}})),
        ("base_state.json", make_state(make_id(1), agent={"mcp_config": {"a": {"args": ["--token", PLANTED]}}})),
        ("meta.json", make_meta(make_id(1), hook_config={"stop": [{"hooks": [{"command": f"a --key={PLANTED}"}]}]})),
        ("base_state.json", make_state(make_id(1), secret_registry={"secret_sources": {"A": {"value": PLANTED}}})),
        ("base_state.json", make_state(make_id(1), agent={"mcp_config": {"a": {"headers": {"X": PLANTED}}}})),
        ("events/e.json", make_event(action={"arguments": {"api_key": PLANTED}})),
        ("events/e.json", make_event(action={"aws_secret_access_key": PLANTED})),
        ("events/e.json", make_event(anything=["gAAAA" + PLANTED])),
        ("events/e.json", make_event(kind="ConversationStateUpdateEvent", key="agent", value={"token": PLANTED})),
        ("events/e.json", make_event(kind="ConversationStateUpdateEvent", key="secret_registry",
                                     value={"secret_sources": {"A": PLANTED}})),
        ("events/e.json", make_event(kind="ConversationStateUpdateEvent", key="full_state",
                                     value={"agent": {"llm": {"password": PLANTED}}})),
        ("notes/log.jsonl", {"api_key": PLANTED}),
        *((name, make_state(make_id(1), agent_state={"password": PLANTED})) for name in COPIES),
        ("meta.json.orig", make_meta(make_id(1), secrets={"TOKEN": PLANTED})),
        ("events/e.json.bak", make_event(action={"api_key": PLANTED})),
    ],
)  # fmt: skip
def test_a_secret_is_masked_and_all_else_is_kept(name: str, value: dict[str, Any]) -> None:
    raw = json.dumps(value).encode()
    masked = redact_file(name, raw)
    assert PLANTED.encode() not in masked
    expected = raw.decode().replace("gAAAA" + PLANTED, MASK).replace(PLANTED, MASK)
    assert json.loads(masked) == json.loads(expected)
    assert redact_file(name, masked) == masked


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("meta.json", make_meta(make_id(1), title="https://user:word@example.org", tags={"key": "of ours"})),
        (
            "base_state.json",
            make_state(make_id(1), tags={"token": "no secret"}, stats={"usage_to_metrics": {"key": "a"}}),
        ),
        ("events/e.json", make_event(action={"command": "press", "key": "Enter", "token": "word", "env": {"A": "b"}})),
        ("events/e.json", make_event(text="my api_key is here, in my own words")),
        ("events/e.json", make_event(kind="ConversationStateUpdateEvent", key="tags", value={"token": "a word"})),
        ("observations/a.bin", "gAAAA"),
    ],
)
def test_what_is_no_secret_keeps_its_bytes(name: str, value: Any) -> None:
    raw = encoded(value)
    assert redact_file(name, raw) is raw


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("meta.json", b'{"secrets":{"a":"pla'),
        ("base_state.json", b"{"),
        ("old/base_state.json.gz", b"\x1f\x8b"),
        ("events/e.json", b'{"api_key":"pla'),
    ],
)
def test_a_damaged_file_that_may_hold_a_secret_is_refused(name: str, raw: bytes) -> None:
    with pytest.raises(UnreadableFile, match="it is damaged"):
        redact_file(name, raw)


@pytest.mark.parametrize(("name", "raw"), [("meta.json", b""), ("events/e.json", b'{"id": "torn')])
def test_a_damaged_file_that_holds_none_keeps_its_bytes(name: str, raw: bytes) -> None:
    assert redact_file(name, raw) == raw


def test_numbers_keep_their_digits() -> None:
    raw = b'{"api_key":"s","a":123456789012345678901234567890,"b":0.1}'
    assert redact_file("base_state.json", raw) == raw.replace(b'"s"', f'"{MASK}"'.encode())
