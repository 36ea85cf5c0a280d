"""Conversations as one HTML file for people to read: no script, no other file, no server."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from importlib import resources
from typing import Any

import orjson

from ..errors import UnreadableFile
from ..files.archive.export_formats import Encoder, Files
from ..files.layout import META, SIDECAR, STATE
from ..model.archive_format import ArchiveFile, ExportFormat, LeftOutFile
from ..model.event import parse_json_object
from ..model.ids import ConversationId, dashed
from ..model.jsonlines import find_event
from ..model.text.event_text import preview_text
from .conversation_view import SECTION, SECTION_MAX_BYTES
from .event_blocks import PAIR_DISTANCE, Block, make_blocks
from .event_bodies import Event, make_body
from .rows import make_row
from .templates import render


def find_encoder(kind: ExportFormat) -> Encoder | None:
    """Return the encoder of a format that needs the templates of the page, or None for the others."""
    return HtmlEncoder() if kind is ExportFormat.HTML else None


class HtmlEncoder:
    """HTML for people to read; it cannot be imported. Several conversations follow one another."""

    def __init__(self) -> None:
        self.left_out: list[tuple[ConversationId, LeftOutFile]] = []
        self._begun = False

    def add(self, conversation_id: ConversationId, files: Files) -> Iterator[bytes]:
        """Yield a conversation. Its events are rendered in sections; one section at a time is in memory."""
        if not self._begun:
            yield _begin(conversation_id)
        written = _Conversation(conversation_id, anchor=f"{conversation_id[:8]}-" if self._begun else "")
        self._begun = True
        for file in files:
            if isinstance(file, LeftOutFile):
                self.left_out.append((conversation_id, file))
            yield from written.add(file)
        yield from written.end()

    def end(self) -> Iterator[bytes]:
        """Yield the end of the document."""
        if not self._begun:
            yield _begin("")
        yield b"</main></body></html>\n"


def _begin(title: str) -> bytes:
    """Return the head of the document. Its policy allows this style and images in the file, and nothing else."""
    style = resources.files(__package__).joinpath("static/app.css").read_text(encoding="utf-8").replace("</", "<\\/")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return render("export.html", {"style": style, "digest": digest, "title": title, "base": ""}).encode()


class _Conversation:
    """A conversation of the document: its heading, and those of its events that are not rendered yet."""

    def __init__(self, conversation_id: ConversationId, anchor: str) -> None:
        self._id = conversation_id
        self._anchor = anchor
        self._top: dict[str, Any] = {}
        self._preview = ""
        self._has_heading = False
        self._earlier: list[Event] = []
        self._waiting: list[tuple[int, Event | LeftOutFile]] = []
        self._size_bytes = 0

    def add(self, file: ArchiveFile | LeftOutFile) -> Iterator[bytes]:
        """Take a file, and yield a section when enough events follow it for the last action's result."""
        name = find_event(file.name)
        if name is None:
            if isinstance(file, ArchiveFile) and file.name in (META, STATE, SIDECAR):
                self._top |= _find_object(file.raw) or {}
            return
        entry: Event | LeftOutFile | None = None
        if isinstance(file, ArchiveFile):
            self._size_bytes += len(file.raw)
            value = _find_object(file.raw)
            if value is not None:
                entry = Event(name.seq, value)
                self._preview = self._preview or preview_text(value)
        else:
            entry = file
        self._waiting.append((name.seq, entry or LeftOutFile(file.name, "it is damaged")))
        if len(self._waiting) >= SECTION + PAIR_DISTANCE or self._size_bytes > SECTION_MAX_BYTES:
            yield self._section(max(len(self._waiting) - PAIR_DISTANCE, 1))

    def end(self) -> Iterator[bytes]:
        """Yield the events that are left, and the heading if there were none."""
        yield self._section(len(self._waiting))
        yield b"</article>\n"

    def _section(self, count: int) -> bytes:
        heading = "" if self._has_heading else self._heading()
        self._has_heading = True
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        events = [one for _, one in taken if isinstance(one, Event)]
        later = [one for _, one in self._waiting if isinstance(one, Event)]
        blocks = make_blocks(events, self._earlier, later)
        for block in blocks:
            if block.has_body:
                block.body = make_body(block.event, block.observation, whole=True)
        shown = {block.event.seq for block in blocks}
        rows: list[tuple[int, int, Block | LeftOutFile]] = [(block.event.seq, 0, block) for block in blocks]
        rows += [(seq, 1, one) for seq, one in taken if isinstance(one, LeftOutFile)]
        context = {
            "blocks": sorted(rows, key=lambda row: row[:2]),
            "folded": [event.seq for event in events if event.seq not in shown],
            "conversation_id": dashed(self._id), "anchor": self._anchor, "standalone": True, "base": "",
        }  # fmt: skip
        self._earlier = [*self._earlier, *events][-PAIR_DISTANCE:]
        self._size_bytes = 0
        return (heading + render("events.html", context)).encode("utf-8", "replace")

    def _heading(self) -> str:
        facts = self._top | {"id": dashed(self._id), "preview": self._preview}
        row = make_row(orjson.dumps(facts, option=orjson.OPT_NON_STR_KEYS))
        return render("export_heading.html", {"row": row, "base": ""})


def _find_object(raw: bytes) -> dict[str, Any] | None:
    try:
        return parse_json_object(raw)
    except UnreadableFile:
        return None
