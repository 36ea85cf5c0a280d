"""Events: the facts that the index stores, and the texts that people read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Any, NamedTuple

import orjson

from ..errors import UnreadableFile
from .ids import EventName
from .text.event_text import searchable_text, tool_text
from .times import find_time_us

STATE_UPDATE = "ConversationStateUpdateEvent"
"""The event kind of agent-server's own bookkeeping. It does not count as activity."""

CONVERSATION_ERROR = "ConversationErrorEvent"
"""The event kind that agent-server writes when a run fails. In a log without HEAD, it is never the HEAD."""

_NAME_MAX = 200
_PATH_MAX = 4096
_EDITS_MAX = 100
_EDITING_KINDS = ("ACPToolCallEvent", "ObservationEvent")
_IMAGE_STARTS = {"/9j/": "jpeg", "R0lGOD": "gif", "UklGR": "webp"}
"""How the base64 of an image begins, but for PNG."""


class EventFacts(NamedTuple):
    """The facts of an event that the index stores.

    `kind` and `source` are "" if the event has none. `text` is what was said, `tool_text` what a tool did; both may be
    "". `edits` are the paths of the files that it says were changed (`edited_paths`). `number` is, of a condensation,
    how many events left the model's view, and 1 of a hook that stopped something.
    """

    kind: str
    source: str
    timestamp_us: int | None
    tool: str | None
    text: str = ""
    edits: tuple[str, ...] = ()
    tool_text: str = ""
    number: int | None = None


NO_FACTS = EventFacts("", "", None, None)

GAP_ID = ""
"""The event id of a row for missing event files."""


class EventRow(NamedTuple):
    """An event's row in the index. `unreadable` is the reason if the file cannot be served."""

    name: EventName
    facts: EventFacts
    unreadable: str | None = None


class LogChange(NamedTuple):
    """Rows to write and delete so that the event rows match a conversation's log.

    `key` is the conversation's integer key. `directory` is where the log was read; it is set if `key` may belong to
    another conversation by now. `failed` means that the operating system refused to read some files; the rows stay
    marked as incomplete, so they are read again.
    """

    key: int
    write: Sequence[EventRow]
    delete: Sequence[EventName]
    directory: str | None = None
    failed: bool = False


class KnownLog(NamedTuple):
    """The event rows that the index has of one conversation.

    `known` maps each event, as (number, id), to its `unreadable` reason or None.
    """

    key: int
    directory: str
    known: Mapping[tuple[int, str], str | None]


class KnownEnds(NamedTuple):
    """The names at both ends of a log without gaps, in log order, as the index has them.

    They are true of the files that have this signature. `length` is the number of the log's events.
    """

    signature: bytes
    length: int
    first: Sequence[EventName]
    last: Sequence[EventName]


