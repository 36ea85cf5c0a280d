"""Reading zips for an import: from convstore, from agent-server's downloads, or packed by hand.

zipfile unpacks them. This module also refuses links, devices, encryption, unsafe or conflicting names, NULs, and more
entries, bytes or compression than the limits allow. Sizes are counted from the unpacked bytes.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ...errors import ArchiveRefused, ArchiveTooLarge
from ...model.archive_format import ArchiveFile, Limits, find_path_problem
from ...model.ids import ConversationId, find_conversation_id
from ...model.jsonlines import find_event
from .. import layout
from .import_sources import (
    CORE,
    DEPTH_MAX,
    MACOS_NOTES,
    Incoming,
    Meter,
    check_files,
    find_stated_id,
    is_stored,
    require_good_path,
)

_DAMAGED = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, LookupError,
    RuntimeError, OverflowError, MemoryError,
)  # fmt: skip
"""The exceptions that zipfile raises for damaged and hostile archives."""

_CENTRAL_RECORD = b"PK\x01\x02"
_UNNAMED_DEPTH = 2
"""The maximum depth of a conversation whose directory is not named like an id."""
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_CHUNK = 1 << 20
_FIRST = (layout.META, layout.STATE, layout.SIDECAR)


class _Entry(NamedTuple):
    path: str
    info: zipfile.ZipInfo


class ZipSource:
    """A zip archive."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.name = path.name
        self._path = path
        self._limits = limits

    def read(self) -> Iterator[Incoming]:
        """Yield the conversations in order of their ids. Members that belong to no conversation are ignored.

        The trash and the index of a store, and incomplete copies that a crash left, are also ignored at any depth.
        """
        with self._explained():
            self._require_few_records()
            meter = Meter(self.name, self._limits, self._path.stat().st_size)
            with zipfile.ZipFile(self._path) as archive:
                found: dict[ConversationId, list[_Entry]] = {}
                for prefix, entries in self._group(archive).items():
                    core = (self._unpack(archive, entry, meter) for entry in entries if entry.path in CORE)
                    conversation_id = find_stated_id(self.name, prefix, core)
                    if conversation_id in found:
                        raise ArchiveRefused(f"{self.name}: two directories in it are conversation {conversation_id}")
                    found[conversation_id] = sorted(entries, key=_place)
                if not found:
                    raise ArchiveRefused(f"{self.name} holds no conversation")
                for conversation_id in sorted(found):
                    files = self._files(archive, found[conversation_id], meter)
                    yield Incoming(conversation_id, check_files(self.name, files, meter))

    def _require_few_records(self) -> None:
        """Limit the number of entries before zipfile creates an object for each. The zip's own count may be false."""
        number, tail = 0, b""
        with self._path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                number += (tail + chunk).count(_CENTRAL_RECORD)
                tail = chunk[-3:]
                if number > self._limits.files * 2:  # the zip may also have an entry for the directory itself
                    raise ArchiveTooLarge(f"{self.name} holds more than {self._limits.files:,} files")

    def _group(self, archive: zipfile.ZipFile) -> dict[str, list[_Entry]]:
        """Return the entries of each conversation by directory path, after checking all names."""
        files = [info for info in archive.infolist() if self._is_file(info)]
        infos = [info for info in files if not info.filename.startswith(f"{MACOS_NOTES}/")]
        roots: set[str] = set()
        for prefix in sorted({_root(info.filename) for info in infos} - {None}, key=lambda one: len(one or "")):
            if prefix is not None and not any(ancestor in roots for ancestor in _ancestors(prefix)):
                roots.add(prefix)
        groups: dict[str, list[_Entry]] = {root: [] for root in roots}
        for info in infos:
            root = next((one for one in _ancestors(info.filename) if one in roots), None)
            if root is not None:
                groups[root].append(_Entry(info.filename[len(root) :], info))
        return groups

    def _is_file(self, info: zipfile.ZipInfo) -> bool:
        """Whether an entry is a file; False for a directory.

        Raises:
            ArchiveRefused: the entry is something else, or its name or format is not allowed.
        """
        name = info.orig_filename
        directory = name.endswith("/")
        require_good_path(self.name, name, find_path_problem(name[:-1] if directory else name))
        if info.filename != name:
            require_good_path(self.name, name, "it has two names")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFDIR if directory else stat.S_IFREG):
            require_good_path(self.name, name, "it is a link or a special file")
        if info.flag_bits & _ENCRYPTED:
            require_good_path(self.name, name, "it is encrypted")
        if info.compress_type not in _METHODS:
            require_good_path(self.name, name, "it is not compressed with deflate")
        if directory and info.file_size:
            require_good_path(self.name, name, "it is a directory, but contains data")
        if info.compress_size > self._path.stat().st_size:
            require_good_path(self.name, name, "it is larger than the archive")
        if info.file_size > self._limits.file_bytes:
            raise ArchiveTooLarge(f"{self.name}: {name[:200]!r} is larger than {self._limits.file_bytes:,} bytes")
        return not directory

    def _files(self, archive: zipfile.ZipFile, entries: list[_Entry], meter: Meter) -> Iterator[ArchiveFile]:
        for entry in entries:
            with self._explained():
                raw = self._unpack(archive, entry, meter)
            yield ArchiveFile(entry.path, raw)

    def _unpack(self, archive: zipfile.ZipFile, entry: _Entry, meter: Meter) -> bytes:
        parts: list[bytes] = []
        size = 0
        with archive.open(entry.info) as file:
            while chunk := file.read(_CHUNK):
                size += len(chunk)
                meter.unpacked(entry.path, size, len(chunk))
                parts.append(chunk)
        if size != entry.info.file_size:
            raise zipfile.BadZipFile(f"{entry.path} unpacks to {size:,} bytes, not {entry.info.file_size:,}")
        return b"".join(parts)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGED as error:
            said = f"{type(error).__name__}: {error}"[:200]
            raise ArchiveRefused(f"{self.name} is a damaged zip ({said}); nothing was imported") from error


def _root(path: str) -> str | None:
    """Return the path of the conversation's directory if this file is part of a conversation, otherwise None."""
    parts = path.split("/")
    if parts[-1] in CORE:
        depth = len(parts) - 1
    elif find_event("/".join(parts[-2:])):
        depth = len(parts) - 2
    else:
        return None
    named = depth and find_conversation_id(parts[depth - 1]) is not None
    if depth > (DEPTH_MAX + 1 if named else _UNNAMED_DEPTH) or not is_stored(parts[:depth]):
        return None
    return "/".join([*parts[:depth], ""])


def _ancestors(path: str) -> Iterator[str]:
    """Yield the directories above a path, from the root ("") down. Each ends in "/"."""
    yield ""
    place = path.find("/")
    while place >= 0:
        yield path[: place + 1]
        place = path.find("/", place + 1)


def _place(entry: _Entry) -> tuple[int, int, str]:
    """Return the path that an export would use for a file."""
    if entry.path in _FIRST:
        return (0, _FIRST.index(entry.path), "")
    event = find_event(entry.path)
    return (1, event.seq, event.event_id) if event else (2, 0, entry.path)
