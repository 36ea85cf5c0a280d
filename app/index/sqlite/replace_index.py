"""Replacing a damaged or missing index by an empty one. The damaged file is kept under a new name.

Nobody may have the old file open when the new one takes its name, because closing the last connection to the old file
would delete the new file's write-ahead log by name. So every process holds a shared lock while it has the index open.
The first process that finds damage creates a marker; all others see the marker and close their connections; then one of
them replaces the file. It waits only for a limited time. If a process has not closed the old file by then and damages
the new one, the new one is replaced in turn.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path

from ...locks import try_lock
from . import migrations
from .index_file import FileIdentity, exists, find_identity, make_directory, unusable_directory
from .open_lock import lock_path
from .writer_lock import writer_lock

log = logging.getLogger(__name__)

_PARTS = ("-wal", "-shm", "")
_LET_GO_S = 10.0
_WORK_S = 60.0
_POLL_S = 0.05


def is_marked_damaged(path: Path) -> bool:
    """Whether a process found damage and asks all others to close the index.

    Raises:
        IndexUnusable: the directory cannot be read.
    """
    return exists(_marker(path))


async def replace_damaged(path: Path, damaged: FileIdentity | None) -> bool:
    """Rename the index if it is still the `damaged` file, and make an empty one.

    This process has closed the index before. Returns True if this process replaced the file, and False if another one
    had already done so.

    Raises:
        IndexBusy: another process was replacing the file for too long.
        IndexUnusable: the directory is not writable, or its disk fails.
    """
    make_directory(path, parents=False)  # no parents: a store that was deleted or unmounted must not come back empty
    try:
        return await _replace_in_turn(path, damaged)
    except OSError as error:
        raise unusable_directory(path, error) from error


async def _replace_in_turn(path: Path, damaged: FileIdentity | None) -> bool:
    if not _is_replaced(path, damaged):
        _marker(path).touch()
    deadline = time.monotonic() + _LET_GO_S
    descriptor = os.open(lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not try_lock(descriptor) and not _is_replaced(path, damaged):
            if time.monotonic() > deadline:
                log.warning(
                    "another process still has the damaged index open; replacing the index without waiting longer"
                )
                break
            await asyncio.sleep(_POLL_S)
        return await asyncio.to_thread(_replace_if_damaged, path, damaged)
    finally:
        os.close(descriptor)


def _replace_if_damaged(path: Path, damaged: FileIdentity | None) -> bool:
    with writer_lock(path, _WORK_S):
        if _is_replaced(path, damaged):
            _marker(path).unlink(missing_ok=True)
            return False
        _replace(path)
        return True


def _is_replaced(path: Path, damaged: FileIdentity | None) -> bool:
    return find_identity(path) not in (damaged, None)


def _replace(path: Path) -> None:
    """Make an empty index beside the old one, rename the old one, and then rename the new one into place."""
    fresh = path.with_name(f"{path.name}.fresh-{time.time_ns()}")
    migrations.upgrade(fresh)
    migrations.mark_recovering(fresh)
    aside = set_aside(path)
    fresh.replace(path)
    lock_path(fresh).unlink(missing_ok=True)
    _marker(path).unlink(missing_ok=True)
    kept = f"; the damaged one is kept as {aside.name}" if aside else ""
    log.error("the index %s was damaged or missing and is built again from the files%s", path, kept)


def set_aside(path: Path) -> Path | None:
    """Rename the index's files and return the new path, or None if there is no index. Nobody may have it open."""
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    for suffix in (
        *_PARTS,
        *_PARTS,
    ):  # twice, because another process may have opened the index in between and created a log
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(aside.with_name(aside.name + suffix))
    return aside if aside.exists() else None


def _marker(path: Path) -> Path:
    return path.with_name(f"{path.name}.damaged")
