"""Writing conversations as one stream of bytes: zip, JSON Lines or Markdown.

The bytes depend only on the files: timestamps are fixed, and files keep the order in which they were added. The zip's
directory is kept on disk while the zip is written, because zipfile would use 0.6 kB of memory per file.
"""

from __future__ import annotations

import weakref
import zipfile
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Protocol, cast
from zipfile import ZipInfo

import orjson

from ...errors import UnreadableFile
from ...model import transcript
from ...model.archive_format import ArchiveFile, ExportFormat, LeftOutFile
from ...model.conversation import LOOK_BACK
from ...model.event import parse_json_object
from ...model.ids import ConversationId
from ...model.jsonlines import conversation_line, end_line, file_line, find_event
from ...model.text.event_text import preview_text
from ..layout import META, STATE

Files = Iterable[ArchiveFile | LeftOutFile]

_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_MODE = 0o100600 << 16
_LEVEL = 6
_CHUNK_BYTES = 1 << 16


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


class _Sink:
    """An output for zipfile that cannot seek, so that a file and a socket get the same bytes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.aside: IO[bytes] | None = None
        """Receives pieces that are too large to be collected first."""

    def write(self, data: bytes, /) -> int:
        if self.aside is not None:
            return self.aside.write(data)
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing; the caller writes the bytes."""

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


class ZipEncoder:
    """A zip in the layout of agent-server's download: `<id>/meta.json`, `<id>/events/event-00000-....json`."""

    def __init__(self) -> None:
        self.left_out: list[tuple[ConversationId, LeftOutFile]] = []
        self._sink = _Sink()
        self._archive = zipfile.ZipFile(cast(IO[bytes], self._sink), "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL)
        self._archive.filelist = ZipDirectoryOnDisk(_zip_entry)
        self._archive.NameToInfo = DiscardedNames()

    def add(self, conversation_id: ConversationId, files: Files) -> Iterator[bytes]:
        """Yield the bytes of a conversation. Only one file at a time is in memory."""
        for file in files:
            if isinstance(file, LeftOutFile):
                self.left_out.append((conversation_id, file))
                continue
            self._archive.writestr(_zip_entry(f"{conversation_id}/{file.name}"), file.raw)
            del file  # otherwise it would be in memory for as long as the client does not read
            yield self._sink.take()

    def end(self) -> Iterator[bytes]:
        """Yield the zip's directory."""
        with SpooledTemporaryFile(MEMORY_BYTES) as aside:
            self._sink.aside = aside
            self._archive.close()
            aside.seek(0)
            while data := aside.read(_CHUNK_BYTES):
                yield data


def _zip_entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system, entry.external_attr = _UNIX, _MODE
    return entry


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
                texts = transcript.event_text(event) if event else [transcript.problem_text(file.name, "it is damaged")]
                text = _encoded("".join(texts))
                preview = preview_text(event or {}) if waiting is not None else ""
                ready = [text]
                del file, event, texts, text  # as in a zip
                if waiting is not None:
                    waiting += ready
                    if not (preview or transcript.find_title(top.get(META, {})) or _is_enough(waiting)):
                        continue
                    ready, waiting = [self._heading(conversation_id, top, preview), *waiting], None
                joined = [b"".join(ready)]
                ready.clear()
                yield joined.pop()
        if waiting is not None:
            yield b"".join([self._heading(conversation_id, top), *waiting])

    def end(self) -> Iterator[bytes]:
        """Yield nothing, because the last event's text ends the file."""
        return iter(())

    def _heading(self, conversation_id: ConversationId, top: dict[str, dict[str, Any]], preview: str = "") -> bytes:
        return _encoded("".join(transcript.heading(conversation_id, top.get(META, {}), top.get(STATE, {}), preview)))


def _is_enough(waiting: list[bytes]) -> bool:
    """Whether no more events are held back to look for a preview."""
    return len(waiting) >= LOOK_BACK or sum(map(len, waiting)) > MEMORY_BYTES


def _find_object(file: ArchiveFile) -> dict[str, Any] | None:
    try:
        return parse_json_object(file.raw)
    except UnreadableFile:
        return None


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


MEMORY_BYTES = 1 << 20
"""The number of bytes that are kept in memory before a temporary file is used."""

_FIELDS = ("flag_bits", "CRC", "compress_size", "file_size", "header_offset")


class ZipDirectoryOnDisk(list[ZipInfo]):
    """Replaces `ZipFile.filelist`: stores each entry on disk when it is written, and yields all entries at the end."""

    def __init__(self, make_entry: Callable[[str], ZipInfo]) -> None:
        """`make_entry` returns a new entry for a file name."""
        super().__init__()
        self._make_entry = make_entry
        self._file = SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 - it lives as long as this
        weakref.finalize(self, self._file.close)
        self._count = 0

    def append(self, entry: ZipInfo, /) -> None:
        """Store an entry."""
        self._file.write(orjson.dumps([entry.filename, *(getattr(entry, name) for name in _FIELDS)]) + b"\n")
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[ZipInfo]:
        if self._file.closed:  # the garbage collector closes the objects of an abandoned archive in any order
            return
        self._file.seek(0)
        for line in self._file:
            name, *values = orjson.loads(line)
            entry = self._make_entry(name)
            for field, value in zip(_FIELDS, values, strict=True):
                setattr(entry, field, value)
            yield entry


class DiscardedNames(dict[str, ZipInfo]):
    """Replaces `ZipFile.NameToInfo`, which zipfile needs only for reading and for a warning about duplicate names."""

    def __setitem__(self, name: str, entry: ZipInfo, /) -> None:
        """Store nothing."""
