"""Writing conversations as one stream of bytes: zip, JSON Lines or Markdown.

The bytes depend only on the files: timestamps are fixed, and files keep the order in which they were added.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, Protocol

from ...errors import UnreadableFile
from ...model import transcript
from ...model.archive_format import ArchiveFile, ExportFormat, LeftOutFile
from ...model.conversation import LOOK_BACK
from ...model.event import parse_json_object
from ...model.ids import ConversationId
from ...model.jsonlines import conversation_line, end_line, file_line, find_event
from ...model.text.event_text import preview_text
from ..layout import META, STATE
from .zip_writer import ZipWriter

Files = Iterable[ArchiveFile | LeftOutFile]

_HELD_BYTES = 1 << 20
"""The number of bytes of text that are held back to look for a preview."""


class Encoder(Protocol):
    """An archive that is being written."""

    left_out: list[tuple[ConversationId, LeftOutFile]]
    """The files that were left out of the archive."""

    def add(self, conversation_id: ConversationId, files: Files) -> Iterator[bytes]:
        """Yield the bytes of a conversation. Only one file at a time is in memory."""

    def end(self) -> Iterator[bytes]:
        """Yield the last bytes of the archive."""


def make_encoder(kind: ExportFormat) -> Encoder:
    """Return an encoder for a new archive of this format, except for HTML: that of the page is passed in.

    Raises:
        ValueError: the format is HTML.
    """
    match kind:
        case ExportFormat.ZIP:
            return ZipEncoder()
        case ExportFormat.JSONL:
            return JsonLinesEncoder()
        case ExportFormat.MARKDOWN:
            return MarkdownEncoder()
        case ExportFormat.HTML:
            raise ValueError("app.web.html_export makes the encoder for HTML")


class ZipEncoder:
    """A zip in the layout of agent-server's download: `<id>/meta.json`, `<id>/events/event-00000-....json`."""

    def __init__(self) -> None:
        self.left_out: list[tuple[ConversationId, LeftOutFile]] = []
        self._zip = ZipWriter()

    def add(self, conversation_id: ConversationId, files: Files) -> Iterator[bytes]:
        """Yield the bytes of a conversation. Only one file at a time is in memory."""
        for file in files:
            if isinstance(file, LeftOutFile):
                self.left_out.append((conversation_id, file))
                continue
            only = [self._zip.add(f"{conversation_id}/{file.name}", file.raw)]
            del file  # otherwise it would be in memory for as long as the client does not read
            yield only.pop()

    def end(self) -> Iterator[bytes]:
        """Yield the zip's directory."""
        return self._zip.end()


class JsonLinesEncoder:
    """JSON Lines as described in `app.model.jsonlines`. Memory use does not grow with the archive."""

    def __init__(self) -> None:
        self.left_out: list[tuple[ConversationId, LeftOutFile]] = []

    def add(self, conversation_id: ConversationId, files: Files) -> Iterator[bytes]:
        """Yield the lines of a conversation."""
        line = conversation_line(conversation_id)
        digest, lines, next_seq = sha256(line), 1, 0
        yield line
        for file in files:
            if isinstance(file, LeftOutFile):
                self.left_out.append((conversation_id, file))
                continue
            line = file_line(file, next_seq)
            event = find_event(file.name)
            if event is not None:
                next_seq = event.seq + 1
            digest.update(line)
            lines += 1
            only = [line]
            del file, line  # as in a zip
            yield only.pop()
        yield end_line(conversation_id, lines, digest.hexdigest())

    def end(self) -> Iterator[bytes]:
        """Yield nothing, because the last conversation's end line ends the file."""
        return iter(())


class MarkdownEncoder:
    """Markdown for people to read; it cannot be imported."""

    def __init__(self) -> None:
        self.left_out: list[tuple[ConversationId, LeftOutFile]] = []
        self._begun = False

    def add(self, conversation_id: ConversationId, files: Files) -> Iterator[bytes]:
        """Yield the text of a conversation."""
        if self._begun:
            yield b"\n---\n\n"
        self._begun = True
        top: dict[str, dict[str, Any]] = {}
        waiting: list[bytes] | None = []  # the texts of events before a preview is found; None: the heading is written
        for file in files:
            if isinstance(file, LeftOutFile):
                self.left_out.append((conversation_id, file))
                continue
            if file.name in (META, STATE):
                top[file.name] = _find_object(file) or {}
            elif find_event(file.name):
                event = _find_object(file)
                texts = (
                    [*transcript.event_text(event)] if event else [transcript.problem_text(file.name, "it is damaged")]
                )
                preview = preview_text(event or {}) if waiting is not None else ""
                del file, event  # as in a zip
                joined = "".join(texts)
                texts.clear()
                ready = [_encoded(joined)]
                del joined
                if waiting is not None:
                    waiting += ready
                    if not (preview or transcript.find_title(top.get(META, {})) or _is_enough(waiting)):
                        continue
                    ready, waiting = [self._heading(conversation_id, top, preview), *waiting], None
                if len(ready) > 1:
                    ready[:] = [b"".join(ready)]
                yield ready.pop()
        if waiting is not None:
            yield b"".join([self._heading(conversation_id, top), *waiting])

    def end(self) -> Iterator[bytes]:
        """Yield nothing, because the last event's text ends the file."""
        return iter(())

    def _heading(self, conversation_id: ConversationId, top: dict[str, dict[str, Any]], preview: str = "") -> bytes:
        return _encoded("".join(transcript.heading(conversation_id, top.get(META, {}), top.get(STATE, {}), preview)))


def _is_enough(waiting: list[bytes]) -> bool:
    """Whether no more events are held back to look for a preview."""
    return len(waiting) >= LOOK_BACK or sum(map(len, waiting)) > _HELD_BYTES


def _find_object(file: ArchiveFile) -> dict[str, Any] | None:
    try:
        return parse_json_object(file.raw)
    except UnreadableFile:
        return None


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")
