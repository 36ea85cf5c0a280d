"""The searchable text of an event.

It has what people and agents said: messages, reasoning, thoughts, final answers, errors and summaries. The input and
output of tools is included only on request. Secrets are masked as in every answer, and the length is limited.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any
from unicodedata import normalize

from ..secrets import MASK, mask_credentials, mask_text

SAID_VERSION = 1
"""Increased when `searchable_text` changes. An index with another version is filled again."""

SAID_MAX = 32_768
"""The maximum length of one event's text, in characters."""

PREVIEW_MAX = 200
"""The most characters of a preview."""

_THINKS = ("ThinkAction",)
_ENDS = ("FinishAction",)
_PLAIN = ("error", "detail", "summary", "rejection_reason")
_OF_TOOLS = {
    "ACPToolCallEvent": ("title", "raw_input", "raw_output", "content"),  # diffs of files stand in `content`
    "HookExecutionEvent": ("hook_command", "stdout", "stderr", "reason", "additional_context", "hook_input"),
}
_NOT_SAID = frozenset({"kind", "id", "timestamp", "source", "parent_id"})


def searchable_text(event: dict[str, Any], *, tools: bool = False) -> str:
    """Return the searchable text of an event, or "". With `tools`, include the tools' input and output.

    The fields are those of openhands-sdk 1.58's events; for unknown kinds, the fields that contain errors.
    """
    texts = (text.strip() for text in _texts(event, tools=tools))
    joined = "\n".join(text for text in texts if text and text != MASK)[:SAID_MAX].replace("\0", " ")
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


def searchable_title(title: str) -> str:
    """Return the searchable text of a conversation's title."""
    return mask_text(normalize("NFC", title.replace("\0", " "))).strip()


def _texts(event: dict[str, Any], *, tools: bool) -> Iterator[str]:
    match event.get("kind"):
        case "MessageEvent":
            message = event.get("llm_message")
            if isinstance(message, dict):
                yield from _content(message.get("content"))
                yield from _strings(message.get("reasoning_content"))
            yield from _content(event.get("extended_content"))
        case "ActionEvent":
            yield from _content(event.get("thought"))
            yield from _strings(event.get("reasoning_content"))
            yield from _action(event.get("action"), tools=tools)
        case "ObservationEvent":
            observation = event.get("observation")
            if tools and isinstance(observation, dict):
                yield from _content(observation.get("content"))
        case "ConversationStateUpdateEvent" | "SystemPromptEvent":
            return
        case _:
            for name in _PLAIN:
                yield from _strings(event.get(name))
            yield from _fields(event, _OF_TOOLS.get(str(event.get("kind")), ()) if tools else ())


def _fields(event: dict[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    """Yield the strings in some fields, with credentials masked."""
    for name in names:
        yield from _strings(mask_credentials(deepcopy(event.get(name))))


def _action(action: object, *, tools: bool) -> Iterator[str]:
    if not isinstance(action, dict):
        return
    if action.get("kind") in _ENDS:
        yield from _strings(action.get("message"))
    elif action.get("kind") in _THINKS:
        yield from _strings(action.get("thought"))
    elif tools:
        yield from _strings(mask_credentials({name: item for name, item in action.items() if name not in _NOT_SAID}))


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
