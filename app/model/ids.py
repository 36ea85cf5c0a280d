"""Conversation ids and the names of event files.

An id is 32 hexadecimal digits in directory names and meta.json, and has dashes in the API and in base_state.json. In
this package an id is always 32 lower-case digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple, NewType

from ..errors import InvalidId

ConversationId = NewType("ConversationId", str)
"""32 lower-case hexadecimal digits."""

SUBAGENTS = "subagents"
"""The directory below a conversation that holds the conversations of its sub-agents."""

SEQ_MAX = 10**18 - 1
"""The largest event number that a file name can contain."""

_PLAIN = re.compile(r"[0-9a-f]{32}")
_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_EVENT_NAME = r"event-([0-9]{5}|[1-9][0-9]{5,17})-([0-9a-fA-F-]{8,})\.json"
_match_event_name = re.compile(_EVENT_NAME).fullmatch
_find_event_names = re.compile(rf"(?<![^\0]){_EVENT_NAME}(?![^\0])").findall


class EventName(NamedTuple):
    """The parts of an event file's name: the event's number in the log and its id."""

    seq: int
    event_id: str


def find_conversation_id(text: str) -> ConversationId | None:
    """Return the id that `text` spells, with or without dashes, or None.

    Returns `text` itself if it is already an id.
    """
    if _PLAIN.fullmatch(text):
        return ConversationId(text)
    return ConversationId(text.replace("-", "").lower()) if _ID.fullmatch(text) else None


def strip_pasted(text: str) -> str:
    """Return a pasted id, or the beginning of one, without the characters that are often around it.

    These are white space, quotes, braces, angle brackets, `urn:uuid:`, and the slash at the end of a directory's name.
    """
    bare = text.strip()
    for opening, closing in (("{", "}"), ("<", ">"), ('"', '"'), ("'", "'")):
        if bare.startswith(opening) and bare.endswith(closing):
            bare = bare[1:-1].strip()
    return bare.removeprefix("urn:uuid:").removesuffix("/")


def parse_conversation_id(text: str, *, exact: bool = False) -> ConversationId:
    """Return the id that a user wrote or pasted. If `exact` is set, nothing may be around it.

    Raises:
        InvalidId: `text` does not spell an id.
    """
    found = find_conversation_id(text if exact else strip_pasted(text))
    if found is None:
        raise InvalidId(
            f"{text[:64]!r} is not a conversation id; an id has 32 hexadecimal digits, with or without dashes"
        )
    return found


def find_parent_in_path(directory: str) -> ConversationId | None:
    """Return the id of the parent from the path of a sub-agent's directory, or None for other directories."""
    above, separator, _ = directory.rpartition(f"/{SUBAGENTS}/")
    return find_conversation_id(above.rpartition("/")[2]) if separator else None


def dashed(conversation_id: str) -> str:
    """Return the id as the API writes it, e.g. 45685019-b9b6-446b-bd2d-1e96d93e73eb."""
    i = conversation_id
    return f"{i[:8]}-{i[8:12]}-{i[12:16]}-{i[16:20]}-{i[20:]}"


def find_event_name(file_name: str) -> EventName | None:
    """Return the parts of an event file's name, or None if the name is not an event file's.

    The number has five digits, and more only above 99999. agent-server looks for exactly this form (openhands-sdk 1.58,
    conversation/persistence_const.py).
    """
    match = _match_event_name(file_name)
    return EventName(int(match[1]), match[2]) if match else None


def sort_event_names(file_names: Iterable[str]) -> list[EventName]:
    """Return the parts of those names that are event files', in log order. Faster than `find_event_name` for each."""
    found = _find_event_names("\0".join(file_names))  # no name of a file has a NUL
    return list(map(EventName._make, sorted([(int(seq), event_id) for seq, event_id in found])))


def event_file_name(name: EventName) -> str:
    """Return the file name of an event; the inverse of `find_event_name`."""
    return "event-%05d-%s.json" % name  # noqa: UP031 - a page has a hundred, and a format takes twice as long