def gap_rows(names: Sequence[EventName]) -> list[EventRow]:
    """Return one row for each gap in the event numbers, at the first missing number, with the reason."""
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
        UnreadableFile: `raw` is empty, torn, not JSON, or not an object; the message says which.
    """
    if not raw or raw.isspace():
        raise UnreadableFile("the file is empty")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise UnreadableFile(f"not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise UnreadableFile("not a JSON object")
    return value


def parse_event(raw: bytes) -> dict[str, Any]:
    """Return the event in `raw`. Clients of agent-server reject a whole page for an object without a kind.

    Raises:
        UnreadableFile: `raw` is no JSON object, or has no kind.
    """
    event = parse_json_object(raw)
    if not isinstance(event.get("kind"), str):
        raise UnreadableFile("not an event: it has no kind")
    return event


def event_facts(event: dict[str, Any], zone: tzinfo | None, *, tools: bool = False) -> EventFacts:
    """Return the facts of an event that the index stores. With `tools`, they include all input and output of tools.

    A timestamp without a zone is in `zone` (None: the host's zone).
    """
    return EventFacts(
        kind=_name(event.get("kind")) or "",
        source=_name(event.get("source")) or "",
        timestamp_us=find_time_us(event.get("timestamp"), zone),
        tool=_name(event.get("tool_name")),
        text=searchable_text(event),
        edits=edited_paths(event),
        tool_text=tool_text(event, outputs=tools),
        number=_find_number(event),
    )


def _find_number(event: dict[str, Any]) -> int | None:
    kind = event.get("kind")
    if kind == "Condensation" and isinstance(gone := event.get("forgotten_event_ids"), list):
        return len(gone)
    return 1 if kind == "HookExecutionEvent" and event.get("blocked") else None


def edited_paths(event: dict[str, Any]) -> tuple[str, ...]:
    """Return the paths of the files that an event says were changed, as they stand in it, sorted.

    These are results of the editors and of patches that did not fail, and the diffs of an ACP agent's tool calls. What
    a command in a terminal changed is not known. Source: openhands-sdk and openhands-tools 1.58.
    """
    found: list[object] = []
    kind, seen = event.get("kind"), event.get("observation")
    if kind not in _EDITING_KINDS:
        return ()
    if kind == "ACPToolCallEvent" and not event.get("is_error") and event.get("status") != "failed":
        content = event.get("content")
        blocks = [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []
        found = [one.get("path") for one in blocks if one.get("type") == "diff"]
    elif kind == "ObservationEvent" and isinstance(seen, dict) and not seen.get("is_error"):
        if isinstance(seen.get("new_content"), str) and seen.get("command") != "view":
            found = [seen.get("path")]
        commit = seen.get("commit")
        changes = commit.get("changes") if isinstance(commit, dict) else None
        found += list(changes) if isinstance(changes, dict) else []
    paths = {path[:_PATH_MAX] for path in found if isinstance(path, str) and path and "\0" not in path}
    return tuple(sorted(paths)[:_EDITS_MAX])


def _name(value: object) -> str | None:
    return value[:_NAME_MAX] if isinstance(value, str) else None


def message_text(event: dict[str, Any]) -> str:
    """Return a MessageEvent's text, extended text and reasoning, joined as agent-server's `body` filter joins them.

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
    """Return the texts of content blocks. An image becomes "[Image: 1 URLs]", as the SDK writes it."""
    texts = []
    for block in content if isinstance(content, list) else []:
        if not isinstance(block, dict):
            continue
        if isinstance(block.get("text"), str):
            texts.append(block["text"])
        elif isinstance(block.get("image_urls"), list):
            texts.append(f"[Image: {len(block['image_urls'])} URLs]")
    return texts


def image_urls(event: dict[str, Any]) -> list[str]:
    """Return the addresses of an event's images in their order: of a message, an observation, a browser's page."""
    message, seen = event.get("llm_message"), event.get("observation")
    blocks = [one.get("content") for one in (message, seen) if isinstance(one, dict)]
    urls = [
        url
        for content in blocks
        for block in (content if isinstance(content, list) else [])
        if isinstance(block, dict) and isinstance(block.get("image_urls"), list)
        for url in block["image_urls"]
        if isinstance(url, str)
    ]
    data = seen.get("screenshot_data") if isinstance(seen, dict) else None
    if isinstance(data, str) and data:
        kind = next((kind for start, kind in _IMAGE_STARTS.items() if data.startswith(start)), "png")
        urls.append(data if data.startswith("data:") else f"data:image/{kind};base64,{data}")
    return urls


def final_response(event: dict[str, Any]) -> str:
    """Return the agent's final response in this event (a finish message or a plain message), or "" if there is none.

    Source: openhands-sdk 1.58, conversation/response_utils.py.
    """
    action = event.get("action")
    if isinstance(action, dict):
        message = action.get("message")
        return message if isinstance(message, str) else ""
    message = event.get("llm_message")
    return "".join(content_texts(message.get("content"))) if isinstance(message, dict) else ""
