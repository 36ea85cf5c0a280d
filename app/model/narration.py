"""An event as a person reads it: who, and which texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from app.model.event import content_texts

_FIELD_MAX = 2000


def who(event: dict[str, Any]) -> str:
    """Return who speaks or acts, e.g. "agent uses terminal"."""
    source = str(event.get("source") or "?")
    kind = str(event.get("kind") or "?")
    tool = event.get("tool_name")
    match kind:
        case "MessageEvent":
            return source
        case "ActionEvent":
            return f"{source} uses {tool}"
        case "ObservationEvent":
            return f"{tool} answers"
        case _:
            return f"{source} {kind}"


def texts(event: dict[str, Any]) -> Iterator[str]:
    """Give the texts of an event, each of one or more lines."""
    match event.get("kind"):
        case "MessageEvent":
            message = event.get("llm_message")
            yield from content_texts(message.get("content") if isinstance(message, dict) else None)
            yield from content_texts(event.get("extended_content"))
        case "ActionEvent":
            yield from content_texts(event.get("thought"))
            yield from _fields(event.get("action"))
        case "ObservationEvent":
            yield from _observation(event.get("observation"))
        case "SystemPromptEvent":
            tools = event.get("tools")
            yield f"system prompt, {len(tools) if isinstance(tools, list) else 0} tools"
        case "ConversationStateUpdateEvent":
            yield f"key: {event.get('key')}"
        case _:
            said = [event[name] for name in ("error", "detail", "summary") if isinstance(event.get(name), str)]
            yield from said or _fields(event)


def _observation(observation: object) -> Iterator[str]:
    if not isinstance(observation, dict):
        return
    yield from content_texts(observation.get("content"))
    if observation.get("is_error"):
        yield "(error)"
    if isinstance(observation.get("exit_code"), int):
        yield f"(exit code {observation['exit_code']})"


def _fields(value: object) -> Iterator[str]:
    """Give an object's fields, one a line, without those that only agent-server needs."""
    for name, item in value.items() if isinstance(value, dict) else ():
        if name in ("kind", "id", "timestamp", "source", "parent_id") or item in (None, False, "", [], {}):
            continue
        text = item if isinstance(item, str) else orjson.dumps(item).decode()
        yield f"{name}: {text[:_FIELD_MAX]}"
