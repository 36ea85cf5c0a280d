"""An event whose texts were erased. It keeps its place in the log, and agent-server can still open it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

ERASED = "[erased]"

_KEPT = frozenset({
    "action_id", "action_type", "class_name", "classification", "execution_status", "id", "key", "kind",
    "leaf_event_id", "llm_response_id", "name", "observation_type", "origin", "parent_id", "role", "security_risk",
    "sender", "source", "status", "timestamp", "tool_call_id", "tool_name", "tools", "type",
})  # fmt: skip
"""Fields that say which event this is, and not what was said or done. Their values are often from a fixed list."""

_CHOICES = frozenset({"view", "create", "str_replace", "insert", "undo_edit", "plan"})
"""Commands of editors and trackers. agent-server refuses others."""

_FREE = "data"
"""The arguments of an MCP tool, whose names say nothing about the values."""


def erase_texts(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event in which every text is replaced, except for the fields that identify the event."""
    return {name: _erase(name, value) for name, value in event.items()}


def _erase(name: str, value: object) -> object:
    if name in _KEPT:
        return value
    if isinstance(value, dict):
        return {key: _erase(_FREE if name == _FREE else key, one) for key, one in value.items()}
    if isinstance(value, list):
        return [_erase(name, one) for one in value]
    if not isinstance(value, str) or (name == "command" and value in _CHOICES):
        return value
    if name == "arguments":  # a tool call has them as JSON in a text
        return "{}"
    return ERASED


def list_erased_texts(event: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts of an event that `erase_texts` replaces."""
    yield from _list_texts("", event)


def _list_texts(name: str, value: object) -> Iterator[str]:
    if name in _KEPT:
        return
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _list_texts(_FREE if name == _FREE else key, one)
    elif isinstance(value, list):
        for one in value:
            yield from _list_texts(name, one)
    elif isinstance(value, str):
        yield value
        if name == "arguments":
            try:
                yield from _list_texts(_FREE, orjson.loads(value))
            except orjson.JSONDecodeError:
                return
