"""A plain scan: what was said, read from the files as grep would, without the code that is tested."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

Place = tuple[str, int]
"""A conversation's id and the number of an event in it; -1 for its title."""

Matches = Callable[[str], bool]


def scan(root: Path) -> dict[Place, str]:
    """Return everything that was said in a store, titles too."""
    said = {}
    for directory in sorted(one for one in root.iterdir() if not one.name.startswith(".")):
        uuid = directory.name.replace("-", "")
        if (directory / "meta.json").exists():
            said[uuid, -1] = json.loads((directory / "meta.json").read_text())["title"] or ""
        for file in (directory / "events").glob("event-*.json"):
            said[uuid, int(file.name.split("-")[1])] = "\n".join(_said(json.loads(file.read_text())))
    return {place: text for place, text in said.items() if text}


def _said(event: dict[str, Any]) -> list[str]:
    message = event.get("llm_message") or {}
    blocks = [*message.get("content", []), *event.get("thought", [])]
    texts = [block["text"] for block in blocks if "text" in block]
    texts += [message.get("reasoning_content"), event.get("reasoning_content")]
    if event.get("tool_name") == "finish" and "action" in event:
        texts.append(event["action"]["message"])
    return [text for text in (*texts, *(event.get(name) for name in ("error", "detail"))) if text] + (
        [event["summary"]] if event["kind"] == "Condensation" else []
    )


def plain(text: str) -> str:
    """Return a text without case, accents and width."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    bare = re.sub("[\u0300-\u036f]", "", decomposed)
    return unicodedata.normalize("NFC", bare).casefold()


def has(*parts: str) -> Matches:
    """Return whether all of these, which are in plain spelling, stand in a text as words of their own.

    A Chinese or Japanese character is a word, so it ends another.
    """
    return lambda text: all(
        re.search(rf"(?<![^\W_\u3040-\u9fff]){part}(?![^\W_\u3040-\u9fff])", plain(text)) for part in parts
    )


def holds(*parts: str) -> Matches:
    """Return whether all of these stand anywhere in a text."""
    return lambda text: all(plain(part) in plain(text) for part in parts)
