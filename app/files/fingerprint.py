"""What tells that another program changed one of a conversation's files since it was looked at last."""

from __future__ import annotations

import os
from typing import NamedTuple

from app.files import layout

Mark = tuple[int, int, int, int] | None
"""What of a file's status differs once it was changed; None while it is missing."""


class FileFingerprints(NamedTuple):
    """Those of events/, base_state.json, meta.json and convstore.json."""

    events: Mark = None
    state: Mark = None
    meta: Mark = None
    own: Mark = None


def fingerprint_of(status: os.stat_result) -> Mark:
    """Return the mark of a file of this status."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def find_fingerprint(name: str, fd: int) -> Mark:
    """Return the mark of a file in the open directory `fd`."""
    try:
        return fingerprint_of(os.stat(name, dir_fd=fd, follow_symlinks=False))
    except FileNotFoundError:
        return None


def find_fingerprints(fd: int, events: Mark) -> FileFingerprints:
    """Return the marks of a conversation's files, given that of its log."""
    return FileFingerprints(
        events,
        find_fingerprint(layout.STATE, fd),
        find_fingerprint(layout.META, fd),
        find_fingerprint(layout.SIDECAR, fd),
    )
