"""Who has an index open. Every process that has holds a shared lock on `<index>.open`; a migration holds it alone.

So nobody ever reads or writes tables that another one is changing, and a program that expects an older schema cannot
meanwhile be running. The lock is the operating system's, and ends with its process.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.errors import IndexBusy, IndexUnusable
from app.locks import SHARED, lock_file

MIGRATION_WAIT_S = 600.0
"""How long opening an index waits for a migration that is running."""

_UNWRITABLE = frozenset({errno.EACCES, errno.EROFS, errno.ENOENT, errno.EPERM})


def lock_path(path: Path) -> Path:
    """Return the lock's file of an index."""
    return path.with_name(f"{path.name}.open")


def hold_open(path: Path, wait_s: float = MIGRATION_WAIT_S) -> int | None:
    """Take part in an index and return what `release` takes. None where nothing can be written, so nobody can migrate.

    Raises:
        IndexBusy: it is being migrated, for longer than `wait_s`.
        IndexUnusable: the disk is full or fails.
    """
    try:
        descriptor = lock_file(lock_path(path), SHARED, timeout_s=wait_s)
    except OSError as error:
        if error.errno in _UNWRITABLE:
            return None
        raise IndexUnusable(
            f"the index {path} cannot be opened ({error.strerror}); check its disk and free space"
        ) from error
    if descriptor is None:
        raise IndexBusy(f"the index {path} has been migrated for more than {wait_s:g} s by {_others(path)}; try again")
    return descriptor


def release(descriptor: int | None) -> None:
    """Stop taking part."""
    if descriptor is not None:
        os.close(descriptor)


@contextmanager
def hold_alone(path: Path, wait_s: float) -> Iterator[None]:
    """Be the only one who has an index open.

    Raises:
        IndexBusy: others have it open, for longer than `wait_s`.
        IndexUnusable: the index's directory cannot be written to.
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
    """Return who holds the lock, as far as the system tells."""
    found: set[str] = set()
    with suppress(OSError, IndexError):
        inode = str(lock_path(path).stat().st_ino)
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()  # 1: FLOCK ADVISORY READ 4711 08:01:1234567 0 EOF
            if fields[1] == "FLOCK" and fields[5].rsplit(":", 1)[-1] == inode:
                found.add(fields[4])
    numbers = sorted(number for number in found if number.isdigit() and number != str(os.getpid()))
    return f"process {', '.join(numbers)}" if numbers else "another process"
