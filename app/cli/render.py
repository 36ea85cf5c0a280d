"""An event as a person reads it in a terminal: who, when, and what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from rich.text import Text

from app.cli.output import printable
from app.model.event import content_texts

_STYLES = {"user": "bold cyan", "agent": "bold green", "environment": "bold yellow", "error": "bold red"}
_FIELD_MAX = 2000


def render_event(event: dict[str, Any], most_lines: int | None) -> Iterator[Text]:
    """Give the lines of an event: a heading, then its text cut to `most_lines` (None: whole)."""
    source = str(event.get("source") or "?")
    kind = str(event.get("kind") or "?")
    style = _STYLES["error" if kind.endswith("ErrorEvent") else source] if source in _STYLES else "bold"
    heading = Text(printable(_who(event, source, kind)), style=style)
    heading.append(f"  {printable(str(event.get('timestamp') or ''))[:19]}", style="dim")
    yield heading
    lines = [line for text in _texts(event, kind) for line in printable(text, lines=True).splitlines() if line.strip()]
    shown = lines if most_lines is None else lines[:most_lines]
    for line in shown:
        yield Text(f"  {line}")
    if len(shown) < len(lines):
        yield Text(f"  … {len(lines) - len(shown)} more lines (--full shows them)", style="dim")


def _who(event: dict[str, Any], source: str, kind: str) -> str:
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


def _texts(event: dict[str, Any], kind: str) -> Iterator[str]:
    match kind:
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
    """Give an object's fields, one a line, without those that only agent-server needs."""
    for name, item in value.items() if isinstance(value, dict) else ():
        if name in ("kind", "id", "timestamp", "source", "parent_id") or item in (None, False, "", [], {}):
            continue
        text = item if isinstance(item, str) else orjson.dumps(item).decode()
        yield f"{name}: {text[:_FIELD_MAX]}"
