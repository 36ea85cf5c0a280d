"""Archives: their formats, the names allowed in them, and the ids to change when a conversation gets a new one."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import orjson

from app.model.ids import ConversationId, dashed, find_conversation_id
from app.model.json_splice import iter_members

NAME_MAX_BYTES = 255
DEPTH_MAX = 32
_PATH_MAX_BYTES = 2048
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_RESERVED = frozenset('<>:"|?*')


class ExportFormat(StrEnum):
    """How conversations are written out. `zip` and `jsonl` can be imported again, `markdown` is for people."""

    ZIP = "zip"
    JSONL = "jsonl"
    MARKDOWN = "markdown"

    @property
    def suffix(self) -> str:
        """The ending of a file's name."""
        return ".md" if self is ExportFormat.MARKDOWN else f".{self.value}"

    @property
    def media_type(self) -> str:
        """The media type of a download."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    ExportFormat.ZIP: "application/zip",
    ExportFormat.JSONL: "application/x-ndjson",
    ExportFormat.MARKDOWN: "text/markdown; charset=utf-8",
}


class OnClash(StrEnum):
    """The ways to import a conversation whose id another conversation already has."""

    FAIL = "fail"
    SKIP = "skip"
    NEW_ID = "new-id"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of an unpacked archive. `ratio` is the unpacked size divided by the archive's size."""

    file_bytes: int
    total_bytes: int
    files: int
    ratio: int | None = 200


OWN_ARCHIVE = Limits(file_bytes=512 << 20, total_bytes=1 << 42, files=10_000_000)
"""For an administrator who imports a whole store."""

NO_LIMITS = Limits(file_bytes=1 << 50, total_bytes=1 << 60, files=1 << 40, ratio=None)
"""For what nobody doubts."""

FOREIGN_ARCHIVE = Limits(file_bytes=64 << 20, total_bytes=2 << 30, files=200_000)
"""For what comes over the network."""

RATIO_FROM_BYTES = 64 << 20
"""Below this many bytes the ratio does not matter: a small log of equal lines is no bomb."""


class ArchiveFile(NamedTuple):
    """A file of a conversation: its path in the conversation's directory, parts joined by "/", and its bytes."""

    name: str
    raw: bytes


class LeftOutFile(NamedTuple):
    """A file that an export leaves out, and the reason."""

    name: str
    reason: str


def find_path_problem(path: str) -> str | None:
    """Return why a path must not be written below a conversation's directory, or None when it may.

    What is refused leads out of the directory, or means something else on another system: a path that begins at the
    root, "..", backslashes, drive letters, device names, control characters, names that end in a dot or a space.
    """
    if not path or len(path.encode("utf-8", "surrogatepass")) > _PATH_MAX_BYTES:
        return "it is empty or too long"
    parts = path.split("/")
    if len(parts) > DEPTH_MAX:
        return f"it is more than {DEPTH_MAX} directories deep"
    return next(filter(None, map(_part_problem, parts)), None)


def _part_problem(part: str) -> str | None:
    if part in ("", ".", ".."):
        return "it leads out of its place" if part == ".." else "it is absolute, or has an empty part"
    if "\\" in part or any(c in _RESERVED for c in part):
        return "it has a character that is not allowed in names everywhere"
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in part):
        return "it has a control character"
    if len(part.encode()) > NAME_MAX_BYTES:
        return "a part of it is too long"
    if part[-1] in ". " or _DEVICE.fullmatch(part):
        return "a part of it means a device, or another name, on some systems"
    return None


class ArchivePaths:
    """The paths of one conversation so far; refuses a path that clashes with them."""

    def __init__(self, directories: Iterable[str] = ()) -> None:
        """Begin with directories that must be none but directories."""
        self._files: set[str] = set()
        self._directories = {fold_path(path): path for path in directories}

    def add(self, path: str) -> str | None:
        """Add the path of a file and return None, or return why it must not stand beside the others."""
        problem = find_path_problem(path)
        if problem is not None:
            return problem
        name = fold_path(path)
        if name in self._files:
            return "it is there twice, or differs from another in case alone"
        if name in self._directories:
            return "it is a file and a directory"
        parts = path.split("/")
        for depth in range(1, len(parts)):
            directory = "/".join(parts[:depth])
            if fold_path(directory) in self._files:
                return "it is below a file"
            if self._directories.setdefault(fold_path(directory), directory) != directory:
                return "its directory differs from another in case alone"
        self._files.add(name)
        return None


def fold_path(path: str) -> str:
    """Return a path in a form that is equal for paths that differ only in case or in Unicode's normal forms."""
    return unicodedata.normalize("NFC", path).casefold()


_ID_FIELDS = {
    "meta.json": ("id", "conversation_id", "parent_conversation_id", "forked_from_conversation_id"),
    "base_state.json": ("id",),
}


def with_new_ids(file: ArchiveFile, new_ids: Mapping[ConversationId, ConversationId]) -> ArchiveFile:
    """Return a file with each id that has a new one replaced by it, spelled as it was; every other byte stays.

    A damaged file stays as it is. What Python's own parser reads is not damaged, such as NaN: `repair` reads it too.
    """
    fields = _ID_FIELDS.get(file.name)
    if fields is None or not new_ids:
        return file
    raw = file.raw
    try:
        members = list(iter_members(raw)) if isinstance(json.loads(raw.decode()), dict) else []
    except (ValueError, RecursionError):
        return file
    for name, begin, end in reversed(members):
        if name in fields:
            raw = raw[:begin] + _replace_id(raw[begin:end], new_ids) + raw[end:]
    return ArchiveFile(file.name, raw)


def _replace_id(raw: bytes, new_ids: Mapping[ConversationId, ConversationId]) -> bytes:
    value = json.loads(raw)
    old = find_conversation_id(value) if isinstance(value, str) else None
    new = new_ids.get(old) if old is not None else None
    return raw if new is None else orjson.dumps(dashed(new) if "-" in value else new)
