"""Working directories in filters and facets: one normal spelling for each, and the range of paths below one."""

from __future__ import annotations

import re
from typing import NamedTuple
from unicodedata import normalize

WORKSPACE_MAX = 4096
"""Only this many characters of a working directory are compared. Linux opens no longer path."""

_match_windows = re.compile(r"[A-Za-z]:[\\/]|\\\\").match
_match_drive = re.compile(r"[A-Za-z]:").fullmatch


def normalize_workspace(path: str) -> str:
    """Return the normal spelling of a path: Unicode form NFC, no separators at its end, at most `WORKSPACE_MAX` long.

    macOS writes names in another Unicode form than Linux does, and programs write a directory with a `/` or without.
    """
    path = normalize("NFC", path)
    bare = path.rstrip("\\/" if _match_windows(path) else "/")
    if not bare or _match_drive(bare):  # the root of a file system is its separator
        bare = path[: len(bare) + 1]
    return bare if len(bare) <= WORKSPACE_MAX else bare[: WORKSPACE_MAX - 1] + "…"


class Below(NamedTuple):
    """The normalized paths below a directory: those from `first` up to, but not including, `end`."""

    first: str
    end: str


def find_below(directory: str) -> Below:
    """Return the range of the paths below a normalized directory. `/p-old` is not below `/p`."""
    separator = "\\" if _match_windows(directory) and "\\" in directory else "/"
    bare = directory.removesuffix(separator)
    return Below(bare + separator, bare + chr(ord(separator) + 1))
