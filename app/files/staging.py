"""Putting a whole conversation in its place: built beside it, made durable, read back, and renamed.

Until the rename nobody sees it; a process that is killed leaves a `.import-<id>-...` that the next import removes.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from app.errors import (
    ConversationExists,
    DirectoryTaken,
    DiskFull,
    ImportRunning,
    LockTimeout,
    StoreUnavailable,
    WriteFailed,
)
from app.files import durable, layout
from app.files.layout import Kind
from app.files.trash import clear_ghost
from app.locks import hold_lock
from app.model.archive_format import ArchiveFile
from app.model.ids import ConversationId, EventName
from app.model.jsonlines import find_event

_STAGING = ".import-"
_match_staged = re.compile(r"[0-9a-f]{32}(-[0-9a-f]{32})?").fullmatch
_LOCK = "import.lock"
_OWN_DIRECTORY = ".convstore"
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})
_SPARE_BYTES = 16 << 20
"""Room that must be left on the disk after an import."""

_MANY = 64
"""From so many files on, one sync of the file system is faster than an fsync of each."""


class ContentDigest:
    """The digest of a set of files, which does not depend on their order, with their number and total size."""

    def __init__(self) -> None:
        self.files = 0
        self.size_bytes = 0
        self._digests: list[bytes] = []

    def add(self, file: ArchiveFile) -> None:
        """Add a file."""
        self.files += 1
        self.size_bytes += len(file.raw)
        self._digests.append(sha256(b"%b\0%b" % (file.name.encode(), file.raw)).digest())

    def digest(self) -> bytes:
        """Return the digest of all files so far."""
        return sha256(b"".join(sorted(self._digests))).digest()


@contextmanager
def import_lock(root: Path) -> Iterator[None]:
    """Hold the lock of imports into a store, and remove what a killed import left.

    Raises:
        ImportRunning: another process is importing.
        StoreUnavailable: the directory cannot be written to.
    """
    try:
        (root / _OWN_DIRECTORY).mkdir(mode=0o700, exist_ok=True)
        with layout.open_directory(root / _OWN_DIRECTORY) as fd:
            lock = hold_lock(_LOCK, 0, dir_fd=fd)
            lock.__enter__()
    except LockTimeout as error:
        raise ImportRunning(f"another import into {root} is running; try again when it is done") from error
    except OSError as error:
        raise StoreUnavailable(f"{root} cannot be written to ({error.strerror}); nothing was imported") from error
    try:
        for left in root.glob(f"{_STAGING}*"):
            if is_staging(left.name):
                shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        lock.__exit__(None, None, None)


def require_space(root: Path, size_bytes: int) -> None:
    """Check that so many bytes fit on the disk.

    Raises:
        DiskFull: there is not that much space.
    """
    status = os.statvfs(root)
    free_bytes = status.f_bavail * status.f_frsize
    if size_bytes + _SPARE_BYTES > free_bytes:
        raise DiskFull(f"the import needs {size_bytes:,} bytes, {root} has {free_bytes:,} left; nothing was imported")


def publish_new(
    root: Path, conversation_id: ConversationId, files: Iterable[ArchiveFile], *, staging_prefix: str = _STAGING
) -> None:
    """Write a conversation and put it in its place, durably. It is built beside the others, as `stage` says.

    Raises:
        ConversationExists: there is one of this id.
        DirectoryTaken: something that is no conversation is in its place.
        DiskFull, WriteFailed: it could not be written, or reads back otherwise; nothing is left of it.
    """
    for _ in publish(root, [stage(root, conversation_id, files, staging_prefix=staging_prefix)]):
        pass


class Staged(NamedTuple):
    """A conversation that is written but not published: what was written, and the paths that must be made durable."""

    id: ConversationId
    path: Path
    written: ContentDigest
    paths: list[Path]


def stage(
    root: Path, conversation_id: ConversationId, files: Iterable[ArchiveFile], *, staging_prefix: str = _STAGING
) -> Staged:
    """Write a conversation into a directory of its own beside the others, for `publish` to put in its place.

    Its name begins with `staging_prefix` and the id and ends at random: two processes may create one conversation.

    Raises:
        DiskFull, WriteFailed: it could not be written; nothing is left of it.
    """
    path = root / f"{staging_prefix}{conversation_id}-{uuid4().hex}"
    with durable.explain_errors(f"conversation {conversation_id}"):
        try:
            path.mkdir(mode=0o755)
            return Staged(conversation_id, path, *_write(path, files))
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise


def publish(root: Path, staged: Sequence[Staged]) -> Iterator[Staged]:
    """Rename conversations into place and yield each. Those yielded are durable when this ends or raises.

    Raises:
        ConversationExists: one of this id exists. Neither it nor later ones are published; their copies are removed.
        DirectoryTaken: the same, where something that is no conversation is in its place.
        DiskFull, WriteFailed: one could not be made durable, or differs when it is read back.
    """
    try:
        with durable.explain_errors(f"conversation {staged[0].id}" if len(staged) == 1 else "conversations"):
            _settle(root, [path for one in staged for path in one.paths])
        for one in staged:
            with durable.explain_errors(f"conversation {one.id}"):
                _verify(one)
                _publish(root, one)
            yield one
    finally:
        for one in staged:
            shutil.rmtree(one.path, ignore_errors=True)
        with durable.explain_errors("conversations"):
            _sync(root)


def _settle(root: Path, paths: Sequence[Path]) -> None:
    """Make files durable: each by an fsync, or many by one sync of the file system, which is many times faster."""
    if len(paths) < _MANY:
        for path in paths:
            _sync(path)
    else:
        with layout.open_directory(root) as fd:
            durable.sync_file_system(fd)


def is_staging(name: str, staging_prefix: str = _STAGING) -> bool:
    """Whether `stage` gives such names, now or in an earlier version. Another's `.import-old` is not one to remove."""
    return name.startswith(staging_prefix) and _match_staged(name.removeprefix(staging_prefix)) is not None


