"""The format of archives: kinds of export, size limits, permitted paths, and new ids for imported conversations."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import orjson

from .ids import SUBAGENTS, ConversationId, dashed, find_conversation_id
from .json_splice import iter_members

NAME_MAX_BYTES = 255
DEPTH_MAX = 32
_PATH_MAX_BYTES = 2048
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_REFUSED = re.compile(r'[\\<>:"|?*]').search
_is_plain = re.compile(r"[ -~]*").fullmatch


class ExportFormat(StrEnum):
    """The formats of an export. `zip` and `jsonl` can be imported again; `markdown` and `html` are for reading."""

    ZIP = "zip"
    JSONL = "jsonl"
    MARKDOWN = "markdown"
    HTML = "html"

    @property
    def suffix(self) -> str:
        """The file name extension."""
        return ".md" if self is ExportFormat.MARKDOWN else f".{self.value}"

    @property
    def media_type(self) -> str:
        """The media type of the HTTP response."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    ExportFormat.ZIP: "application/zip",
    ExportFormat.JSONL: "application/x-ndjson",
    ExportFormat.MARKDOWN: "text/markdown; charset=utf-8",
    ExportFormat.HTML: "text/html; charset=utf-8",
}


class OnClash(StrEnum):
    """How an import treats a conversation whose id is already in the store."""

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
"""The limits for an administrator who imports a whole store."""

NO_LIMITS = Limits(file_bytes=1 << 50, total_bytes=1 << 60, files=1 << 40, ratio=None)
"""The limits for data that the store itself wrote."""

FOREIGN_ARCHIVE = Limits(file_bytes=64 << 20, total_bytes=2 << 30, files=200_000)
"""The limits for an archive that arrives over HTTP."""

RATIO_FROM_BYTES = 64 << 20
"""The ratio is checked from this unpacked size on, because a small log of equal lines also compresses very well."""


class ArchiveFile(NamedTuple):
    """A file of a conversation.

    `name` is its path relative to the conversation's directory, with "/" between the parts.
    """

    name: str
    raw: bytes


class FileInPieces(NamedTuple):
    """A file like `ArchiveFile`, whose bytes are read piece by piece when they are asked for."""

    name: str
    pieces: Iterator[bytes]


class LeftOutFile(NamedTuple):
    """A file that an export omits, and the reason."""

    name: str
    reason: str


def find_path_problem(path: str) -> str | None:
    """Return why a path must not be written below a conversation's directory, or None if it is safe.

    A path is refused if it leads out of the directory or means something else on another system: absolute paths, "..",
    backslashes, drive letters, device names, control characters, and names that end in a dot or a space.
    """
    if not path or len(path.encode("utf-8", "surrogatepass")) > _PATH_MAX_BYTES:
        return "it is empty or too long"
    parts = path.split("/")
    if len(parts) > DEPTH_MAX:
        return f"it is more than {DEPTH_MAX} directories deep"
    return next(filter(None, map(_part_problem, parts)), None)


def _part_problem(part: str) -> str | None:
    if part in ("", ".", ".."):
        return (
            "it leads out of the conversation's directory"
            if part == ".."
            else "it is absolute, or a part of it is empty"
        )
    if _REFUSED(part):
        return "it has a character that some systems do not allow in names"
    if not _is_plain(part) and any(unicodedata.category(c) in ("Cc", "Cs") for c in part):
        return "it has a control character"
    if len(part.encode()) > NAME_MAX_BYTES:
        return "a part of it is too long"
    if part[-1] in ". " or _DEVICE.fullmatch(part):
        return "a part of it means a device, or another name, on some systems"
    return None


class ArchivePaths:
    """The paths of one conversation that were accepted so far. Refuses a path that conflicts with one of them."""

    def __init__(self, directories: Iterable[str] = ()) -> None:
        """Start with paths that may only be directories."""
        self._files: set[str] = set()
        self._directories = {fold_path(path): path for path in directories}

    def add(self, path: str) -> str | None:
        """Add the path of a file and return None, or return why the path conflicts with an earlier one."""
        problem = find_path_problem(path)
        if problem is not None:
            return problem
        name = fold_path(path)
        if name in self._files:
            return "it occurs twice, or differs from another path only in case"
        if name in self._directories:
            return "it is a file and a directory"
        parts = path.split("/")
        for depth in range(1, len(parts)):
            directory = "/".join(parts[:depth])
            if fold_path(directory) in self._files:
                return "it is below a file"
            if self._directories.setdefault(fold_path(directory), directory) != directory:
                return "its directory differs from another one only in case"
        self._files.add(name)
        return None


def fold_path(path: str) -> str:
    """Return a key that is equal for paths that differ only in case or in Unicode normalization."""
    return unicodedata.normalize("NFC", path).casefold()


_ID_FIELDS = {
    "meta.json": ("id", "conversation_id", "parent_conversation_id", "forked_from_conversation_id"),
    "base_state.json": ("id",),
}


def split_subagent_path(name: str) -> tuple[list[str], str]:
    """Return the directories of the sub-agents around a file, the outermost first, and its path in the last."""
    parts = name.split("/")
    depth = 0
    while len(parts) > depth + 2 and parts[depth] == SUBAGENTS and find_conversation_id(parts[depth + 1]):
        depth += 2
    return parts[1:depth:2], "/".join(parts[depth:])


def with_new_ids(file: ArchiveFile, new_ids: Mapping[ConversationId, ConversationId]) -> ArchiveFile:
    """Return the file with every id in `new_ids` replaced, in the same spelling. All other bytes stay the same.

    In its path, the ids of sub-agents' directories are replaced.

    A file that Python's `json` cannot parse is returned unchanged. Python's parser is used because it accepts NaN, as
    `convstore repair` does.
    """
    if not new_ids:
        return file
    subagents, local = split_subagent_path(file.name)
    name = "".join(f"{SUBAGENTS}/{_new_name(one, new_ids)}/" for one in subagents) + local
    return ArchiveFile(name, _with_new_ids(file.raw, _ID_FIELDS.get(local, ()), new_ids))


def _with_new_ids(raw: bytes, fields: Sequence[str], new_ids: Mapping[ConversationId, ConversationId]) -> bytes:
    if not fields:
        return raw
    try:
        members = list(iter_members(raw)) if isinstance(json.loads(raw.decode()), dict) else []
    except (ValueError, RecursionError):
        return raw
    for name, begin, end in reversed(members):
        if name in fields:
            raw = raw[:begin] + _replace_id(raw[begin:end], new_ids) + raw[end:]
    return raw


def _replace_id(raw: bytes, new_ids: Mapping[ConversationId, ConversationId]) -> bytes:
    value = json.loads(raw)
    new = _new_name(value, new_ids) if isinstance(value, str) else value
    return raw if new == value else orjson.dumps(new)


def _new_name(value: str, new_ids: Mapping[ConversationId, ConversationId]) -> str:
    old = find_conversation_id(value)
    new = new_ids.get(old) if old is not None else None
    return value if new is None else dashed(new) if "-" in value else new
