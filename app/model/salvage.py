"""Rebuilding a missing or torn meta.json or base_state.json from its complete fields and from the log.

A lost field gets agent-server's default. A lost agent becomes a stub, which a user must replace before the next run.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import UnreadableFile
from .event import STATE_UPDATE, parse_json_object
from .filters import Status
from .ids import ConversationId, find_conversation_id
from .info import STUB_AGENT, STUB_WORKSPACE
from .new_conversation import compose_new, mask_all

_FULL_STATE = "full_state"
_STATUSES = frozenset(status.value for status in Status)
_skip = re.compile(r"[ \t\r\n]*").match


def find_whole(raw: bytes) -> bytes | None:
    """Return the complete JSON object in a file that is no JSON only for what is around the object; else None.

    Around it are a byte order mark and NULs, or whatever follows it. An object in UTF-16 is returned in UTF-8.
    """
    try:
        text = _decode(raw, "strict")
        whole = text[: json.JSONDecoder().raw_decode(text)[1]].encode()
        parse_json_object(whole)
    except (ValueError, RecursionError, UnreadableFile):
        return None
    return whole


def _decode(raw: bytes, errors: str) -> str:
    """Return the text of a file without the byte order mark and NULs at its beginning."""
    encoding = "utf-16" if raw.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"
    return raw.decode(encoding, errors).lstrip("\0 \t\r\n")


def salvage(raw: bytes) -> dict[str, Any]:
    """Return the complete members at the beginning of a torn JSON object, which a byte order mark may precede.

    Uses Python's decoder, because `json_splice` needs a complete object.
    """
    text = _decode(raw, "replace")
    decode = json.JSONDecoder().raw_decode
    found: dict[str, Any] = {}
    at = _after(text, 0, "{")
    try:
        while at:
            key, end = decode(text, _space(text, at))
            value, end = decode(text, _space(text, _after(text, end, ":")))
            at = _after(text, end, ",")
            is_cut = type(value) in (int, float) and not (at or _after(text, end, "}"))
            if not isinstance(key, str) or is_cut:
                break
            found[key] = value
    except (ValueError, RecursionError):
        pass
    return found


def _space(text: str, at: int) -> int:
    match = _skip(text, at)
    return match.end() if match else at


def _after(text: str, at: int, sign: str) -> int:
    """Return the offset after `sign` if it follows at `at` (white space may precede it), otherwise 0."""
    place = _space(text, at)
    return place + 1 if text.startswith(sign, place) else 0


def is_same_id(value: Mapping[str, Any], conversation_id: ConversationId) -> bool:
    """Whether a file's `id` is missing or equals the conversation's id."""
    named = value.get("id", conversation_id)
    return isinstance(named, str) and find_conversation_id(named) == conversation_id


def replay_state(events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the fields of base_state.json that the ConversationStateUpdateEvents of a log set."""
    state: dict[str, Any] = {}
    for event in events:
        if event.get("kind") != STATE_UPDATE:
            continue
        key, value = event.get("key"), event.get("value")
        if key == _FULL_STATE and isinstance(value, dict):
            state |= value
        elif isinstance(key, str) and key:
            state[key] = value
    return state


def rebuild_state(
    conversation_id: ConversationId, *, salvaged: dict[str, Any], logged: dict[str, Any], meta: dict[str, Any]
) -> dict[str, Any]:
    """Return a base_state.json. Each field is salvaged, else from the log, else from meta.json, else a default.

    Status `running` becomes `error`, as after any crash.
    """
    workspace = meta.get("workspace")
    request = {"agent": STUB_AGENT, "workspace": workspace if _has_directory(workspace) else STUB_WORKSPACE}
    default = compose_new(request, conversation_id, 0, mask_all)[1]
    shared = {name: meta[name] for name in default if meta.get(name) is not None and name not in ("id", "workspace")}
    state = default | shared
    for found in (logged, salvaged):
        state |= {name: value for name, value in found.items() if isinstance(value, _types_of(state.get(name)))}
    if not isinstance(state["agent"].get("kind"), str):
        state["agent"] = dict(STUB_AGENT)
    if state["execution_status"] not in _STATUSES or state["execution_status"] == Status.RUNNING:
        state["execution_status"] = Status.ERROR.value
    return state | {"id": default["id"]}


def _types_of(value: object) -> type:
    """Return the type that a salvaged field must have to replace `value`. None says nothing about it."""
    return object if value is None else type(value)


def _has_directory(workspace: object) -> bool:
    return isinstance(workspace, dict) and isinstance(workspace.get("working_dir"), str)
