"""Reading what is to be imported: directories, zips, JSON Lines. Writes nothing, and trusts nothing.

A source gives conversations one after the other, each with its files, and can be read twice: once to check all of it,
once to write. Its names, sizes as they really are, and sums are checked while it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import tzinfo
from pathlib import Path
from typing import NamedTuple, Protocol

import orjson

from app.errors import ArchiveRefused, ArchiveTooLarge
from app.files import layout
from app.files.archive.export_reader import is_transient, read_files
from app.model.archive_format import RATIO_FROM_BYTES, ArchiveFile, ArchivePaths, LeftOutFile, Limits
from app.model.ids import ConversationId, find_conversation_id
from app.model.jsonlines import find_event

CORE = (layout.META, layout.STATE)


class Incoming(NamedTuple):
    """A conversation that is to be imported. Its files have to be taken before the next conversation is."""

    id: ConversationId
    files: Iterator[ArchiveFile | LeftOutFile]


class Source(Protocol):
    """An archive or a directory."""

    name: str

    def read(self) -> Iterator[Incoming]:
        """Yield the conversations, from the beginning.

        Raises:
            ArchiveRefused, ArchiveTooLarge: it cannot be read, or must not be.
        """


class Meter:
    """Counts what was unpacked of one source, and refuses what is too much."""

    def __init__(self, name: str, limits: Limits, packed_bytes: int | None = None) -> None:
        """`packed_bytes` is the size of the archive's file, where the ratio to it matters."""
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
        """Count `more_bytes` of a file, of which `size_bytes` were unpacked by now."""
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
    """Yield a conversation's files after checking the name of each against those before it.

    Locks, leases and markers, which agent-server's downloads hold, are left out.

    Raises:
        ArchiveRefused: a name must not be written, or it is no conversation.
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
    """Refuse a path that has a problem.

    Raises:
        ArchiveRefused: it has.
    """
    if problem is not None:
        raise ArchiveRefused(f"{name}: {path[:200]!r} is refused: {problem}; nothing was imported")


def find_stated_id(name: str, prefix: str, core: Iterable[bytes]) -> ConversationId:
    """Return the id of a conversation: what its directory's name spells, else what its files say.

    Raises:
        ArchiveRefused: neither says.
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
            f"{name}: which conversation {prefix or 'this'!r} is cannot be told, neither from its name nor from an id "
            f"in {layout.META} or {layout.STATE}"
        )
    return spelled


class DirectorySource:
    """A conversation's directory, or one that holds many. Its own path may be a link; links in it are not followed."""

    def __init__(self, path: Path, limits: Limits, zone: tzinfo | None) -> None:
        self.name = str(path)
        self._path = path.resolve()
        self._spelled = path.name if find_conversation_id(path.name) else self._path.name
        self._limits = limits
        self._zone = zone

    def read(self) -> Iterator[Incoming]:
        """Yield the conversations in order of their ids."""
        meter = Meter(self.name, self._limits)
        try:
            if is_conversation(self._path):
                core = [raw for name in CORE if (raw := self._find(name)) is not None]
                yield self._incoming(self._path, find_stated_id(self.name, self._spelled, core), meter)
                return
            for one in map(layout.conversation_dir, layout.list_directories(self._path)[0]):
                if is_conversation(self._path / one.directory):
                    yield self._incoming(self._path / one.directory, one.id, meter)
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


def is_conversation(path: Path) -> bool:
    """Whether a directory looks like a conversation's."""
    if any((path / name).is_file() for name in CORE):
        return True
    try:
        return any(find_event(f"{layout.EVENTS}/{file.name}") for file in (path / layout.EVENTS).iterdir())
    except OSError:
        return False
