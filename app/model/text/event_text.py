"""The searchable text of an event.

One text has what people and agents said: messages, reasoning, thoughts, final answers, errors and summaries. Another
one has what tools did: commands, paths and errors, or on request all input and output. Secrets are masked as in every
answer, and the length is limited.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from copy import deepcopy
from functools import lru_cache
from typing import Any
from unicodedata import normalize

from ..secrets import MASK, mask_credentials, mask_text

SAID_VERSION = 2
"""Increased when `searchable_text` or `tool_text` changes. An index with another version is filled again."""

SAID_MAX = 32_768
"""The maximum length of one event's text, in characters."""

INPUT_MAX = 1000
"""The maximum length of a command, path or pattern, in characters, unless all input and output is included."""

ERROR_MAX = 1000
"""The maximum length of a tool's error. Of a longer output, the end is kept, where programs write their errors."""

PREVIEW_MAX = 200
"""The most characters of a preview."""

_SPEECH = {"ThinkAction": "thought", "FinishAction": "message"}
"""The actions that only say something, and the field in which they say it."""
_PLAIN = ("error", "detail", "summary", "rejection_reason")
_INPUTS = ("command", "path", "file_path", "url", "pattern", "query")
"""The fields of a tool's input that are short and say what it works on."""
_NO_FAILURE = (None, 0, -1)
"""Exit codes of commands that did not fail, that still run, or whose code is unknown."""
_PATCHED = re.compile(r"^\*\*\* (?:Add|Update|Delete) File: (.+)$", re.MULTILINE)
_OF_TOOLS = {
    "ACPToolCallEvent": ("title", "raw_input", "raw_output", "content"),  # diffs of files stand in `content`
    "HookExecutionEvent": ("hook_command", "stdout", "stderr", "reason", "additional_context", "hook_input"),
}
_NOT_SAID = frozenset({"kind", "id", "timestamp", "source", "parent_id"})


def searchable_text(event: dict[str, Any]) -> str:
    """Return what was said in an event, or "".

    The fields are those of openhands-sdk 1.58's events; for unknown kinds, the fields that contain errors.
    """
    return _join(_said(event))


def tool_text(event: dict[str, Any], *, outputs: bool = False) -> str:
    """Return the searchable text of what a tool did in an event, or "": commands, paths and errors.

    With `outputs`, return all input and output. The fields are those of openhands-sdk 1.58's events.
    """
    return _join(_whole(event) if outputs else _in_short(event))


def _join(texts: Iterable[str]) -> str:
    """Join texts, with secrets masked and the length limited."""
    found = [text for given in texts if (text := given.strip()) and text != MASK]
    if not found:
        return ""
    joined = "\n".join(dict.fromkeys(found))[:SAID_MAX].replace("\0", " ")
    return mask_text(joined if joined.isascii() else normalize("NFC", joined))[:SAID_MAX].strip()


def preview_text(event: dict[str, Any]) -> str:
    """Return the beginning of what a user wrote in an event, on one line, secrets masked; "" if that is nothing."""
    message = event.get("llm_message")
    if event.get("kind") != "MessageEvent" or event.get("source") != "user" or not isinstance(message, dict):
        return ""
    return preview_of("\n".join(_content(message.get("content"))))


def preview_of(text: str) -> str:
    """Return the beginning of a text on one line, secrets masked."""
    line = " ".join(mask_text(text[:SAID_MAX].replace("\0", " "))[:SAID_MAX].split())
    return line if len(line) <= PREVIEW_MAX else line[: PREVIEW_MAX - 1].rstrip() + "…"


@lru_cache(maxsize=256)
def searchable_title(title: str) -> str:
    """Return the searchable text of a conversation's title."""
    return mask_text(normalize("NFC", title.replace("\0", " "))).strip()


def _said(event: dict[str, Any]) -> Iterator[str]:
    match event.get("kind"):
        case "MessageEvent":
            message = event.get("llm_message")
            if isinstance(message, dict):
                yield from _content(message.get("content"))
                yield from _strings(message.get("reasoning_content"))
            yield from _content(event.get("extended_content"))
        case "ActionEvent":
            action = _dict(event.get("action"))
            yield from _content(event.get("thought"))
            yield from _strings(event.get("reasoning_content"))
            yield from _strings(action.get(_SPEECH.get(str(action.get("kind")), "")))
        case "ObservationEvent" | "ConversationStateUpdateEvent" | "SystemPromptEvent":
            return
        case _:
            for name in _PLAIN:
                yield from _strings(event.get(name))


def _whole(event: dict[str, Any]) -> Iterator[str]:
    """Yield all input and output of a tool."""
    match event.get("kind"):
        case "ActionEvent":
            action = _dict(event.get("action"))
            if action.get("kind") not in _SPEECH:
                fields = {name: item for name, item in action.items() if name not in _NOT_SAID}
                yield from _strings(mask_credentials(fields))
        case "ObservationEvent":
            yield from _content(_dict(event.get("observation")).get("content"))
        case kind:
            yield from _fields(event, _OF_TOOLS.get(str(kind), ()))


def _in_short(event: dict[str, Any]) -> Iterator[str]:
    """Yield the commands, paths and errors of a tool."""
    match event.get("kind"):
        case "ActionEvent":
            action = _dict(event.get("action"))
            if action.get("kind") not in _SPEECH:
                yield from _inputs(action)
                yield from _inputs(_dict(action.get("data")))  # of a tool of an MCP server
        case "ObservationEvent":
            observation = _dict(event.get("observation"))
            if observation.get("is_error") or observation.get("exit_code") not in _NO_FAILURE:
                yield "\n".join(_content(observation.get("content")))[-ERROR_MAX:]
        case "ACPToolCallEvent":
            yield from (text[:INPUT_MAX] for text in _strings(event.get("title")))
            yield from _inputs(_dict(event.get("raw_input")))
            if event.get("is_error") or event.get("status") == "failed":
                yield "\n".join([*_fields(event, ("raw_output",)), *_shown(event.get("content"))])[-ERROR_MAX:]
        case "HookExecutionEvent":
            yield from (text[:INPUT_MAX] for text in _fields(event, ("hook_command",)))
            if event.get("blocked") or event.get("success") is False:
                yield "\n".join(_fields(event, ("reason", "stderr")))[-ERROR_MAX:]


def _shown(content: object) -> Iterator[str]:
    """Yield the texts that a call of a tool of an ACP agent showed."""
    for block in content if isinstance(content, list) else ():
        yield from _content([_dict(block).get("content")])


def _inputs(given: dict[str, Any]) -> Iterator[str]:
    """Yield the command, path or pattern in the input of a tool, and the paths in a patch."""
    names = [name for name in _INPUTS if name in given and not (name == "command" and "path" in given)]
    shown = mask_credentials({name: given[name] for name in names})
    yield from (text[:INPUT_MAX] for text in _strings(shown))
    for text in _strings(given.get("patch")):
        yield "\n".join(_PATCHED.findall(text))[:INPUT_MAX]


def _fields(event: dict[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    """Yield the strings in some fields, with credentials masked."""
    for name in names:
        yield from _strings(mask_credentials(deepcopy(event.get(name))))


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _content(blocks: object) -> Iterator[str]:
    """Yield the texts of content blocks. A plain string counts as one block."""
    if isinstance(blocks, str):
        yield blocks
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, dict):
            text = block.get("text")
            yield from (text,) if isinstance(text, str) else _strings(text)


def _strings(value: object) -> Iterator[str]:
    """Yield all strings in a value at any depth. The JSON parser limits the depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
