"""Events as people read them, and a conversation as Markdown.

In Markdown, headings name the speakers; their words are plain text, and everything else is in fences.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson

from .event import STATE_UPDATE, content_texts
from .ids import dashed

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|])")
_TICKS = re.compile(r"`+")
_LINE_END = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
"""What ends a line for `str.splitlines`, which would make a million lines of a large text."""
_SPLIT_MAX = 100_000
_LINES_MAX = 200


def heading(conversation_id: str, meta: dict[str, Any], state: dict[str, Any], preview: str = "") -> Iterator[str]:
    """Yield the head of a conversation's text: its title, or else its preview, and metadata."""
    yield f"# {_inline(name_conversation(find_title(meta), preview))}\n\n"
    agent = state.get("agent")
    llm = agent.get("llm") if isinstance(agent, dict) else None
    workspace = state.get("workspace")
    tags = state.get("tags") or meta.get("tags")
    facts = {
        "id": dashed(conversation_id),
        "status": state.get("execution_status"),
        "created": meta.get("created_at"),
        "updated": meta.get("updated_at"),
        "workspace": workspace.get("working_dir") if isinstance(workspace, dict) else None,
        "model": llm.get("model") if isinstance(llm, dict) else None,
        "tags": ", ".join(f"{key}: {value}" for key, value in tags.items()) if isinstance(tags, dict) else None,
    }
    for name, value in facts.items():
        if value:
            yield f"- {name}: {_inline(str(value))}\n"


def find_title(meta: dict[str, Any]) -> str | None:
    """Return the title in a meta.json, or None if it has none or a blank one."""
    title = meta.get("title")
    return title if isinstance(title, str) and title.strip() else None


def name_conversation(title: str | None, preview: str | None) -> str:
    """Return the line by which a person tells a conversation from others: its title, or else its preview."""
    return next((text for text in (title, preview) if text and text.strip()), "(no title)")


def event_text(event: dict[str, Any]) -> Iterator[str]:
    """Yield the text of an event. agent-server's bookkeeping events yield nothing."""
    if event.get("kind") == STATE_UPDATE:
        return
    yield f"\n## {_inline(who(event))}\n\n"
    timestamp = event.get("timestamp")
    if isinstance(timestamp, str):
        yield f"*{_inline(timestamp[:19])}*\n\n"
    speech = event.get("kind") == "MessageEvent"
    for text in filter(str.strip, texts(event)):
        yield f"{text.rstrip()}\n\n" if speech else _fenced(text)


def problem_text(name: str, reason: str) -> str:
    """Return the text that replaces a file which cannot be shown."""
    return f"\n> {_inline(name)} is left out: {_inline(reason)}\n"


def _inline(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _fenced(text: str) -> str:
    """Return text in a fence that is longer than any fence inside it. Only the first lines are kept."""
    lines, more = _first_lines(text.rstrip())
    if more:
        lines.append(f"… {more} more lines")
    kept = "\n".join(lines)
    longest = max(map(len, _TICKS.findall(kept)), default=0) if "`" in kept else 0
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{kept}\n{fence}\n\n"


def _first_lines(text: str) -> tuple[list[str], int]:
    """Return the first lines, and the number of the others."""
    cut = next(islice(_LINE_END.finditer(text), _LINES_MAX - 1, None), None) if len(text) > _SPLIT_MAX else None
    if cut is not None:
        return text[: cut.start()].splitlines(), text.count("\n", cut.end()) + 1
    lines = text.splitlines()
    return lines[:_LINES_MAX], max(len(lines) - _LINES_MAX, 0)


_FIELD_MAX = 2000


def who(event: dict[str, Any]) -> str:
    """Return who speaks or acts, e.g. "agent uses terminal"."""
    source = str(event.get("source") or "?")
    kind = str(event.get("kind") or "?")
    tool = event.get("tool_name")
    match kind:
        case "MessageEvent":
            return source
        case "ActionEvent":
            return f"{source} uses {tool}"
        case "ObservationEvent":
            return f"{tool} answers"
        case _:
            return f"{source} {kind}"


def texts(event: dict[str, Any]) -> Iterator[str]:
    """Yield the texts of an event; each has one or more lines."""
    match event.get("kind"):
        case "MessageEvent":
            message = event.get("llm_message")
            yield from content_texts(message.get("content") if isinstance(message, dict) else None)
            yield from content_texts(event.get("extended_content"))
        case "ActionEvent":
            yield from content_texts(event.get("thought"))
            yield from _fields(event.get("action"))
        case "ObservationEvent":
            yield from _observation(event.get("observation"))
        case "SystemPromptEvent":
            tools = event.get("tools")
            yield f"system prompt, {len(tools) if isinstance(tools, list) else 0} tools"
        case "ConversationStateUpdateEvent":
            yield f"key: {event.get('key')}"
        case _:
            said = [event[name] for name in ("error", "detail", "summary") if isinstance(event.get(name), str)]
            yield from said or _fields(event)


def _observation(observation: object) -> Iterator[str]:
    if not isinstance(observation, dict):
        return
    yield from content_texts(observation.get("content"))
    if observation.get("is_error"):
        yield "(error)"
    if isinstance(observation.get("exit_code"), int):
        yield f"(exit code {observation['exit_code']})"


def _fields(value: object) -> Iterator[str]:
    """Yield an object's fields, one per line, except those that only agent-server needs."""
    for name, item in value.items() if isinstance(value, dict) else ():
        if name in ("kind", "id", "timestamp", "source", "parent_id") or item in (None, False, "", [], {}):
            continue
        text = item if isinstance(item, str) else orjson.dumps(item).decode()
        yield f"{name}: {text[:_FIELD_MAX]}"
