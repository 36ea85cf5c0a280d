"""The layout of a conversations directory: names of files, which directories are conversations, and opening files.

<root>/<id>/meta.json base_state.json convstore.json events/event-00000-<event id>.json

Links are never followed.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from ..errors import DirectoryTaken, StoreUnavailable, UnreadableFile
from ..model.ids import (
    SUBAGENTS,
    ConversationId,
    EventName,
    dashed,
    find_conversation_id,
    parse_conversation_id,
    sort_event_names,
)

META = "meta.json"
STATE = "base_state.json"
EVENTS = "events"
SIDECAR = "convstore.json"
"""The file for the flags that agent-server has no field for: `archived` and `pinned`."""

LEASE = "owner_lease.json"
LEASE_LOCK = ".owner_lease.lock"
LAST_LEASE = ".owner_lease.last"
LOG_LOCK = ".eventlog.lock"
LOG_LOCK_TIMEOUT_S = 30.0
"""agent-server waits as long for this lock; see openhands-sdk 1.58, conversation/event_store.py."""

_FILE_MAX_BYTES = 512 * 1024 * 1024
PIECE_BYTES = 1 << 20
"""The number of bytes that are read at once of a file that is copied."""
_STATES = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})
_match_lease_file = re.compile(
    rf"{re.escape(LEASE_LOCK)}|{re.escape(LEASE)}|{re.escape(LAST_LEASE)}"
    rf"|\.({re.escape(LEASE)}|{re.escape(LAST_LEASE)})\..+\.tmp"
).fullmatch
_match_log_lock = re.compile(
    rf"{re.escape(LOG_LOCK)}|\.eventlog-len-[0-9]+\.marker|\.eventlog-len\.marker\.tmp"
).fullmatch
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_BELOW = f"/{SUBAGENTS}/"


class ConversationDir(NamedTuple):
    """A conversation directory: its name on disk, and the id that the name spells."""

    directory: str
    id: ConversationId


class Kind(Enum):
    """What exists in the store under a name that is a conversation id.

    CONVERSATION: a directory with a meta.json, a base_state.json or an event file, readable or not; or a directory that
        may have such files, because it or its events/ cannot be opened. Lists show it, and it can be deleted.
    GHOST: a directory that is empty, or contains only lock and lease files. agent-server leaves a ghost if it has a
        conversation open that is deleted. A ghost is not a conversation; creating a conversation removes it.
    OTHER: anything else: a directory of an older OpenHands, a user's own files, a link, a file. It is not a
        conversation, and convstore never changes it.
    """

    CONVERSATION = "conversation"
    GHOST = "ghost"
    OTHER = "other"


def find_kind(root: Path, name: str) -> Kind | None:
    """Return the kind of the entry in `root` with this name, or None if there is no entry."""
    try:
        with open_directory(root / name) as fd:
            if holds_conversation(fd):
                return Kind.CONVERSATION
            return Kind.GHOST if _holds_only_locks(fd) else Kind.OTHER
    except FileNotFoundError:
        return None
    except OSError as error:
        if not is_transient_error(error):
            return Kind.OTHER
        return Kind.CONVERSATION if _is_there(f"{root}/{name}") else None


def holds_conversation(fd: int) -> bool:
    """Whether an open directory is a conversation (`Kind.CONVERSATION`)."""
    try:
        return _is_there(META, fd) or _is_there(STATE, fd) or (_is_there(EVENTS, fd) and bool(list_events(fd)))
    except UnreadableFile:
        return True


def _is_there(name: str, dir_fd: int | None = None) -> bool:
    try:
        os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # a name that the system refuses to look up may belong to a conversation
    return True


def _holds_only_locks(fd: int) -> bool:
    """Whether an open directory contains nothing but lock and lease files."""
    try:
        with os.scandir(fd) as entries:
            if not all(one.name == EVENTS or _is_file(one, _match_lease_file) for one in entries):
                return False
        with open_directory(EVENTS, fd) as events_fd, os.scandir(events_fd) as entries:
            return all(_is_file(one, _match_log_lock) for one in entries)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _is_file(entry: os.DirEntry[str], match: Callable[[str], object]) -> bool:
    return match(entry.name) is not None and entry.is_file(follow_symlinks=False)


def find_occupant(root: Path, conversation_id: ConversationId) -> tuple[str, Kind | None]:
    """Return the name of the entry for an id and its kind. If there is none, return the id and None.

    Raises:
        StoreUnavailable: the disk cannot be read.
    """
    name = find_directory(root, conversation_id) or conversation_id
    return name, find_kind(root, name)


def directory_taken(root: Path, name: str) -> DirectoryTaken:
    """Return the error for a name that is already used by something other than a conversation."""
    return DirectoryTaken(
        f"{root / name} already exists and is not a conversation; it was not changed. Move it away and try again"
    )


def conversation_dir(directory: str) -> ConversationDir:
    """Return a directory name from `list_directories` together with the id that it spells."""
    return ConversationDir(directory, parse_conversation_id(directory.rpartition("/")[2]))


def list_directories(root: Path) -> tuple[list[str], list[str]]:
    """Return the sorted names of the conversation directories under `root`, and the names of duplicates.

    If two directories spell one id, the conversation is the one with meta.json or base_state.json, else the one with
    events, else the one with the plain name. The kind of the other directories is not checked. Returns names without
    ids, because 100,000 tuples would need twice the memory.

    Raises:
        StoreUnavailable: `root` cannot be read.
    """
    plain: list[str] = []
    others: list[ConversationDir] = []
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                conversation_id = find_conversation_id(entry.name)
                if conversation_id is not None and entry.is_dir(follow_symlinks=False):
                    if entry.name == conversation_id:
                        plain.append(conversation_id)
                    else:
                        others.append(ConversationDir(entry.name, conversation_id))
    except OSError as error:
        raise store_unavailable(root, error) from error
    chosen, duplicates = _settle(root, plain, others) if others else (plain, [])
    chosen.sort()
    return chosen, duplicates


def store_unavailable(root: Path, error: OSError) -> StoreUnavailable:
    """Return the error for a conversations directory that cannot be read."""
    return StoreUnavailable(
        f"the conversations directory {root} cannot be read ({error.strerror}); "
        "check the path given with --store or CONVSTORE_STORE, and that the disk is mounted"
    )


def _settle(root: Path, plain: list[str], others: list[ConversationDir]) -> tuple[list[str], list[str]]:
    """Return one directory for each id, and the duplicates. Only names with dashes or capitals can be duplicates."""
    rivals: dict[str, list[ConversationDir]] = {}
    for one in others:
        rivals.setdefault(one.id, []).append(one)
    chosen = []
    for name in plain:
        if name in rivals:
            rivals[name].append(conversation_dir(name))
        else:
            chosen.append(name)
    duplicates = []
    for same in rivals.values():
        first = _choose(root, same)
        chosen.append(first.directory)
        duplicates += [one.directory for one in same if one != first]
    return chosen, sorted(duplicates)


def _choose(root: Path, same: Sequence[ConversationDir]) -> ConversationDir:
    return min(same, key=lambda one: (*_rank(root, one.directory), one.directory != one.id, one.directory))


def _rank(root: Path, directory: str) -> tuple[bool, bool]:
    return not _has_files(root / directory), find_kind(root, directory) is not Kind.CONVERSATION


def _has_files(directory: Path) -> bool:
    return any(os.path.lexists(directory / name) for name in (META, STATE))


def find_directory(root: Path, conversation_id: ConversationId) -> str | None:
    """Return the name of an id's directory without listing the root, or None if there is none.

    Of duplicates, it returns the same directory as `list_directories`. Names that mix small and capital letters are not
    found. The kind is not checked.

    Raises:
        StoreUnavailable: the disk cannot be read.
    """
    spelled = (conversation_id, dashed(conversation_id))
    names = dict.fromkeys((*spelled, *(name.upper() for name in spelled)))
    there = [ConversationDir(name, conversation_id) for name in names if is_directory(root, name)]
    return _choose(root, there).directory if there else None


def has_conversations(root: Path) -> bool:
    """Whether `root` has any conversation directory. If it has none, a disk may not be mounted."""
    try:
        with os.scandir(root) as entries:
            return any(find_conversation_id(entry.name) and entry.is_dir(follow_symlinks=False) for entry in entries)
    except OSError:
        return False


def is_directory(root: Path, name: str) -> bool:
    """Whether `root` has a directory with this name. A link does not count.

    Raises:
        StoreUnavailable: the disk cannot be read.
    """
    try:
        return stat.S_ISDIR(os.lstat(root / name).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise store_unavailable(root, error) from error


def open_directory(path: str | Path, dir_fd: int | None = None) -> AbstractContextManager[int]:
    """Open a directory without following a link, and yield its descriptor.

    In the path of a sub-agent's conversation no directory below the store may be a link.

    Raises:
        OSError: the path is missing, not a directory, or a link.
    """
    above, separator, name = str(path).rpartition(_BELOW)
    if separator and find_conversation_id(name) and find_conversation_id(above.rpartition("/")[2]):
        return _open_below(above, name, dir_fd)
    return _OpenDirectory(str(path), dir_fd)


@contextmanager
def _open_below(above: str, name: str, dir_fd: int | None) -> Iterator[int]:
    with (
        open_directory(above, dir_fd) as parent_fd,
        open_directory(SUBAGENTS, parent_fd) as below_fd,
        open_directory(name, below_fd) as descriptor,
    ):
        yield descriptor


class _OpenDirectory(AbstractContextManager[int]):
    """An open directory. A class, because an append opens two, and a generator takes longer than the system calls."""

    __slots__ = ("_descriptor", "_dir_fd", "_path")

    def __init__(self, path: str, dir_fd: int | None) -> None:
        self._path, self._dir_fd, self._descriptor = path, dir_fd, -1

    def __enter__(self) -> int:
        self._descriptor = os.open(self._path, _DIRECTORY, dir_fd=self._dir_fd)
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def is_transient_error(error: OSError) -> bool:
    """Whether a later attempt to open the file may succeed. False if the file is missing, a link or a socket."""
    return error.errno not in _STATES


def read_file(name: str, dir_fd: int) -> tuple[bytes, int]:
    """Return the bytes of a regular file in an open directory, and its mtime in nanoseconds.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableFile: the file cannot be read; the message says why.
    """
    raw, status = read_with_status(name, dir_fd)
    return raw, status.st_mtime_ns


class LargeFile(Exception):
    """A file has more bytes than its caller wants to read."""


def read_with_status(name: str, dir_fd: int, max_bytes: int | None = None) -> tuple[bytes, os.stat_result]:
    """Return the bytes of a regular file, and its status.

    Raises:
        FileNotFoundError, UnreadableFile: as `read_file`.
        LargeFile: it is larger than `max_bytes`, and was not read.
    """
    descriptor = _open_file(name, dir_fd)
    try:
        status = os.fstat(descriptor)
        _require_readable(status)
        if max_bytes is not None and status.st_size > max_bytes:
            raise LargeFile
        return _read_all(descriptor, status.st_size), status
    except OSError as error:
        raise UnreadableFile(f"cannot be read ({error.strerror})", failed=True) from error
    finally:
        os.close(descriptor)


def read_pieces(name: str, dir_fd: int) -> Generator[bytes]:
    """Yield the bytes of a regular file in an open directory, `PIECE_BYTES` at a time.

    Raises:
        FileNotFoundError, UnreadableFile: as `read_file`.
    """
    descriptor = _open_file(name, dir_fd)
    try:
        _require_readable(os.fstat(descriptor))
        while piece := os.read(descriptor, PIECE_BYTES):
            yield piece
    except OSError as error:
        raise UnreadableFile(f"cannot be read ({error.strerror})", failed=True) from error
    finally:
        os.close(descriptor)


def _open_file(name: str, dir_fd: int) -> int:
    try:
        return os.open(name, _READ, dir_fd=dir_fd)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableFile(f"cannot be opened ({error.strerror})", failed=is_transient_error(error)) from error


def _require_readable(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableFile("not a regular file")
    if status.st_size > _FILE_MAX_BYTES:
        raise UnreadableFile(f"larger than {_FILE_MAX_BYTES >> 20} MiB")


def placed_ns(status: os.stat_result) -> int:
    """Return the later of a file's mtime and ctime. A copied file may keep its mtime, but always gets a new ctime."""
    return max(status.st_mtime_ns, status.st_ctime_ns)


def _read_all(descriptor: int, size: int) -> bytes:
    raw = os.read(descriptor, size + 1)
    if len(raw) == size:
        return raw
    parts = [raw]
    while part := os.read(descriptor, 1 << 20):
        parts.append(part)
    return b"".join(parts)


def list_all(fd: int) -> list[str]:
    """Return all names in an open directory."""
    return os.listdir(fd)


def list_events(conversation_fd: int) -> list[EventName]:
    """Return the event files of a conversation in log order; an empty list if there is no events/.

    Raises:
        UnreadableFile: events/ cannot be listed.
    """
    try:
        with open_directory(EVENTS, conversation_fd) as events_fd:
            return list_event_names(events_fd)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UnreadableFile(
            f"events/ cannot be listed ({error.strerror})", failed=is_transient_error(error)
        ) from error


def list_event_names(events_fd: int) -> list[EventName]:
    """Return the names of the events in an open events/ directory, in log order.

    While another process appends, a listing may contain an event but not the one before it. So a listing with a gap is
    repeated, up to its last event.
    """
    names = sort_event_names(os.listdir(events_fd))
    if names and names[-1].seq >= len(names):
        names = [name for name in sort_event_names(os.listdir(events_fd)) if name.seq <= names[-1].seq]
    return names
