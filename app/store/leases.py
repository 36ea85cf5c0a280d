"""Who owns the conversations that a sweep looks at: one stat each, and a lease file is opened only when it changed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from app.files import lease, liveness
from app.files.layout import LEASE
from app.files.lease import Lease
from app.index.sweeping import Owned, Seen
from app.model.ids import ConversationId


class _Read(NamedTuple):
    """A lease as it was read, and what its file looked like then."""

    facts: tuple[int, ...]
    lease: Lease | None


def owned(conversation_id: ConversationId, held: Lease | None) -> Owned:
    """Return what the index keeps of the lease that keeps others out of a conversation, or of none."""
    if held is None:
        return Owned(conversation_id, None, None)
    return Owned(conversation_id, held.owner, min(int(held.expires_at * 1_000_000), 2**63 - 1))


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
        now = owned(seen.id, held)
        return None if now[1:] == (seen.owner, seen.owner_until) else now

    def _read(self, directory: str) -> Lease | None:
        try:
            status = os.lstat(f"{self._root}/{directory}/{LEASE}")
        except OSError:
            return None
        facts = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        known = self._before.get(directory)
        if known is None or known.facts != facts:
            known = _Read(facts, lease.find_lease(self._root, directory))
        self._now[directory] = known
        return known.lease

    def _is_held(self, held: Lease) -> bool:
        """Whether a lease keeps others out; whether a convstore lives is asked once a look."""
        if held.released or held.boot != liveness.boot_id():
            return not held.released and held.expires_at > time.time()
        if held.owner not in self._living:
            self._living[held.owner] = lease.is_held(self._root, held)
        return self._living[held.owner]
