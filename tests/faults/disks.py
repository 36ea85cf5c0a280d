"""Disks that a test may fill, shut down or take away. Mounting needs root."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(path: Path, *, size: str = "8m", inodes: int = 1000) -> Iterator[Path]:
    """Mount a file system in memory that holds little. The test is left out where this is not allowed."""
    path.mkdir()
    options = f"size={size},nr_inodes={inodes}"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"NOT TRIED: mounting a small disk needs root ({mounted.stderr.decode().strip()})")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)
