"""The JSON Lines format of conversations.

    {"convstore":"conversation","version":1,"id":"45685019-..."}
    {"convstore":"file","name":"meta.json","json":{...}}   a file; "text" or "base64" where JSON would change its bytes
    {...}                                                  an event's file as it is; the next event of the log
    {"convstore":"file","name":"events/event-....json",...}   an event that is damaged or out of order
    {"convstore":"end","id":"45685019-...","lines":9,"sha256":"..."}   count and hash of all lines before this one

JSON inside a line has exactly the bytes of the file, so an import writes the same file.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import orjson

from .archive_format import ArchiveFile
from .ids import EventName, dashed, event_file_name, find_event_name

VERSION = 1
MARK = "convstore"
EVENTS_PREFIX = "events/"

_NESTED_SAFELY = 500
"""Other tools read the lines with Python's own parser, which allows less nesting than orjson, but always this much."""


def conversation_line(conversation_id: str) -> bytes:
    """Return the first line of a conversation."""
    return orjson.dumps({MARK: "conversation", "version": VERSION, "id": dashed(conversation_id)}) + b"\n"


def end_line(conversation_id: str, lines: int, sha256: str) -> bytes:
    """Return the last line of a conversation; `lines` and `sha256` describe the lines before it."""
    return orjson.dumps({MARK: "end", "id": dashed(conversation_id), "lines": lines, "sha256": sha256}) + b"\n"


def find_event(name: str) -> EventName | None:
    """Return the parts of an event file's name, or None if the path is not an event's."""
    return find_event_name(name.removeprefix(EVENTS_PREFIX)) if name.startswith(EVENTS_PREFIX) else None


def event_path(name: EventName) -> str:
    """Return an event file's path relative to its conversation's directory."""
    return EVENTS_PREFIX + event_file_name(name)


def file_line(file: ArchiveFile, next_seq: int) -> bytes:
    """Return the line of a file: the bare event if it has number `next_seq`, otherwise an object with the name."""
    value = _find_one_line(file.raw)
    event = find_event(file.name)
    if value is not None and event == (next_seq, value.get("id")) and MARK not in value:
        return file.raw + b"\n"
    head = orjson.dumps({MARK: "file", "name": file.name})[:-1]
    if value is not None:
        return b'%b,"json":%b}\n' % (head, file.raw)
    try:
        return b'%b,"text":%b}\n' % (head, orjson.dumps(file.raw.decode()))
    except (UnicodeDecodeError, orjson.JSONEncodeError):
        return b'%b,"base64":"%b"}\n' % (head, b64encode(file.raw))


def _find_one_line(raw: bytes) -> dict[str, Any] | None:
    """Return the JSON object in `raw` if it can be written as a line and read back unchanged, otherwise None."""
    if not raw.startswith(b"{") or not raw.endswith(b"}") or b"\n" in raw:
        return None
    try:
        value = orjson.loads(raw)
        if raw.count(b"{") + raw.count(b"[") > _NESTED_SAFELY:
            json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
