"""Conversations as JSON Lines: what the lines mean, and how they are written.

    {"convstore":"conversation","version":1,"id":"45685019-..."}
    {"convstore":"file","name":"meta.json","json":{...}}   a file; "text" or "base64" where JSON would change it
    {...}                                                  an event, as its file has it; the next of the log
    {"convstore":"file","name":"events/event-....json",...}   an event that is damaged, or not the next of the log
    {"convstore":"end","id":"45685019-...","lines":9,"sha256":"..."}   of the lines before, from the first one

What a line holds as JSON is the bytes of the file, so that writing it back gives the same file.
"""

from __future__ import annotations

import json
from base64 import b64encode

import orjson

from app.model.archive_format import ArchiveFile
from app.model.ids import EventName, dashed, event_file_name, find_event_name

VERSION = 1
MARK = "convstore"
EVENTS_PREFIX = "events/"


def conversation_line(conversation_id: str) -> bytes:
    """Return the line that begins a conversation."""
    return orjson.dumps({MARK: "conversation", "version": VERSION, "id": dashed(conversation_id)}) + b"\n"


def end_line(conversation_id: str, lines: int, sha256: str) -> bytes:
    """Return the line that ends a conversation; `lines` and `sha256` are of those before it."""
    return orjson.dumps({MARK: "end", "id": dashed(conversation_id), "lines": lines, "sha256": sha256}) + b"\n"


def find_event(name: str) -> EventName | None:
    """Return the parts of an event file's name, or None when the path is another file's."""
    return find_event_name(name.removeprefix(EVENTS_PREFIX)) if name.startswith(EVENTS_PREFIX) else None


def event_path(name: EventName) -> str:
    """Return the path of an event's file in its conversation's directory."""
    return EVENTS_PREFIX + event_file_name(name)


def file_line(file: ArchiveFile, next_seq: int) -> bytes:
    """Return the line of a file; bare when it is the event that is `next_seq` in the log."""
    inline = _is_one_line(file.raw)
    event = find_event(file.name)
    if inline and event is not None and event.seq == next_seq and _speaks_for_itself(file.raw, event.event_id):
        return file.raw + b"\n"
    head = orjson.dumps({MARK: "file", "name": file.name})[:-1]
    if inline:
        return b'%b,"json":%b}\n' % (head, file.raw)
    try:
        return b'%b,"text":%b}\n' % (head, orjson.dumps(file.raw.decode()))
    except (UnicodeDecodeError, orjson.JSONEncodeError):
        return b'%b,"base64":"%b"}\n' % (head, b64encode(file.raw))


def _is_one_line(raw: bytes) -> bool:
    """Whether `raw` is a JSON object that can stand in a line as it is and be taken out again."""
    if not raw.startswith(b"{") or not raw.endswith(b"}") or b"\n" in raw:
        return False
    try:
        json.loads(raw)  # Python's own parser allows less depth, and it reads the lines in other tools
        orjson.loads(raw)
    except (ValueError, RecursionError):
        return False
    return True


def _speaks_for_itself(raw: bytes, event_id: str) -> bool:
    event = orjson.loads(raw)
    return event.get("id") == event_id and MARK not in event
