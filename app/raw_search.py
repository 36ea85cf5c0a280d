"""Searching the raw bytes of files for texts, which shows whether an erased text is still on the disk.

A process that closes a database file loses its own locks on it. So `find_in_files` must run in a process that has no
database open.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from stat import S_ISREG

_PIECE_BYTES = 8 << 20


def find_in_files(paths: Iterable[str], needles: Sequence[bytes]) -> dict[str, list[int]]:
    """Return which needles each file contains, as their numbers. A directory stands for all regular files below it.

    Files without a needle, and files that vanish meanwhile, are left out.
    """
    found: dict[str, list[int]] = {}
    for path in paths:
        for file in _list_files(path):
            numbers = _find(file, needles)
            if numbers:
                found[file] = numbers
    return found


def _list_files(path: str) -> Iterator[str]:
    if not os.path.isdir(path):  # noqa: PTH112 - names that are not UTF-8 stay as they are
        yield path
        return
    for directory, _, names in os.walk(path):
        yield from (os.path.join(directory, name) for name in names)  # noqa: PTH118


def _find(path: str, needles: Sequence[bytes]) -> list[int]:
    longest = max(map(len, needles), default=0)
    found: set[int] = set()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return []
    with os.fdopen(descriptor, "rb") as file:
        if not S_ISREG(os.fstat(descriptor).st_mode):
            return []
        tail = b""
        while piece := file.read(_PIECE_BYTES):
            whole = tail + piece
            found.update(n for n, needle in enumerate(needles) if n not in found and needle in whole)
            tail = whole[-(longest - 1) :] if longest > 1 else b""
    return sorted(found)


def list_beside(path: Path) -> list[str]:
    """Return a database and all files whose names begin with its name: its log, backups and damaged predecessors."""
    return sorted(str(one) for one in path.parent.glob(f"{path.name}*"))
