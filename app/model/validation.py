"""Checks before a write: events, titles, tags and messages."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, tzinfo
from typing import Any
from uuid import uuid4

import orjson

from ..errors import InvalidConversation, InvalidEvent
from .conversation import TITLE_MAX, ConversationFiles
from .event import CONVERSATION_ERROR, STATE_UPDATE
from .info import TAG_VALUE_MAX, match_tag_key
from .times import find_time_us

ROOT = "__root__"
"""The `parent_id` of an explicit root event."""

SOURCES = ("agent", "environment", "hook", "user")

_SOURCE_OF = {"user": "user", "assistant": "agent"}

EVENT_ID = "^[0-9a-fA-F-]{8,64}$"
EVENT_KIND = "^[A-Za-z_][A-Za-z0-9_.]{0,199}$"

_match_id = re.compile(EVENT_ID).fullmatch
_match_kind = re.compile(EVENT_KIND).fullmatch


def complete_event(event: Mapping[str, Any], zone: tzinfo | None) -> dict[str, Any]:
    """Return an event with an id and a timestamp, its named fields first. Any kind and additional fields are accepted.

    A new timestamp is local time in `zone` (None: the host's) without an offset, as agent-server writes it.

    Raises:
        InvalidEvent: agent-server could not read the id, timestamp, source, kind or parent_id.
    """
    if not isinstance(event, Mapping):
        raise InvalidEvent(f"an event is an object of names and values; this one is {_shown(event)}")
    given = dict(event)
    event_id = given.pop("id", None)
    timestamp = given.pop("timestamp", None)
    if event_id is None:
        event_id = str(uuid4())
    elif not isinstance(event_id, str) or not _match_id(event_id):
        raise InvalidEvent(f"event id {_shown(event_id)} is invalid; an id has 8 to 64 hexadecimal digits or dashes")
    if timestamp is None:
        timestamp = datetime.now(zone).replace(tzinfo=None).isoformat()
    elif find_time_us(timestamp, zone) is None:
        raise InvalidEvent(f"event {event_id}: timestamp {_shown(timestamp)} is not an ISO 8601 time")
    if given.get("source") not in SOURCES:
        raise InvalidEvent(f"event {event_id}: source {_shown(given.get('source'))} is not one of {', '.join(SOURCES)}")
    if not isinstance(given.get("kind"), str) or not _match_kind(given["kind"]):
        raise InvalidEvent(f"event {event_id}: kind {_shown(given.get('kind'))} is not a class name")
    parent = given.pop("parent_id", None)
    if parent is not None and (not isinstance(parent, str) or parent == event_id):
        raise InvalidEvent(f"event {event_id}: parent_id {_shown(parent)} is not the id of another event")
    first = {"id": event_id, "timestamp": timestamp, "source": given.pop("source")}
    return first | ({} if parent is None else {"parent_id": parent}) | given


def moves_head(event: Mapping[str, Any]) -> bool:
    """Whether an event becomes the HEAD. A ConversationStateUpdateEvent does not.

    Source: openhands-sdk 1.58, conversation/state.py, `append_event`.
    """
    return event.get("kind") != STATE_UPDATE


def is_node(event: Mapping[str, Any]) -> bool:
    """Whether an event can be the HEAD. This matters only for old logs whose base_state.json names no HEAD."""
    return event.get("kind") not in (STATE_UPDATE, CONVERSATION_ERROR)


def dump_event(event: Mapping[str, Any]) -> bytes:
    """Return the bytes of an event's file.

    Raises:
        InvalidEvent: the event contains a value that JSON cannot represent.
    """
    try:
        return orjson.dumps(event)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise InvalidEvent(f"event {event.get('id')} cannot be written as JSON: {error}") from error


def check_json(fields: Mapping[str, object]) -> None:
    """Check that fields can be written as JSON.

    Raises:
        InvalidConversation: a value, or something in it, is no JSON.
    """
    for name, value in fields.items():
        try:
            orjson.dumps(value)
        except (orjson.JSONEncodeError, RecursionError) as error:
            raise InvalidConversation(f"{name} cannot be written as JSON: {error}") from error
        if _has_no_number(value):
            raise InvalidConversation(f"{name} cannot be written as JSON: it contains NaN or infinity")


def _has_no_number(value: object) -> bool:
    """Whether a value contains NaN or infinity, for which orjson writes null."""
    if isinstance(value, dict):
        return any(map(_has_no_number, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_no_number, value))
    return isinstance(value, float) and not math.isfinite(value)


def check_title(title: object) -> str:
    """Return a title that agent-server accepts: 1 to 200 characters, not blank, no unpaired surrogate.

    Raises:
        InvalidConversation: agent-server would not accept the title.
    """
    if not isinstance(title, str):
        raise InvalidConversation(f"a title must be a string; this one is {_shown(title)}")
    if not title.strip() or len(title) > TITLE_MAX:
        raise InvalidConversation(
            f"a title must have 1 to {TITLE_MAX} characters and not be blank; this one has {len(title)}"
        )
    if not _is_unicode(title):
        raise InvalidConversation(f"the title {_shown(title)} cannot be written as UTF-8")
    return title.strip()


def check_tags(tags: object) -> dict[str, str]:
    """Return tags that agent-server accepts.

    Raises:
        InvalidConversation: `tags` is not an object, or agent-server would not accept a key or value.
    """
    if not isinstance(tags, Mapping):
        raise InvalidConversation(f"tags {_shown(tags)} are not an object of keys and values")
    for key, value in tags.items():
        if not match_tag_key(key):
            raise InvalidConversation(f"tag key {_shown(key)} may only contain lower-case letters and digits")
        if not isinstance(value, str):
            raise InvalidConversation(f"the value of tag {key!r} is not a string: {_shown(value)}")
        if not _is_unicode(value):
            raise InvalidConversation(f"the value of tag {key!r} cannot be written as UTF-8: {_shown(value)}")
        if len(value) > TAG_VALUE_MAX:
            raise InvalidConversation(f"the value of tag {key!r} has more than {TAG_VALUE_MAX} characters")
    return dict(tags)


def find_tags(files: ConversationFiles) -> dict[str, str]:
    """Return the tags in a conversation's files."""
    for fields in (files.state, files.meta):
        tags = (fields or {}).get("tags")
        if isinstance(tags, dict):
            return {key: value for key, value in tags.items() if isinstance(value, str)}
    return {}


def make_message(role: str, content: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a MessageEvent with a client's message, as agent-server writes it.

    `fields` are the other fields of its `llm_message`, which agent-server writes only where they have a value.
    """
    message = {"role": role, "content": content, **fields}
    message.setdefault("thinking_blocks", [])
    return {
        "source": _SOURCE_OF.get(role, "environment"),
        "llm_message": message,
        "activated_skills": [],
        "extended_content": [],
        "kind": "MessageEvent",
    }


def _is_unicode(text: str) -> bool:
    """Whether a text has no unpaired surrogate. JSON can contain one, UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: object) -> str:
    return repr(value)[:80]


_RESULTS = frozenset({"ObservationEvent", "UserRejectObservation", "AgentErrorEvent"})


_ACTION_NAMES = ("id", "tool_name", "tool_call_id")


def find_unfinished_action(events: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the first action of a log that has no result, with the names of the action and its tool, or None.

    A rejection or observation refers to the action's id or its tool call's id; an error refers only to the tool call's
    id. Source: openhands-sdk 1.58, conversation/state.py, `get_unmatched_actions`, and event_service.py.
    """
    actions: list[Mapping[str, Any]] = []
    done: set[object] = set()
    for event in events:
        if event.get("kind") == "ActionEvent" and event.get("action") is not None:
            actions.append({name: event.get(name) for name in _ACTION_NAMES})
        elif event.get("kind") in _RESULTS:
            done |= {event.get("tool_call_id"), event.get("action_id")}
    return next((one for one in actions if one.get("id") not in done and one.get("tool_call_id") not in done), None)


def interrupted_error(action: Mapping[str, Any]) -> dict[str, Any]:
    """Return the AgentErrorEvent that is the result of an action which a crash interrupted."""
    return {
        "source": "agent",
        "parent_id": action.get("id"),
        "tool_name": str(action.get("tool_name")),
        "tool_call_id": str(action.get("tool_call_id")),
        "error": (
            "The program that ran this tool ended while it was in progress; it was interrupted and did not complete. "
            "It may have crashed, or run out of memory."
        ),
        "classification": {"kind": "internal", "retryable": False},
        "kind": "AgentErrorEvent",
    }
