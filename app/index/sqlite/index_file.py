"""The file of the index: its directory, size and identity. The file is never opened except through SQLite."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from app.errors import IndexUnusable
from app.filesystem import find_file_system


class FileIdentity(NamedTuple):
    """The identity of a file, whatever its name."""

    device: int
    inode: int


def find_identity(path: Path) -> FileIdentity | None:
    """Return the identity of the file that has this name now, or None."""
    try:
        status = path.stat()
    except OSError:
        return None
    return FileIdentity(status.st_dev, status.st_ino)


def make_directory(path: Path, *, parents: bool = True) -> None:
    """Make the directory of the index; without `parents` the directory around it must exist.

    Raises:
        IndexUnusable: it cannot be made or written to, or is on a network file system.
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
    """Make an empty file that only its owner may read, if there is none. SQLite would follow the umask.

    SQLite gives the write-ahead log the same mode. If this fails, SQLite fails too and reports it.
    """
    with suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))


def unusable_directory(path: Path, error: OSError) -> IndexUnusable:
    """Return the error for a directory of the index that cannot be looked into."""
    todo = "check its disk"
    if isinstance(error, PermissionError):
        todo = "make it readable and writable for this user, or set CONVSTORE_INDEX_URL=sqlite:////a/writable/path/index.db"
    return IndexUnusable(f"the index directory {path.parent} cannot be used ({error.strerror}); {todo}")


def require_directory(path: Path) -> None:
    """Raise an error if the directory of the index is gone.

    Raises:
        IndexUnusable: it is gone.
    """
    if not os.path.isdir(path.parent):  # noqa: PTH112 - an error of the disk counts as gone
        raise IndexUnusable(f"the index directory {path.parent} is gone; mount or restore it, and it is used again")


def require_in_place(path: Path, opened: FileIdentity | None) -> None:
    """Raise an error unless the file of this name is the one that was opened.

    Raises:
        IndexUnusable: it is another one, or gone.
    """
    require_same(path, opened, find_identity(path))


def require_same(path: Path, before: FileIdentity | None, now: FileIdentity | None) -> None:
    """Raise an error unless both identities are of the same file.

    Raises:
        IndexUnusable: they are not, or one is None.
    """
    if before is None or before != now:
        raise IndexUnusable(f"the index {path} was deleted or replaced meanwhile; try again")


def pin_file(path: Path) -> int | None:
    """Return a descriptor that keeps the inode of this file from being reused, or None if there is no file.

    It is opened with O_PATH: closing any other descriptor of the file would drop SQLite's POSIX locks.
    """
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None


def require_local(index: Path) -> None:
    """Refuse an index that would be on another machine.

    Raises:
        IndexUnusable: it is on a network file system.
    """
    found = find_file_system(index.parent)
    if found.network:
        raise IndexUnusable(
            f"the index {index} would be on {found.type}, a network file system, where SQLite's locks cannot be "
            "trusted; put it on a local disk: CONVSTORE_INDEX_URL=sqlite:////var/lib/convstore/index.db"
        )


def measure_files(index_path: Path) -> dict[str, int]:
    """Return the bytes of the index's files: `index_bytes` and `wal_bytes`, 0 for one that does not exist."""
    sizes = {}
    for name, suffix in (("index_bytes", ""), ("wal_bytes", "-wal")):
        try:
            sizes[name] = Path(f"{index_path}{suffix}").stat().st_size
        except OSError:
            sizes[name] = 0
    return sizes
