"""Reading JSON Lines for an import. `app.model.jsonlines` describes the format."""

from __future__ import annotations

import binascii
from base64 import b64decode
from codecs import BOM_UTF8
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from ...errors import ArchiveRefused, ArchiveTooLarge
from ...model.archive_format import ArchiveFile, Limits
from ...model.ids import ConversationId, EventName, event_file_name, find_conversation_id, find_event_name
from ...model.json_splice import parse_raw_object
from ...model.jsonlines import MARK, VERSION, event_path, find_event
from .import_sources import Incoming, Meter, check_files

_FRAME_BYTES: Final = 8192


class JsonLinesSource:
    """A file of JSON Lines."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.name = path.name
        self._path = path
        self._limits = limits
        self._line_max = limits.file_bytes * 4 // 3 + _FRAME_BYTES
        self._number = 0

    def read(self) -> Iterator[Incoming]:
        """Yield the conversations in the order of the file."""
        self._number = 0
        meter = Meter(self.name, self._limits)
        try:
            with self._path.open("rb") as file:
                while line := self._next_filled(file):
                    conversation_id = self._begun(line)
                    files = check_files(self.name, self._files(file, line, conversation_id, meter), meter)
                    yield Incoming(conversation_id, files)
                    for _ in files:
                        pass
        except OSError as error:
            raise ArchiveRefused(f"{self.name} cannot be read ({error.strerror})") from error

    def _next(self, file: BinaryIO) -> bytes:
        line = file.readline(self._line_max + 1)
        if len(line) > self._line_max:
            raise ArchiveTooLarge(f"{self.name}: line {self._number + 1} is longer than {self._line_max:,} bytes")
        if not line:
            return b""
        self._number += 1
        line = line.removeprefix(BOM_UTF8)
        return (
            line[:-2] + b"\n" if line.endswith(b"\r\n") else line
        )  # as it was exported: an editor may have changed the end of the line

    def _next_filled(self, file: BinaryIO) -> bytes:
        """Return the next line that is not blank, because an editor may have added blank lines."""
        while (line := self._next(file)) and not line.strip():
            pass
        return line

    def _begun(self, line: bytes) -> ConversationId:
        control = self._parse(line)
        if control.get(MARK) != "conversation":
            raise self._refused('a conversation must begin with a line {"convstore":"conversation",...}, as in exports')
        if control.get("version") != VERSION:
            raise self._refused(f"version {control.get('version')!r} of the format is unknown; upgrade convstore")
        conversation_id = find_conversation_id(str(control.get("id")))
        if conversation_id is None:
            raise self._refused("the conversation has no id")
        return conversation_id

    def _files(
        self, file: BinaryIO, first: bytes, conversation_id: ConversationId, meter: Meter
    ) -> Iterator[ArchiveFile]:
        """Yield the files of a conversation, starting after its first line and consuming its last line."""
        digest, lines, next_seq = sha256(first), 1, 0
        while line := self._next_filled(file):
            value = self._parse(line)
            if value.get(MARK) == "end":
                self._require_whole(value, conversation_id, lines, digest.hexdigest())
                return
            found = self._file(line, value, next_seq)
            meter.unpacked(found.name, len(found.raw), len(found.raw))
            event = find_event(found.name)
            if event is not None:
                next_seq = event.seq + 1
            digest.update(line)
            lines += 1
            yield found
        raise self._refused("the file ends in the middle of a conversation; copy or export it again")

    def _require_whole(self, end: dict[str, Any], conversation_id: str, lines: int, digest: str) -> None:
        if find_conversation_id(str(end.get("id"))) != conversation_id or end.get("lines") != lines:
            raise self._refused(f"the conversation has {lines} lines, but its last line states another")
        if end.get("sha256", digest) != digest:
            raise self._refused(
                "the lines differ from the exported ones; if they were edited on purpose, "
                "remove sha256 from the last line"
            )

    def _file(self, line: bytes, value: dict[str, Any], next_seq: int) -> ArchiveFile:
        if MARK not in value:
            name = EventName(next_seq, value["id"] if isinstance(value.get("id"), str) else "")
            if find_event_name(event_file_name(name)) != name:
                raise self._refused("the event has no id, or its id cannot be part of a file name")
            return ArchiveFile(event_path(name), line.removesuffix(b"\n"))
        match value:
            case {"convstore": "file", "name": str(path), "json": _}:
                return ArchiveFile(path, parse_raw_object(line).find("json") or b"")
            case {"convstore": "file", "name": str(path), "text": str(text)}:
                return ArchiveFile(path, text.encode())
            case {"convstore": "file", "name": str(path), "base64": str(text)}:
                try:
                    return ArchiveFile(path, b64decode(text, validate=True))
                except (binascii.Error, ValueError) as error:
                    raise self._refused(f"not base64 ({error})") from error
        raise self._refused("this version of convstore does not know this kind of line; upgrade convstore")

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise self._refused(f"not valid JSON ({error})") from error
        if not isinstance(value, dict):
            raise self._refused("not a JSON object")
        return value

    def _refused(self, why: str) -> ArchiveRefused:
        return ArchiveRefused(f"{self.name}, line {self._number}: {why}; nothing was imported")
