"""Disk usage of directories. Follows no link; a file with several hard links counts once."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

_BLOCK_BYTES = 512


@dataclass(slots=True)
class DiskUsage:
    """The number of inodes (files, directories, links), their size in bytes, and the bytes allocated on disk."""

    inodes: int = 0
    size_bytes: int = 0
    disk_bytes: int = 0

    def add(self, other: DiskUsage) -> None:
        """Add another usage to this one."""
        self.inodes += other.inodes
        self.size_bytes += other.size_bytes
        self.disk_bytes += other.disk_bytes


SeenInodes = set[tuple[int, int]]
"""(device, inode) of the files with several hard links that were already counted."""


def measure(path: Path, seen: SeenInodes) -> DiskUsage:
    """Return the usage of a file, or of a directory with its contents. Files deleted during the count are ignored."""
    usage = DiskUsage()
    pending = [str(path)]
    try:
        _count(os.lstat(path), usage, seen)
    except OSError:
        return usage
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    _count(status, usage, seen)
                    if stat.S_ISDIR(status.st_mode):
                        pending.append(entry.path)
        except OSError:
            continue
    return usage


def _count(status: os.stat_result, usage: DiskUsage, seen: SeenInodes) -> None:
    if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
        key = (status.st_dev, status.st_ino)
        if key in seen:
            return
        seen.add(key)
    usage.inodes += 1
    usage.size_bytes += 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    usage.disk_bytes += status.st_blocks * _BLOCK_BYTES
