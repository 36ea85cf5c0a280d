"""Removing secrets from a conversation's files for exports.

meta.json and base_state.json are masked like API answers (`app.model.secrets`). In an event, which records what was
said and done, a value is masked if its name is a credential's or if it is encrypted, as in agent-server's own download
(openhands-agent-server 1.58, _secret_redaction.py). A state update event is masked like the state. A backup copy
(`base_state.json.bak`) is masked like its original. A file without secrets keeps its bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from ..errors import UnreadableFile
from .event import STATE_UPDATE
from .secrets import mask_credentials, mask_shown

META_FIELDS_OPEN = ("title", "tags", "initial_message", "prompt")
STATE_FIELDS_OPEN = ("tags", "stats")

_WHOLE = {"meta.json": META_FIELDS_OPEN, "base_state.json": STATE_FIELDS_OPEN}
_TRACES = (b"api_key", b"aws_", b"gAAAA", STATE_UPDATE.encode(), b"\\u00")
"""A file with a secret contains at least one of these; the last one is for names written with escapes."""


def redact_file(name: str, raw: bytes) -> bytes:
    """Return a file's bytes with secrets masked. Returns the same object if there are none.

    Raises:
        UnreadableFile: the file is damaged, so that secrets cannot be found.
    """
    if not raw:
        return raw
    base = name.rsplit("/", 1)[-1].lower()
    for whole, left_open in _WHOLE.items():
        if whole in base:
            return _masked(raw, partial(_mask_fields, left_open=left_open))
    for trace in _TRACES:
        if trace in raw:
            break
    else:
        return raw
    if ".jsonl" in base:
        return b"".join(_masked(line, _mask_event) if line.strip() else line for line in raw.splitlines(keepends=True))
    if ".json" in base:
        return _masked(raw, _mask_event)
    return raw


def _masked(raw: bytes, mask: Callable[[Any], object]) -> bytes:
    try:
        if orjson.loads(raw) == mask(orjson.loads(raw)):
            return raw
        ending = raw[len(raw.rstrip()) :]
        return json.dumps(mask(json.loads(raw)), ensure_ascii=False, separators=(",", ":")).encode() + ending
    except (ValueError, RecursionError) as error:
        raise UnreadableFile("it is damaged, so that secrets in it cannot be found") from error


def _mask_fields(value: Any, left_open: tuple[str, ...]) -> object:  # noqa: ANN401
    if not isinstance(value, dict):
        return mask_shown(value)
    kept = {name: value[name] for name in left_open if name in value}
    value.update(dict.fromkeys(kept))
    masked = mask_shown(value)
    value.update(kept)
    return masked


def _mask_event(value: Any) -> object:  # noqa: ANN401
    if isinstance(value, dict) and value.get("kind") == STATE_UPDATE and isinstance(value.get("key"), str):
        name = value["key"]
        state = {name: value.get("value")} if name != "full_state" else value.get("value")
        masked = _mask_fields(state, (*STATE_FIELDS_OPEN, *META_FIELDS_OPEN))
        value["value"] = masked[name] if name != "full_state" and isinstance(masked, dict) else masked
        return value
    return mask_credentials(value)
