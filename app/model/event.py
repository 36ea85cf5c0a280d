"""One event: what the index keeps of it, and what a person reads in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Any, NamedTuple

import orjson

from app.errors import UnreadableFile
from app.model.ids import EventName
from app.model.text.event_text import searchable_text
from app.model.times import find_time_us

STATE_UPDATE = "ConversationStateUpdateEvent"
"""The kind that agent-server writes for its own bookkeeping; it does not count as activity."""

CONVERSATION_ERROR = "ConversationErrorEvent"
"""The kind that agent-server writes when a run fails; with the one above it is no place to go on from."""

_NAME_MAX = 200


class EventFacts(NamedTuple):
    """The facts of an event that the index keeps.

    `kind` and `source` are empty where the file has none, `text` where nothing was said.
    """

    kind: str
    source: str
    timestamp_us: int | None
    tool: str | None
    text: str = ""


NO_FACTS = EventFacts("", "", None, None)

GAP_ID = ""
"""The event id of a row that stands for missing files."""


class EventRow(NamedTuple):
    """An event as the index keeps it. `unreadable` is the reason when its file cannot be served."""

    name: EventName
    facts: EventFacts
    unreadable: str | None = None


class LogChange(NamedTuple):
    """The changes that make one conversation's event rows match its log. `key` is the conversation's key in the index.

    `directory` is where the log was read, if it matters that the key still means it. `failed`: the system refused to
    let some of it be read; the rows stay marked as lagging behind, so that it is tried again.
    """

    key: int
    write: Sequence[EventRow]
    delete: Sequence[EventName]
    directory: str | None = None
    failed: bool = False


class KnownLog(NamedTuple):
    """The event rows that the index has of one conversation, with the reasons of unreadable ones."""

    key: int
    directory: str
    known: Mapping[EventName, str | None]


def gap_rows(names: Sequence[EventName]) -> list[EventRow]:
    """Return a row, with its reason, for each gap in the numbers of a log, at the first missing one."""
    rows = []
    expected = 0
    for name in names:
        if name.seq > expected:
            missing = f"event {expected} is" if name.seq == expected + 1 else f"events {expected} to {name.seq - 1} are"
            reason = f"{missing} missing: no file has this number"
            rows.append(EventRow(EventName(expected, GAP_ID), NO_FACTS, reason))
        expected = max(expected, name.seq + 1)
    return rows


def parse_json_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in `raw`.

    Raises:
        UnreadableFile: `raw` is empty, torn, no JSON, or no object; the message says which.
    """
    if not raw.strip():
        raise UnreadableFile("the file is empty")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise UnreadableFile(f"not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise UnreadableFile("not a JSON object")
    return value


def event_facts(event: dict[str, Any], zone: tzinfo | None, *, tools: bool = False) -> EventFacts:
    """Return the facts of an event that the index keeps. With `tools`, its text has the tools' input and output too.

    A naive timestamp is taken to be in `zone` (None: the host's).
    """
    return EventFacts(
        kind=_name(event.get("kind")) or "",
        source=_name(event.get("source")) or "",
        timestamp_us=find_time_us(event.get("timestamp"), zone),
        tool=_name(event.get("tool_name")),
        text=searchable_text(event, tools=tools),
    )


def _name(value: object) -> str | None:
    return value[:_NAME_MAX] if isinstance(value, str) else None


def message_text(event: dict[str, Any]) -> str:
    """Return a MessageEvent's text, extended text and reasoning, joined as agent-server's `body` filter sees them.

    Source: openhands-agent-server 1.58, event_service.py, `_event_matches_body`.
    """
    message = event.get("llm_message")
    message = message if isinstance(message, dict) else {}
    parts = [*content_texts(message.get("content")), *content_texts(event.get("extended_content"))]
    reasoning = message.get("reasoning_content")
    if isinstance(reasoning, str) and reasoning:
        parts.append(reasoning)
    return " ".join(parts)


def content_texts(content: object) -> list[str]:
    """Return the texts of a list of content blocks; an image becomes "[Image: 1 URLs]", as the SDK writes it."""
    texts = []
    for block in content if isinstance(content, list) else []:
        if not isinstance(block, dict):
            continue
        if isinstance(block.get("text"), str):
            texts.append(block["text"])
        elif isinstance(block.get("image_urls"), list):
            texts.append(f"[Image: {len(block['image_urls'])} URLs]")
    return texts


def final_response(event: dict[str, Any]) -> str:
    """Return the agent's final response in this event, a finish message or a plain message; empty if it has none.

    Source: openhands-sdk 1.58, conversation/response_utils.py.
    """
    action = event.get("action")
    if isinstance(action, dict):
        message = action.get("message")
        return message if isinstance(message, str) else ""
    message = event.get("llm_message")
    return "".join(content_texts(message.get("content"))) if isinstance(message, dict) else ""