def remove_leftovers(root: Path, staging_prefix: str, before_s: float) -> None:
    """Remove what a killed process was building when it was begun before a time, in seconds since 1970."""
    with suppress(OSError), os.scandir(root) as entries:
        for left in [entry for entry in entries if is_staging(entry.name, staging_prefix)]:
            with suppress(OSError):
                if left.stat(follow_symlinks=False).st_mtime < before_s:
                    shutil.rmtree(left.path)


def _write(staging: Path, files: Iterable[ArchiveFile]) -> tuple[ContentDigest, list[Path]]:
    """Write the files, base_state.json and meta.json last, as agent-server does; return them and all their paths.

    An event that is newer than meta.json would count as activity after its updated_at, and one that is newer than
    base_state.json as one that a crash kept HEAD from.
    """
    written = ContentDigest()
    last: dict[str, ArchiveFile] = {}
    events: list[EventName] = []
    directories = {staging}
    _make_directory(staging / layout.EVENTS, staging, directories)
    paths = []
    for file in files:
        written.add(file)
        if file.name in (layout.STATE, layout.META):
            last[file.name] = file
            continue
        event = find_event(file.name)
        if event is not None:
            events.append(event)
        paths.append(_write_file(staging, file, directories))
    if events and [event.seq for event in sorted(events)] == list(range(len(events))):
        paths.append(
            _write_file(staging, ArchiveFile(f"{layout.EVENTS}/.eventlog-len-{len(events)}.marker", b""), directories)
        )
    paths += [_write_file(staging, last[name], directories) for name in (layout.STATE, layout.META) if name in last]
    return written, [*paths, *directories]


def _write_file(staging: Path, file: ArchiveFile, directories: set[Path]) -> Path:
    path = staging / file.name
    _make_directory(path.parent, staging, directories)
    descriptor = os.open(path, _CREATE, durable.FILE_MODE)
    try:
        durable.write_all(descriptor, file.raw)
    finally:
        os.close(descriptor)
    return path


def _make_directory(path: Path, staging: Path, directories: set[Path]) -> None:
    if path not in directories:
        _make_directory(path.parent, staging, directories)
        path.mkdir(mode=0o755)
        directories.add(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _verify(staged: Staged) -> None:
    """Read everything back.

    Raises:
        WriteFailed: it is not what was written.
    """
    found = ContentDigest()
    for directory, _, names in os.walk(staged.path):
        for name in names:
            path = Path(directory, name)
            if not name.endswith(".marker"):
                found.add(ArchiveFile(str(path.relative_to(staged.path)), path.read_bytes()))
    if found.digest() != staged.written.digest():
        raise WriteFailed(f"conversation {staged.id} reads back otherwise than it was written; check the disk")


def _publish(root: Path, staged: Staged) -> None:
    found, kind = layout.find_occupant(root, staged.id)
    if kind is not None and not clear_ghost(root, found):
        raise _refusal(root, found)
    try:
        staged.path.rename(root / staged.id)
    except OSError as error:
        if error.errno in _TAKEN:
            raise _refusal(root, staged.id) from error
        raise


def _refusal(root: Path, directory: str) -> ConversationExists | DirectoryTaken:
    if layout.find_kind(root, directory) is Kind.OTHER:
        return layout.directory_taken(root, directory)
    return ConversationExists(f"there is a conversation {directory} by now; it is left as it is")
