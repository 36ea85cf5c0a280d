"""Disks that a test may fill, shut down or take away. Mounting needs root."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
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


@contextmanager
def mounted_twice(disk: Path, path: Path) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Give how to mount a directory at `path` and unmount it. The test is left out where this is not allowed."""
    tried = subprocess.run(["mount", "--bind", disk, path], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"NOT TRIED: mounting needs root ({tried.stderr.decode().strip()})")

    def mount() -> None:
        subprocess.run(["mount", "--bind", disk, path], check=True)

    def unmount() -> None:
        subprocess.run(["umount", "--lazy", path], check=True)

    unmount()
    try:
        yield mount, unmount
    finally:
        subprocess.run(["umount", "--lazy", path], capture_output=True, check=False)
