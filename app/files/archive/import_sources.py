"""Reading the sources of an import: directories, zips and JSON Lines. Writes nothing, and treats all input as hostile.

A source yields conversations one after the other, each with its files. It can be read twice, first to check everything
and then to write. Names, actual sizes and checksums are checked while reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import tzinfo
from pathlib import Path
from typing import NamedTuple, Protocol

import orjson

from ...errors import ArchiveRefused, ArchiveTooLarge
from ...model.archive_format import RATIO_FROM_BYTES, ArchiveFile, ArchivePaths, LeftOutFile, Limits
from ...model.ids import ConversationId, find_conversation_id
from ...model.jsonlines import find_event
from .. import layout
from ..staging import OWN_DIRECTORY
from ..trash import TRASH
from .export_reader import is_transient, read_files

CORE = (layout.META, layout.STATE)
DEPTH_MAX = 8
"""The maximum number of directories above a conversation's directory. Deeper ones are not searched."""

MACOS_NOTES = "__MACOSX"
"""The directory at the top of a zip into which macOS puts its notes on each packed file."""

_OTHER = frozenset({TRASH, OWN_DIRECTORY, MACOS_NOTES})
"""Directories that hold no conversations of a store."""


class Incoming(NamedTuple):
    """A conversation to import. Its files must be read before the next conversation is requested."""

    id: ConversationId
    files: Iterator[ArchiveFile | LeftOutFile]


class Source(Protocol):
    """An archive or directory to import."""

    name: str

    def read(self) -> Iterator[Incoming]:
        """Yield the conversations from the beginning.

        Raises:
            ArchiveRefused, ArchiveTooLarge: the source is unreadable, unsafe or too large.
        """


class Meter:
    """Counts the files and bytes unpacked from one source, and enforces the limits."""

    def __init__(self, name: str, limits: Limits, packed_bytes: int | None = None) -> None:
        """`packed_bytes` is the size of the archive file, or None if the ratio is not limited."""
        self._name = name
        self._limits = limits
        self._packed_bytes = packed_bytes
        self._files = 0
        self._bytes = 0

    def file(self) -> None:
        """Count a file."""
        self._files += 1
        if self._files > self._limits.files:
            raise ArchiveTooLarge(f"{self._name} holds more than {self._limits.files:,} files")

    def unpacked(self, file: str, size_bytes: int, more_bytes: int) -> None:
        """Count `more_bytes` of a file; `size_bytes` of the file have been unpacked so far."""
        if size_bytes > self._limits.file_bytes:
            raise ArchiveTooLarge(f"{self._name}: {file} is larger than {self._limits.file_bytes:,} bytes")
        self._bytes += more_bytes
        if self._bytes > self._limits.total_bytes:
            raise ArchiveTooLarge(f"{self._name} holds more than {self._limits.total_bytes:,} bytes")
        ratio, packed = self._limits.ratio, self._packed_bytes
        if ratio and packed is not None and self._bytes > max(RATIO_FROM_BYTES, packed * ratio):
            raise ArchiveTooLarge(f"{self._name} unpacks to more than {ratio} times its size; is it a bomb?")


def check_files(
    name: str, files: Iterable[ArchiveFile | LeftOutFile], meter: Meter
) -> Iterator[ArchiveFile | LeftOutFile]:
    """Yield a conversation's files, after checking each name against the earlier ones.

    Locks, leases and markers, which agent-server's downloads contain, are skipped.

    Raises:
        ArchiveRefused: a name is unsafe, or the files are not a conversation.
    """
    paths = ArchivePaths([layout.EVENTS])
    known = False
    for file in files:
        if isinstance(file, ArchiveFile):
            require_good_path(name, file.name, paths.add(file.name) or _misplaced(file.name))
            meter.file()
            if is_transient(file.name.rsplit("/", 1)[-1]):
                continue
            known = known or file.name in CORE or find_event(file.name) is not None
        yield file
    if not known:
        raise ArchiveRefused(f"{name}: a conversation in it has neither {layout.META}, {layout.STATE} nor an event")


