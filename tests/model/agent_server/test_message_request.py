"""Messages as agent-server reads them; tests/conformance/test_stored_messages.py compares with the real one."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import InvalidConversation
from app.model.agent_server.base import validate
from app.model.agent_server.message_request import MessageRequest, SocketMessage, dump_message

TEXT = {"cache_prompt": False, "type": "text", "text": "a"}


@pytest.mark.parametrize(
    ("content", "stored"),
    [
        ([{"text": "a"}], [TEXT]),
        ([{"text": "a", "cache_prompt": True, "enable_truncation": True}], [TEXT | {"cache_prompt": True}]),
        ([{"image_urls": ["b"], "unknown": 1}], [{"cache_prompt": False, "type": "image", "image_urls": ["b"]}]),
        ([], []),
    ],
)
def test_content_is_stored_with_all_its_fields(content: Any, stored: Any) -> None:
    message = {"role": "user", "content": stored}
    assert dump_message(validate(MessageRequest, {"content": content, "run": False, "sender": "me"})) == message
    socket = dump_message(validate(SocketMessage, {"role": "user", "content": content, "sender": "me"}))
    assert socket == message | {"thinking_blocks": []}


@pytest.mark.parametrize(("content", "stored"), [("a", [TEXT]), (None, []), ([], [])])
def test_content_over_a_socket_may_be_one_text_or_null(content: Any, stored: Any) -> None:
    assert dump_message(validate(SocketMessage, {"role": "user", "content": content}))["content"] == stored


def test_a_socket_keeps_the_fields_of_an_agents_message() -> None:
    fields = {
        "role": "user",
        "content": [TEXT],
        "tool_calls": [{"id": "c", "name": "n", "arguments": "{}", "origin": "completion"}],
        "tool_call_id": "c",
        "name": "n",
        "reasoning_content": "r",
        "thinking_blocks": [{"type": "thinking", "thinking": "t"}, {"type": "redacted_thinking", "data": "d"}],
        "responses_reasoning_item": {"summary": ["s"]},
    }
    stored = dump_message(validate(SocketMessage, fields))
    assert (stored, list(stored)) == (fields, list(fields))


@pytest.mark.parametrize(
    "message",
    [
        None,
        {"role": "x"},
        {"role": "user", "content": [{"type": "text"}]},
        {"role": "user", "content": [{"text": "a", "unknown": 1}]},
    ],
)
def test_a_message_of_another_form_is_refused(message: object) -> None:
    for model in (MessageRequest, SocketMessage):
        with pytest.raises(InvalidConversation, match="agent-server would refuse it"):
            validate(model, message)
