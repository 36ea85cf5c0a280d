"""A conversation as Markdown, for people: headings for who spoke, their words as they are, the rest in fences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from app.model import narration
from app.model.event import STATE_UPDATE
from app.model.ids import dashed

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|])")
_TICKS = re.compile(r"`+")
_LINES_MAX = 200


def heading(conversation_id: str, meta: dict[str, Any], state: dict[str, Any]) -> Iterator[str]:
    """Give the text that begins a conversation: its title and what is known of it."""
    title = meta.get("title")
    yield f"# {_inline(title if isinstance(title, str) and title.strip() else '(no title)')}\n\n"
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


def event_text(event: dict[str, Any]) -> Iterator[str]:
    """Give the text of an event; nothing for agent-server's own bookkeeping."""
    if event.get("kind") == STATE_UPDATE:
        return
    yield f"\n## {_inline(narration.who(event))}\n\n"
    timestamp = event.get("timestamp")
    if isinstance(timestamp, str):
        yield f"*{_inline(timestamp[:19])}*\n\n"
    speech = event.get("kind") == "MessageEvent"
    for text in filter(str.strip, narration.texts(event)):
        yield f"{text.rstrip()}\n\n" if speech else _fenced(text)


def problem_text(name: str, reason: str) -> str:
    """Return what stands in the place of a file that cannot be shown."""
    return f"\n> {_inline(name)} is left out: {_inline(reason)}\n"


def _inline(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _fenced(text: str) -> str:
    """Return text in a fence that is longer than any in it, cut to a number of lines."""
    lines = text.rstrip().splitlines()
    if len(lines) > _LINES_MAX:
        lines = [*lines[:_LINES_MAX], f"… {len(lines) - _LINES_MAX} more lines"]
    longest = max((len(ticks) for ticks in _TICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([fence, *lines, fence, "", ""])
