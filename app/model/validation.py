"""Checks before a write: events completed and checked, titles and tags checked, and HEAD in the tree of events."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, tzinfo
from typing import Any
from uuid import uuid4

import orjson

from app.errors import InvalidConversation, InvalidEvent
from app.model.conversation import TITLE_MAX, ConversationFiles
from app.model.event import CONVERSATION_ERROR, STATE_UPDATE
from app.model.info import TAG_VALUE_MAX, match_tag_key
from app.model.times import find_time_us

ROOT = "__root__"
"""The parent of an event that is an explicit root."""

SOURCES = ("agent", "environment", "hook", "user")

ROLES = ("user", "system", "assistant", "tool")

_SOURCE_OF = {"user": "user", "assistant": "agent"}

EVENT_ID = "^[0-9a-fA-F-]{8,64}$"
EVENT_KIND = "^[A-Za-z_][A-Za-z0-9_.]{0,199}$"

_match_id = re.compile(EVENT_ID).fullmatch
_match_kind = re.compile(EVENT_KIND).fullmatch


def complete_event(event: Mapping[str, Any], zone: tzinfo | None) -> dict[str, Any]:
    """Return an event with id and timestamp, the four named fields first; any kind is good, and any further field.

    A new timestamp is naive local time in `zone` (None: the host's), as agent-server writes it.

    Raises:
        InvalidEvent: id, timestamp, source, kind or parent_id has a value that agent-server would not read.
    """
    given = dict(event)
    event_id = given.pop("id", None)
    timestamp = given.pop("timestamp", None)
    event_id = str(uuid4()) if event_id is None else event_id
    timestamp = datetime.now(zone).replace(tzinfo=None).isoformat() if timestamp is None else timestamp
    if not isinstance(event_id, str) or not _match_id(event_id):
        raise InvalidEvent(f"event id {_shown(event_id)} is none; it has 8 to 64 hexadecimal digits or dashes")
    if find_time_us(timestamp, zone) is None:
        raise InvalidEvent(f"event {event_id}: timestamp {_shown(timestamp)} is no ISO 8601 time")
    if given.get("source") not in SOURCES:
        raise InvalidEvent(f"event {event_id}: source {_shown(given.get('source'))} is none of {', '.join(SOURCES)}")
    if not isinstance(given.get("kind"), str) or not _match_kind(given["kind"]):
        raise InvalidEvent(f"event {event_id}: kind {_shown(given.get('kind'))} is no class name")
    parent = given.pop("parent_id", None)
    if parent is not None and (not isinstance(parent, str) or parent == event_id):
        raise InvalidEvent(f"event {event_id}: parent_id {_shown(parent)} is no other event's id")
    first = {"id": event_id, "timestamp": timestamp, "source": given.pop("source")}
    return first | ({} if parent is None else {"parent_id": parent}) | given


def moves_head(event: Mapping[str, Any]) -> bool:
    """Whether an event becomes the HEAD; a ConversationStateUpdateEvent is no node of the tree.

    Source: openhands-sdk 1.58, conversation/state.py, `append_event`.
    """
    return event.get("kind") != STATE_UPDATE


def is_node(event: Mapping[str, Any]) -> bool:
    """Whether an event can be the HEAD that an old log, which names none, has."""
    return event.get("kind") not in (STATE_UPDATE, CONVERSATION_ERROR)


def dump_event(event: Mapping[str, Any]) -> bytes:
    """Return the bytes of an event's file.

    Raises:
        InvalidEvent: it holds something that JSON cannot.
    """
    try:
        return orjson.dumps(event)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise InvalidEvent(f"event {event.get('id')} cannot be written as JSON: {error}") from error


def check_title(title: object) -> str:
    """Return a title that agent-server accepts: 1 to 200 characters, not blank, no half of a surrogate pair.

    Raises:
        InvalidConversation: it is another.
    """
    if not isinstance(title, str):
        raise InvalidConversation(f"a title is a text; this one is {_shown(title)}")
    if not title.strip() or len(title) > TITLE_MAX:
        raise InvalidConversation(
            f"a title has 1 to {TITLE_MAX} characters and is not blank; this one has {len(title)}"
        )
    if not _is_unicode(title):
        raise InvalidConversation(f"the title {_shown(title)} cannot be written as UTF-8")
    return title.strip()


def check_tags(tags: object) -> dict[str, str]:
    """Return tags that agent-server accepts.

    Raises:
        InvalidConversation: they are no object, or a key or a value is another.
    """
    if not isinstance(tags, Mapping):
        raise InvalidConversation(f"tags {_shown(tags)} are no object of keys and values")
    for key, value in tags.items():
        if not match_tag_key(key):
            raise InvalidConversation(f"tag key {_shown(key)} may have lower-case letters and digits only")
        if not isinstance(value, str):
            raise InvalidConversation(f"the value of tag {key!r} is no text: {_shown(value)}")
        if not _is_unicode(value):
            raise InvalidConversation(f"the value of tag {key!r} cannot be written as UTF-8: {_shown(value)}")
        if len(value) > TAG_VALUE_MAX:
            raise InvalidConversation(f"the value of tag {key!r} has more than {TAG_VALUE_MAX} characters")
    return dict(tags)


def find_tags(files: ConversationFiles) -> dict[str, str]:
    """Return the tags of a conversation as they stand in its files."""
    for fields in (files.state, files.meta):
        tags = (fields or {}).get("tags")
        if isinstance(tags, dict):
            return {key: value for key, value in tags.items() if isinstance(value, str)}
    return {}


def check_message(message: object) -> tuple[str, list[dict[str, Any]]]:
    """Return role and content of a SendMessageRequest as agent-server accepts it.

    Raises:
        InvalidConversation: it is another.
    """
    given = message if isinstance(message, dict) else {}
    role, content = given.get("role", "user"), given.get("content", [])
    if message is not given or role not in ROLES or not isinstance(content, list):
        raise InvalidConversation(f"the message {_shown(message)} has no role of {', '.join(ROLES)}, or no content")
    if not all(_is_content(part) for part in content):
        raise InvalidConversation(f"the content {_shown(content)} of the message is no list of texts and images")
    return role, content


def _is_content(part: object) -> bool:
    if not isinstance(part, dict):
        return False
    kind, urls = part.get("type", "text" if "text" in part else "image"), part.get("image_urls")
    if kind == "text":
        return isinstance(part.get("text"), str)
    return kind == "image" and isinstance(urls, list) and all(isinstance(url, str) for url in urls)


def make_message(role: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a MessageEvent with what a client sent, as agent-server writes it."""
    return {
        "source": _SOURCE_OF.get(role, "environment"),
        "llm_message": {"role": role, "content": content, "thinking_blocks": []},
        "activated_skills": [],
        "extended_content": [],
        "kind": "MessageEvent",
    }


def _is_unicode(text: str) -> bool:
    """Whether a text has no half of a surrogate pair, which JSON may spell and UTF-8 cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: object) -> str:
    return repr(value)[:80]


_RESULTS = frozenset({"ObservationEvent", "UserRejectObservation", "AgentErrorEvent"})


def find_unfinished_action(events: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the first action of a log that has no result, or None.

    A rejection or observation is matched by the action's id or its tool call's, an error by the tool call's alone.
    Source: openhands-sdk 1.58, conversation/state.py, `get_unmatched_actions`, and event_service.py.
    """
    actions: list[Mapping[str, Any]] = []
    done: set[object] = set()
    for event in events:
        if event.get("kind") == "ActionEvent" and event.get("action") is not None:
            actions.append(event)
        elif event.get("kind") in _RESULTS:
            done |= {event.get("tool_call_id"), event.get("action_id")}
    return next((one for one in actions if one.get("id") not in done and one.get("tool_call_id") not in done), None)


def interrupted_error(action: Mapping[str, Any]) -> dict[str, Any]:
    """Return the AgentErrorEvent that stands for the result of an action which a crash cut off."""
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
