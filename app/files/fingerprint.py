"""What tells that another program changed one of a conversation's files since it was looked at last."""

from __future__ import annotations

import os
from typing import NamedTuple

from app.files import layout

Mark = tuple[int, int, int, int] | None
"""What of a file's status differs once it was changed; None while it is missing."""


class Marks(NamedTuple):
    """Those of events/, base_state.json, meta.json and convstore.json."""

    events: Mark = None
    state: Mark = None
    meta: Mark = None
    own: Mark = None


def mark_of(status: os.stat_result) -> Mark:
    """Return the mark of a file of this status."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def find_mark(name: str, fd: int) -> Mark:
    """Return the mark of a file in the open directory `fd`."""
    try:
        return mark_of(os.stat(name, dir_fd=fd, follow_symlinks=False))
    except FileNotFoundError:
        return None


def find_marks(fd: int, events: Mark) -> Marks:
    """Return the marks of a conversation's files, given that of its log."""
    return Marks(events, find_mark(layout.STATE, fd), find_mark(layout.META, fd), find_mark(layout.OWN, fd))