def _misplaced(path: str) -> str | None:
    return "it is below a file" if "/" in path and path.split("/", 1)[0] in (*CORE, layout.SIDECAR) else None


def require_good_path(name: str, path: str, problem: str | None) -> None:
    """Check a path.

    Raises:
        ArchiveRefused: the path is unsafe.
    """
    if problem is not None:
        raise ArchiveRefused(f"{name}: {path[:200]!r} is refused: {problem}; nothing was imported")


def find_stated_id(name: str, prefix: str, core: Iterable[bytes]) -> ConversationId:
    """Return a conversation's id from its directory's name, otherwise from its files.

    Raises:
        ArchiveRefused: neither states an id.
    """
    spelled = find_conversation_id(prefix.rstrip("/").rsplit("/", 1)[-1])
    for raw in () if spelled else core:
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError:
            continue
        if isinstance(value, dict) and isinstance(value.get("id"), str):
            spelled = spelled or find_conversation_id(value["id"])
    if spelled is None:
        raise ArchiveRefused(
            f"{name}: the id of conversation {prefix or 'this'!r} is unknown: neither the directory's name nor an id "
            f"in {layout.META} or {layout.STATE} states it"
        )
    return spelled


def is_stored(directories: Iterable[str]) -> bool:
    """Whether a path below a store is part of the store's contents: not its trash, its index, or an incomplete copy.

    `directories` are the names on the path to a conversation's directory, with that one as the last.
    """
    names = list(directories)
    return _OTHER.isdisjoint(names) and not (names and names[-1].startswith("."))


class DirectorySource:
    """A conversation's directory, or a directory with conversations, at most `DEPTH_MAX` directories deep.

    `path` may be a link; links inside are skipped.
    """

    def __init__(self, path: Path, limits: Limits, zone: tzinfo | None) -> None:
        self.name = str(path)
        self._path = path.resolve()
        self._spelled = path.name if find_conversation_id(path.name) else self._path.name
        self._limits = limits
        self._zone = zone

    def read(self) -> Iterator[Incoming]:
        """Yield the conversations of a directory in order of their ids, then those of each directory in it."""
        meter = Meter(self.name, self._limits)
        try:
            if is_conversation(self._path):
                core = [raw for name in CORE if (raw := self._find(name)) is not None]
                yield self._incoming(self._path, find_stated_id(self.name, self._spelled, core), meter)
                return
            for store in _list_stores(self._path, DEPTH_MAX):
                for one in map(layout.conversation_dir, layout.list_directories(store)[0]):
                    if is_conversation(store / one.directory):
                        yield self._incoming(store / one.directory, one.id, meter)
        except OSError as error:
            raise ArchiveRefused(f"{self.name} cannot be read ({error.strerror})") from error

    def _find(self, name: str) -> bytes | None:
        file = self._path / name
        return file.read_bytes() if file.is_file() and not file.is_symlink() else None

    def _incoming(self, path: Path, conversation_id: ConversationId, meter: Meter) -> Incoming:
        files = check_files(str(path), self._measured(path, meter), meter)
        return Incoming(conversation_id, files)

    def _measured(self, path: Path, meter: Meter) -> Iterator[ArchiveFile | LeftOutFile]:
        for file in read_files(path.parent, path.name, with_secrets=True, zone=self._zone):
            if isinstance(file, ArchiveFile):
                meter.unpacked(file.name, len(file.raw), len(file.raw))
            yield file


def _list_stores(path: Path, depth: int) -> Iterator[Path]:
    """Yield a directory and those below it that may contain conversations. A parent comes before its children."""
    yield path
    if depth:
        for entry in sorted(path.iterdir()):
            if (
                entry.name not in _OTHER
                and not find_conversation_id(entry.name)
                and layout.is_directory(path, entry.name)
            ):
                yield from _list_stores(entry, depth - 1)


def is_conversation(path: Path) -> bool:
    """Whether a directory looks like a conversation."""
    if any((path / name).is_file() for name in CORE):
        return True
    try:
        return any(find_event(f"{layout.EVENTS}/{file.name}") for file in (path / layout.EVENTS).iterdir())
    except OSError:
        return False
