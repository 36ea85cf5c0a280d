"""A new conversation as it is asked for, and the files of a fork."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.errors import InvalidConversation
from app.model.ids import ConversationId, dashed
from app.model.json_splice import parse_raw_object
from app.model.new_conversation import compose_new, forked_meta, forked_state, mask_all, seal_secrets
from tests.builders import make_id, make_meta, make_state

ONE, TWO = ConversationId(make_id(1)), ConversationId(make_id(2))
REQUEST: dict[str, Any] = {
    "agent": {"llm": {"model": "a/model", "api_key": "planted"}},
    "workspace": {"working_dir": "/a"},
    "title": "A title",
    "tags": {"area": "auth"},
}


def test_a_request_makes_two_files() -> None:
    meta, state = compose_new(REQUEST, ONE, 1_000_000, mask_all)
    assert (meta["id"], meta["title"], meta["created_at"]) == (ONE, "A title", "1970-01-01T00:00:01Z")
    assert (state["id"], state["execution_status"], state["tags"]) == (dashed(ONE), "idle", {"area": "auth"})
    assert state["agent"] == {"llm": {"model": "a/model", "api_key": "**********"}, "kind": "Agent"}
    assert state["workspace"] == meta["workspace"] == {"kind": "LocalWorkspace", "working_dir": "/a"}


@pytest.mark.parametrize(
    ("field", "value", "names"),
    [
        ("workspace", {}, "workspace"),
        ("agent", None, "agent"),
        ("agent", {"llm": {"model": ""}}, "agent.llm.model"),
        ("tags", {"A": "b"}, "tag key"),
        ("max_iterations", 0, "max_iterations"),
        ("secrets", {"a": {"kind": "Other"}}, "secrets"),
    ],
)
def test_what_agent_server_would_not_read_is_refused(field: str, value: object, names: str) -> None:
    with pytest.raises(InvalidConversation, match=names):
        compose_new({**REQUEST, field: value}, ONE, 0, mask_all)


def test_only_plain_secrets_are_sealed() -> None:
    value = {"llm": {"api_key": "planted"}, "other": [{"api_key": "gAAAAsealed"}, {"api_key": "**********"}], "n": "n"}
    assert seal_secrets(value, lambda secret: f"gAAAA{secret}") == {
        "llm": {"api_key": "gAAAAplanted"},
        "other": [{"api_key": "gAAAAsealed"}, {"api_key": "**********"}],
        "n": "n",
    }


def test_a_fork_keeps_every_byte_but_those_that_make_it_another() -> None:
    source = make_state(ONE, persistence_dir="/old", leaf_event_id="x", unknown=[1.50])
    raw = parse_raw_object(orjson.dumps(source))
    state = forked_state(raw, TWO, directory="/new", tags={}, head="y", reset_metrics=False)
    assert orjson.loads(state.raw) == source | {
        "id": dashed(TWO), "persistence_dir": "/new", "leaf_event_id": "y", "head_is_empty": False,
        "execution_status": "idle", "blocked_actions": {}, "blocked_messages": {}, "tags": {},
    }  # fmt: skip
    meta = forked_meta(
        parse_raw_object(orjson.dumps(make_meta(ONE, unknown=1))), TWO, ONE, title="Fork", tags={"a": "b"},
        from_event_id="y", now_us=0, reset_metrics=True,
    )  # fmt: skip
    assert orjson.loads(meta.raw) == make_meta(
        TWO, unknown=1, title="Fork", tags={"a": "b"}, created_at="1970-01-01T00:00:00Z",
        updated_at="1970-01-01T00:00:00Z", forked_from_conversation_id=ONE, forked_from_event_id="y", metrics=None,
    )  # fmt: skip
