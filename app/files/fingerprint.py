"""Fingerprints of files, which detect changes by other programs. Opens no file.

A `Fingerprint` describes one file. An open conversation keeps the fingerprints of its files. The index keeps a
conversation's signature: 16 bytes computed from the fingerprints of its files.
"""

from __future__ import annotations

import os
import stat
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from time import time_ns
from typing import NamedTuple

from ..model.ids import SUBAGENTS
from .layout import EVENTS, META, SIDECAR, STATE, store_unavailable

UNTRUSTED = b""
"""The signature of files that changed too recently. It equals no computed signature, so the files are read again."""

FAILED = b"!"
"""The signature of files that could not be read. It equals no computed signature, so the files are read again."""

_SIGNED = (META, STATE, SIDECAR, EVENTS)
_RACY_NS = 2_000_000_000
_LINKS_WITH_ONE_BELOW = 3
"""The links of a directory that has one directory: its name, `.`, and the other's `..`. Some file systems count 1."""


class Fingerprint(NamedTuple):
    """The fields of a file's or directory's status that show a change."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    def is_racy(self, now_ns: int) -> bool:
        """Whether the file changed within the last two seconds.

        A further change may then get the same time (git's rule). File times have the resolution of a clock tick: 4 ms
        before Linux 6.13, 2 s on FAT.
        """
        return abs(now_ns - self.mtime_ns) < _RACY_NS or abs(now_ns - self.ctime_ns) < _RACY_NS


_MISSING = Fingerprint(-1, -1, -1, -1)
_UINT64_MAX = 2**64 - 1
_pack = Struct(f"<{len(Fingerprint._fields) * len(_SIGNED)}Q").pack


class ConversationFingerprints(NamedTuple):
    """The fingerprints of a conversation's files, None for a missing file."""

    events: Fingerprint | None = None
    state: Fingerprint | None = None
    meta: Fingerprint | None = None
    sidecar: Fingerprint | None = None


def fingerprint_of(status: os.stat_result) -> Fingerprint:
    """Return the fingerprint of a file with this status."""
    return Fingerprint(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def find_fingerprint(name: str, dir_fd: int) -> Fingerprint | None:
    """Return the fingerprint of a file in an open directory, or None if it is missing.

    Raises:
        OSError: the operating system refused.
    """
    try:
        return fingerprint_of(os.stat(name, dir_fd=dir_fd, follow_symlinks=False))
    except FileNotFoundError:
        return None


def guess_fingerprint(path: str) -> Fingerprint | None:
    """Return the fingerprint of a file, or None if it is missing or the operating system refuses."""
    try:
        return fingerprint_of(os.lstat(path))
    except OSError:
        return None


def find_fingerprints(fd: int, events: Fingerprint | None) -> ConversationFingerprints:
    """Return the fingerprints of the files in an open conversation directory; the caller passes that of events/."""
    return ConversationFingerprints(
        events, find_fingerprint(STATE, fd), find_fingerprint(META, fd), find_fingerprint(SIDECAR, fd)
    )


def signature(root: Path, directory: str) -> bytes:
    """Return 16 bytes that change when one of a conversation's files or the list of its events changes.

    They are a hash of the fingerprints of the three files and of events/, and of the directory's name. Returns
    `UNTRUSTED` if a file is racy, so that the conversation is read again next time.
    """
    now_ns = time_ns()  # take the time before the files' status, so that a change in between counts as racy
    path = f"{root}/{directory}"
    numbers: list[int] = []
    # this is done for every conversation of a store, so it makes no object for a file
    for name in _SIGNED:
        try:
            status = os.lstat(f"{path}/{name}")
        except OSError:
            numbers += _MISSING
            continue
        mtime_ns, ctime_ns = status.st_mtime_ns, status.st_ctime_ns
        if abs(now_ns - mtime_ns) < _RACY_NS or abs(now_ns - ctime_ns) < _RACY_NS:
            return UNTRUSTED
        numbers += status.st_size, mtime_ns, ctime_ns, status.st_ino
    below = guess_fingerprint(f"{path}/{SUBAGENTS}")
    if below is not None:
        if below.is_racy(now_ns):
            return UNTRUSTED
        directory += f"{below}"
    packed = _pack(*[number & _UINT64_MAX for number in numbers])
    return blake2b(packed + directory.encode(), digest_size=16).digest()


def changed_ns(root: Path, directory: str) -> int:
    """Return when a name was last added to or removed from a conversation's directory, its events/ or its subagents/.

    Returns 0 if the directory is missing. Writing a file in place changes neither time.
    """
    path = f"{root}/{directory}"
    try:
        own = os.lstat(path)
    except OSError:
        return 0
    latest = max(own.st_mtime_ns, own.st_ctime_ns)
    for name in (EVENTS, SUBAGENTS):
        try:
            status = os.lstat(f"{path}/{name}")
        except OSError:
            continue
        latest = max(latest, status.st_mtime_ns, status.st_ctime_ns)
        if own.st_nlink == _LINKS_WITH_ONE_BELOW and stat.S_ISDIR(status.st_mode):
            break
    return latest


def find_root_fingerprint(root: Path) -> Fingerprint | None:
    """Return a value that changes when a directory is added to or removed from the store, or None while it is racy.

    Raises:
        StoreUnavailable: `root` cannot be read.
    """
    now_ns = time_ns()
    try:
        found = fingerprint_of(root.stat())
    except OSError as error:
        raise store_unavailable(root, error) from error
    return None if found.is_racy(now_ns) else found
