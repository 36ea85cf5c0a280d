"""Who owns the conversations that a sweep looks at: one stat each, and a lease file is opened only when it changed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from app.files import layout, lease, owners
from app.files.lease import LEASE, Lease
from app.index.sweeping import Owned, Seen


class _Read(NamedTuple):
    """A lease as it was read, and what its file looked like then."""

    facts: tuple[int, ...]
    lease: Lease | None


class Leases:
    """The leases of the conversations that are looked at all the time, as they were last read."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._before: dict[str, _Read] = {}
        self._now: dict[str, _Read] = {}
        self._living: dict[str, bool] = {}

    def begin(self) -> None:
        """Begin a new look at everybody; forget those that the last one did not look at."""
        self._before, self._now, self._living = self._now, {}, {}

    def find_change(self, seen: Seen) -> Owned | None:
        """Return who owns a conversation now, when the index says otherwise."""
        held = self._read(seen.directory)
        if held is not None and not self._is_held(held):
            held = None
        until_us = None if held is None else min(int(held.expires_at * 1_000_000), 2**63 - 1)
        now = Owned(seen.id, None if held is None else held.owner, until_us)
        return None if now[1:] == (seen.owner, seen.owner_until) else now

    def _read(self, directory: str) -> Lease | None:
        try:
            status = os.lstat(f"{self._root}/{directory}/{LEASE}")
        except OSError:
            return None
        facts = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        known = self._before.get(directory)
        if known is None or known.facts != facts:
            known = _Read(facts, self._open(directory))
        self._now[directory] = known
        return known.lease

    def _open(self, directory: str) -> Lease | None:
        try:
            with layout.open_directory(self._root / directory) as fd:
                return lease.read_lease(fd)
        except OSError:
            return None

    def _is_held(self, held: Lease) -> bool:
        """Whether a lease keeps others out; whether a convstore lives is asked once a look."""
        if held.released or held.boot != owners.boot_id():
            return not held.released and held.expires_at > time.time()
        if held.owner not in self._living:
            self._living[held.owner] = lease.is_held(self._root, held)
        return self._living[held.owner]
