"""Publishing a whole conversation: it is written to a staging directory, made durable, read back, and renamed.

Nobody sees it before the rename. A killed process leaves a `.import-<id>-...` directory, which the next import removes.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from ..errors import (
    ConversationExists,
    DirectoryTaken,
    DiskFull,
    ImportRunning,
    LockTimeout,
    StoreUnavailable,
    WriteFailed,
)
from ..locks import NoLocks, hold_lock, no_locks, try_lock
from ..model.archive_format import ArchiveFile, FileInPieces
from ..model.ids import ConversationId, sort_event_names
from . import durable, layout
from .layout import Kind
from .trash import clear_ghost

_STAGING = ".import-"
_match_staged = re.compile(r"[0-9a-f]{32}(-[0-9a-f]{32})?").fullmatch
_LOCK = "import.lock"
OWN_DIRECTORY = ".convstore"
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})
_SPARE_BYTES = 16 << 20
"""The free bytes that must remain on the disk after an import."""

_MANY = 64
"""From this number of files on, one sync of the file system is faster than one fsync per file."""


class ContentDigest:
    """The digest of a set of files, independent of their order, with their number and total size."""

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
    """Hold the store's import lock, and remove the leftovers of killed imports.

    Raises:
        ImportRunning: another process is importing.
        StoreUnavailable: the directory is not writable.
    """
    try:
        (root / OWN_DIRECTORY).mkdir(mode=0o700, exist_ok=True)
        with layout.open_directory(root / OWN_DIRECTORY) as fd:
            lock = hold_lock(_LOCK, 0, dir_fd=fd)
            lock.__enter__()
    except LockTimeout as error:
        raise ImportRunning(f"another import into {root} is running; try again when it is done") from error
    except NoLocks as error:
        raise no_locks("the import") from error
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
    """Check that the disk has space for `size_bytes`.

    Raises:
        DiskFull: there is not enough space.
    """
    status = os.statvfs(root)
    free_bytes = status.f_bavail * status.f_frsize
    if size_bytes + _SPARE_BYTES > free_bytes:
        raise DiskFull(f"the import needs {size_bytes:,} bytes, {root} has {free_bytes:,} left; nothing was imported")


def publish_new(
    root: Path,
    conversation_id: ConversationId,
    files: Iterable[ArchiveFile | FileInPieces],
    *,
    staging_prefix: str = _STAGING,
    read_back: bool = True,
) -> None:
    """Create a conversation durably: `stage` and `publish` in one.

    Raises:
        ConversationExists: the id already has a conversation.
        DirectoryTaken: the name is used by something other than a conversation.
        DiskFull, WriteFailed: writing or reading back failed; nothing is left.
    """
    staged = stage(root, conversation_id, files, staging_prefix=staging_prefix, read_back=read_back)
    for _ in publish(root, [staged]):
        pass


class Staged(NamedTuple):
    """A conversation that is written but not published: the digest of its files, and the paths to make durable.

    Without a digest, the files are not read back.
    """

    id: ConversationId
    path: Path
    written: ContentDigest | None
    paths: list[str]


def stage(
    root: Path,
    conversation_id: ConversationId,
    files: Iterable[ArchiveFile | FileInPieces],
    *,
    staging_prefix: str = _STAGING,
    read_back: bool = True,
) -> Staged:
    """Write a conversation into a staging directory, from which `publish` renames it.

    With `read_back`, `publish` compares all files with what was written, and none may be in pieces. The source of an
    import may be deleted afterwards; that of a fork stays. The directory's name is `staging_prefix`, the id and a
    random part, because two processes may create one conversation.

    Raises:
        DiskFull, WriteFailed: writing failed; nothing is left.
    """
    path = root / f"{staging_prefix}{conversation_id}-{uuid4().hex}"
    with durable.explain_errors(f"conversation {conversation_id}"):
        try:
            path.mkdir(mode=0o755)
            with layout.open_directory(path) as fd:
                try_lock(fd)  # a store without locks gets no conversation that nobody could append to
            written = ContentDigest() if read_back else None
            return Staged(conversation_id, path, written, _write(path, files, written))
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise


def publish(root: Path, staged: Sequence[Staged]) -> Iterator[Staged]:
    """Rename staged conversations into place, and yield each. Those yielded are durable when this ends or raises.

    Raises:
        ConversationExists: the id already has a conversation. The staged copies of this and later ones are removed.
        DirectoryTaken: the same, if the name is used by something other than a conversation.
        DiskFull, WriteFailed: a conversation could not be made durable, or differs when it is read back.
    """
    try:
        with durable.explain_errors(f"conversation {staged[0].id}" if len(staged) == 1 else "conversations"):
            _settle(root, [path for one in staged for path in one.paths])
        for one in staged:
            with durable.explain_errors(f"conversation {one.id}"):
                if one.written is not None:
                    _verify(one, one.written)
                _publish(root, one)
            yield one
    finally:
        for one in staged:
            shutil.rmtree(one.path, ignore_errors=True)
        with durable.explain_errors("conversations"):
            _sync(root)


def _settle(root: Path, paths: Sequence[str]) -> None:
    """Make files durable. For many files, one sync of the file system is many times faster than one fsync per file."""
    if len(paths) < _MANY:
        for path in paths:
            _sync(path)
    else:
        with layout.open_directory(root) as fd:
            durable.sync_file_system(fd)


def is_staging(name: str, staging_prefix: str = _STAGING) -> bool:
    """Whether a name is that of a staging directory, of this or an earlier version. `.import-old` of a user is not."""
    return name.startswith(staging_prefix) and _match_staged(name.removeprefix(staging_prefix)) is not None


def remove_leftovers(root: Path, staging_prefix: str, before_s: float) -> None:
    """Remove staging directories that were begun before a time (seconds since 1970)."""
    with suppress(OSError), os.scandir(root) as entries:
        for left in [entry for entry in entries if is_staging(entry.name, staging_prefix)]:
            with suppress(OSError):
                if left.stat(follow_symlinks=False).st_mtime < before_s:
                    shutil.rmtree(left.path)


def _write(staging: Path, files: Iterable[ArchiveFile | FileInPieces], written: ContentDigest | None) -> list[str]:
    """Write the files, with base_state.json and meta.json last, like agent-server. Return all their paths.

    An event that is newer than meta.json would count as activity after `updated_at`. An event that is newer than
    base_state.json would look as if a crash had prevented the HEAD from moving to it.
    """
    last: dict[str, ArchiveFile | FileInPieces] = {}
    names: list[str] = []
    events: list[str] = []
    with _Tree(staging) as tree:
        tree.find(layout.EVENTS)
        for file in files:
            if written is not None and isinstance(file, ArchiveFile):
                written.add(file)
            if file.name in (layout.STATE, layout.META):
                last[file.name] = file
                continue
            directory, name = tree.write(file)
            names.append(file.name)
            if directory == layout.EVENTS:
                events.append(name)
        numbers = [event.seq for event in sort_event_names(events)]
        if numbers and numbers == list(range(len(numbers))):
            names.append(f"{layout.EVENTS}/.eventlog-len-{len(numbers)}.marker")
            tree.write(ArchiveFile(names[-1], b""))
        for name in (layout.STATE, layout.META):
            if name in last:
                tree.write(last[name])
                names.append(name)
        return [f"{staging}/{name}" for name in (*names, *tree.directories)]


class _Tree(AbstractContextManager["_Tree"]):
    """Writes new files below a directory.

    The directory of the last file stays open, and most files are in the same as the one before: so the system need not
    walk the path of each.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: tuple[str, int] | None = None
        self.directories = {""}
        """The paths of all directories below the root, and the root's, which is empty."""

    def __exit__(self, *_: object) -> None:
        if self._open is not None:
            os.close(self._open[1])

    def write(self, file: ArchiveFile | FileInPieces) -> tuple[str, str]:
        """Write a new file, make its directories, and return the path of the last one and the file's name there."""
        directory, _, name = file.name.rpartition("/")
        descriptor = os.open(name, _CREATE, durable.FILE_MODE, dir_fd=self.find(directory))
        try:
            for piece in file.pieces if isinstance(file, FileInPieces) else (file.raw,):
                durable.write_all(descriptor, piece)
        finally:
            os.close(descriptor)
        return directory, name

    def find(self, directory: str) -> int:
        """Return the open directory of this path, which is made if it is missing."""
        if self._open is not None and self._open[0] == directory:
            return self._open[1]
        self._make(directory)
        descriptor = os.open(self._root / directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        if self._open is not None:
            os.close(self._open[1])
        self._open = directory, descriptor
        return descriptor

    def _make(self, path: str) -> None:
        if path not in self.directories:
            self._make(path.rpartition("/")[0])
            (self._root / path).mkdir(mode=0o755)
            self.directories.add(path)


def _sync(path: str | Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _verify(staged: Staged, written: ContentDigest) -> None:
    """Read all files back.

    Raises:
        WriteFailed: a file differs from the one that was written.
    """
    found = ContentDigest()
    for directory, _, names in os.walk(staged.path):
        for name in names:
            if not name.endswith(".marker"):
                path = f"{directory}/{name}"
                with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a Path costs as much as reading the file
                    found.add(ArchiveFile(path.removeprefix(f"{staged.path}/"), file.read()))
    if found.digest() != written.digest():
        raise WriteFailed(
            f"conversation {staged.id} differs from what was written when it is read back; check the disk"
        )


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
    return ConversationExists(f"conversation {directory} already exists; it was not changed")
