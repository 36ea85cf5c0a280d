"""The index's file: its directory, size and identity. Only SQLite opens the file."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ...errors import IndexUnusable
from ...filesystem import find_file_system


class FileIdentity(NamedTuple):
    """The identity of a file, independent of its name."""

    device: int
    inode: int


def find_identity(path: Path) -> FileIdentity | None:
    """Return the identity of the file that has this name now, or None."""
    try:
        status = path.stat()
    except OSError:
        return None
    return FileIdentity(status.st_dev, status.st_ino)


def exists(path: Path) -> bool:
    """Whether a file of the index exists.

    Raises:
        IndexUnusable: its directory cannot be read.
    """
    try:
        return path.exists()
    except OSError as error:
        raise unusable_directory(path, error) from error


def make_directory(path: Path, *, parents: bool = True) -> None:
    """Make the index's directory. Without `parents`, its parent directory must exist.

    Raises:
        IndexUnusable: the directory cannot be made or written to, or is on a network file system.
    """
    require_local(path)
    try:
        path.parent.mkdir(mode=0o700, parents=parents, exist_ok=True)
    except OSError as error:
        raise IndexUnusable(
            f"the index directory {path.parent} cannot be made ({error.strerror}); "
            "make it writable, or set CONVSTORE_INDEX_URL=sqlite:////a/writable/path/index.db"
        ) from error


def make_private(path: Path) -> None:
    """Make an empty file with mode 0600 if there is none, because SQLite would use the umask.

    SQLite gives the write-ahead log the same mode. If this function fails, opening the index fails too and reports why.
    """
    with suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))


def unusable_directory(path: Path, error: OSError) -> IndexUnusable:
    """Return the error for an index directory that cannot be used."""
    todo = "check its disk"
    if isinstance(error, PermissionError):
        todo = "make it readable and writable for this user, or set CONVSTORE_INDEX_URL=sqlite:////a/writable/path/index.db"
    return IndexUnusable(f"the index directory {path.parent} cannot be used ({error.strerror}); {todo}")


def require_directory(path: Path) -> None:
    """Check that the index's directory exists.

    Raises:
        IndexUnusable: the directory is missing.
    """
    if not os.path.isdir(path.parent):  # noqa: PTH112 - an error of the disk counts as gone
        raise IndexUnusable(
            f"the index directory {path.parent} is missing; mount or restore it, and convstore uses it again"
        )


def require_in_place(path: Path, opened: FileIdentity | None) -> None:
    """Check that the path still refers to the file that was opened.

    Raises:
        IndexUnusable: the file was replaced or deleted.
    """
    require_same(path, opened, find_identity(path))


def require_same(path: Path, before: tuple[int, int] | None, now: FileIdentity | None) -> None:
    """Check that both identities are of the same file.

    Raises:
        IndexUnusable: they differ, or one is None.
    """
    if before is None or before != now:
        raise IndexUnusable(f"the index {path} was deleted or replaced during the request; try again")


def pin_file(path: Path) -> int | None:
    """Return a descriptor that keeps the inode of this file from being reused, or None if there is no file.

    It is opened with O_PATH, because closing any other descriptor of the file would drop SQLite's POSIX locks.
    """
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None


def require_local(index: Path) -> None:
    """Check that the index is on a local file system.

    Raises:
        IndexUnusable: the index is on a network file system.
    """
    found = find_file_system(index.parent)
    if found.network:
        raise IndexUnusable(
            f"the index {index} would be on {found.type}, a network file system, where SQLite's locks cannot be "
            "trusted; put it on a local disk: CONVSTORE_INDEX_URL=sqlite:////var/lib/convstore/index.db"
        )


def measure_files(index_path: Path) -> dict[str, int]:
    """Return the sizes of the index's files: `index_bytes` and `wal_bytes`, 0 for a missing file."""
    sizes = {}
    for name, suffix in (("index_bytes", ""), ("wal_bytes", "-wal")):
        try:
            sizes[name] = Path(f"{index_path}{suffix}").stat().st_size
        except OSError:
            sizes[name] = 0
    return sizes
