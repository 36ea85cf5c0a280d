"""An event as a person reads it in a terminal: who, when, and what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.text import Text

from app.cli.output import printable
from app.model import transcript

_STYLES = {"user": "bold cyan", "agent": "bold green", "environment": "bold yellow", "error": "bold red"}


def render_event(event: dict[str, Any], most_lines: int | None) -> Iterator[Text]:
    """Give the lines of an event: a heading, then its text cut to `most_lines` (None: whole)."""
    source = str(event.get("source") or "?")
    failed = str(event.get("kind")).endswith("ErrorEvent")
    style = _STYLES["error" if failed else source] if source in _STYLES else "bold"
    heading = Text(printable(transcript.who(event)), style=style)
    heading.append(f"  {printable(str(event.get('timestamp') or ''))[:19]}", style="dim")
    yield heading
    texts = (printable(text, lines=True) for text in transcript.texts(event))
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    shown = lines if most_lines is None else lines[:most_lines]
    for line in shown:
        yield Text(f"  {line}")
    if len(shown) < len(lines):
        yield Text(f"  … {len(lines) - len(shown)} more lines (--full shows them)", style="dim")
