"""The lock `<index>.open`: shared by all processes that have the index open, exclusive for a migration.

So nobody reads or writes tables during a migration, and no program that expects an older schema is running then. The
operating system releases the lock when its process ends.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...errors import IndexBusy, IndexUnusable
from ...locks import SHARED, NoLocks, lock_file

MIGRATION_WAIT_S = 600.0
"""The seconds that opening an index waits for a running migration."""

_UNWRITABLE = frozenset({errno.EACCES, errno.EROFS, errno.ENOENT, errno.EPERM})


def lock_path(path: Path) -> Path:
    """Return the path of the lock file of an index."""
    return path.with_name(f"{path.name}.open")


def hold_open(path: Path, wait_s: float = MIGRATION_WAIT_S) -> int | None:
    """Take the shared lock and return its descriptor for `release`.

    Returns None if the directory is not writable; then nobody can migrate either.

    Raises:
        IndexBusy: a migration took longer than `wait_s`.
        IndexUnusable: the disk is full or fails.
    """
    try:
        descriptor = lock_file(lock_path(path), SHARED, timeout_s=wait_s)
    except OSError as error:
        if error.errno in _UNWRITABLE:
            return None
        todo = "check its disk and free space"
        if isinstance(error, NoLocks):
            todo = "put it on a disk with file locks: CONVSTORE_INDEX_URL=sqlite:////var/lib/convstore/index.db"
        raise IndexUnusable(f"the index {path} cannot be opened ({error.strerror}); {todo}") from error
    if descriptor is None:
        raise IndexBusy(f"the index {path} has been migrated for more than {wait_s:g} s by {_others(path)}; try again")
    return descriptor


def release(descriptor: int | None) -> None:
    """Release the shared lock."""
    if descriptor is not None:
        os.close(descriptor)


@contextmanager
def hold_alone(path: Path, wait_s: float) -> Iterator[None]:
    """Hold the exclusive lock during the block.

    Raises:
        IndexBusy: other processes have the index open for longer than `wait_s`.
        IndexUnusable: the index's directory is not writable.
    """
    try:
        descriptor = lock_file(lock_path(path), timeout_s=wait_s)
    except OSError as error:
        raise IndexUnusable(
            f"the index directory {path.parent} cannot be written to ({error.strerror}); make it writable, "
            "or set CONVSTORE_INDEX_URL=sqlite:////a/writable/path/index.db"
        ) from error
    if descriptor is None:
        raise IndexBusy(
            f"the schema of the index {path} cannot be changed while it is open: {_others(path)} has it. "
            "Stop the server (and other convstore commands), then try again"
        )
    try:
        yield
    finally:
        os.close(descriptor)


def _others(path: Path) -> str:
    """Return a phrase that names the other processes with the lock, or "another process" if none is known."""
    found: set[str] = set()
    with suppress(OSError, IndexError):
        inode = str(lock_path(path).stat().st_ino)
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()  # a line looks like this: 1: FLOCK ADVISORY READ 4711 08:01:1234567 0 EOF
            if fields[1] == "FLOCK" and fields[5].rsplit(":", 1)[-1] == inode:
                found.add(fields[4])
    numbers = sorted(number for number in found if number.isdigit() and number != str(os.getpid()))
    return f"process {', '.join(numbers)}" if numbers else "another process"
