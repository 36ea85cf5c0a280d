"""Conversations as one HTML file for people to read: no script, no other file, no server."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from importlib import resources
from typing import Any, NamedTuple

import orjson

from ..errors import UnreadableFile
from ..files.archive.export_formats import Files
from ..files.layout import META, SIDECAR, STATE
from ..model.archive_format import ArchiveFile, LeftOutFile
from ..model.event import parse_json_object
from ..model.ids import ConversationId, dashed
from ..model.jsonlines import find_event
from ..model.text.event_text import preview_text
from .conversation_view import SECTION, SECTION_MAX_BYTES
from .event_blocks import PAIR_DISTANCE, Block, clear_block, drop_values, make_blocks
from .event_bodies import Event, make_body
from .rows import make_row
from .templates import render


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
            only = [file]
            del file  # otherwise it would be in memory for as long as the client does not read
            yield from written.add(only.pop())
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


class _Waiting(NamedTuple):
    """An event that is not rendered yet, or the reason why it cannot be, and the size of its file."""

    seq: int
    entry: Event | LeftOutFile
    size_bytes: int


class _Conversation:
    """A conversation of the document: its heading, and those of its events that are not rendered yet."""

    def __init__(self, conversation_id: ConversationId, anchor: str) -> None:
        self._id = conversation_id
        self._anchor = anchor
        self._top: dict[str, Any] = {}
        self._preview = ""
        self._has_heading = False
        self._waiting: list[_Waiting] = []
        self._size_bytes = 0
        self._folded: set[Event | LeftOutFile] = set()
        """The waiting observations that were rendered with their actions."""

    def add(self, file: ArchiveFile | LeftOutFile) -> Iterator[bytes]:
        """Take a file, and yield a section when enough events follow it for the last action's result."""
        name = find_event(file.name)
        if name is None:
            if isinstance(file, ArchiveFile) and file.name in (META, STATE, SIDECAR):
                self._top |= _find_object(file.raw) or {}
            return
        value = _find_object(file.raw) if isinstance(file, ArchiveFile) else None
        size_bytes = len(file.raw) if isinstance(file, ArchiveFile) else 0
        if value is not None:
            self._preview = self._preview or preview_text(value)
            self._waiting.append(_Waiting(name.seq, Event(name.seq, value), size_bytes))
        else:
            reason = file if isinstance(file, LeftOutFile) else LeftOutFile(file.name, "it is damaged")
            self._waiting.append(_Waiting(name.seq, reason, size_bytes))
        self._size_bytes += size_bytes
        del file, value
        if len(self._waiting) >= SECTION + PAIR_DISTANCE:
            yield self._section(SECTION)
        while self._size_bytes > SECTION_MAX_BYTES:
            yield self._section(self._count_over(SECTION_MAX_BYTES // 2))

    def end(self) -> Iterator[bytes]:
        """Yield the events that are left, and the heading if there were none."""
        yield self._section(len(self._waiting))
        yield b"</article>\n"

    def _count_over(self, max_bytes: int) -> int:
        """Return how many of the first waiting events must be rendered so that the others have at most `max_bytes`."""
        left = self._size_bytes
        for number, one in enumerate(self._waiting):
            if left <= max_bytes:
                return number
            left -= one.size_bytes
        return len(self._waiting)

    def _section(self, count: int) -> bytes:
        """Render the first waiting events. Those after them may have the results of their actions."""
        heading = "" if self._has_heading else self._heading()
        self._has_heading = True
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        events = [one.entry for one in taken if isinstance(one.entry, Event) and one.entry not in self._folded]
        blocks = make_blocks(events, later=[one.entry for one in self._waiting if isinstance(one.entry, Event)])
        for block in blocks:
            if block.has_body:
                block.body = make_body(block.event, block.observation, whole=True)
        self._folded |= {block.observation for block in blocks if block.observation is not None}
        rows: list[tuple[int, int, Block | LeftOutFile]] = [(block.event.seq, 0, block) for block in blocks]
        rows += [(one.seq, 1, one.entry) for one in taken if isinstance(one.entry, LeftOutFile)]
        context = {
            "blocks": sorted(rows, key=lambda row: row[:2]),
            "folded": [one.seq for one in taken if one.entry in self._folded],
            "conversation_id": dashed(self._id), "anchor": self._anchor, "standalone": True, "base": "",
        }  # fmt: skip
        self._folded -= {one.entry for one in taken}
        self._size_bytes -= sum(one.size_bytes for one in taken)
        for block in blocks:
            drop_values(block, keep_images=True)
        html = heading + render("events.html", context)
        for block in blocks:
            clear_block(block)
        return html.encode("utf-8", "replace")

    def _heading(self) -> str:
        facts = self._top | {"id": dashed(self._id), "preview": self._preview}
        row = make_row(orjson.dumps(facts, option=orjson.OPT_NON_STR_KEYS))
        return render("export_heading.html", {"row": row, "base": ""})


def _find_object(raw: bytes) -> dict[str, Any] | None:
    try:
        return parse_json_object(raw)
    except UnreadableFile:
        return None
