"""Following other writers: a sweep that looks, all the time, at what may have changed on disk.

Every second: the root's own times, which tell of new and vanished directories; and three stats each of the
conversations that were updated today, are owned, have unsettled rows, or changed lately. Spread over every minute: two
directory stats of every other one, which tell of files that were added or replaced; and, of a tenth of them, another
one each minute, the files' stats, which also tell of what was written in place. Signatures are streamed from the index
and never held. Who owns a conversation costs one stat; a lease file is opened only when it changed. Of several
processes, one sweeps (`app.store.follow.leader`).
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from app.files import fingerprint, layout, lease, liveness
from app.files.fingerprint import UNTRUSTED, Fingerprint
from app.files.layout import LEASE, ConversationDir
from app.files.lease import Lease
from app.files.row_reader import read_signatures
from app.index import conversation_lookup, ownership, state
from app.index.conversation_lookup import CHUNK, IndexedState
from app.index.ownership import Ownership
from app.model.ids import ConversationId
from app.store.context import StoreContext
from app.store.follow.full_sync import require_plausible
from app.store.follow.ingest import delete_vanished, ingest

log = logging.getLogger(__name__)

TICK_S = 1.0
WALK_S = 50.0
FULL_EVERY = 10
"""In so many walks over everything, each conversation's files are looked at themselves once."""

_LEAST_STEP = 200
_BATCH = 50
_ACTIVE_US = 24 * 3600 * 1_000_000
_LATELY_S = 600.0
_LATELY_MOST = 1000
_EMPTY_MOST = 1000
_MARGIN_NS = 3_000_000_000
_LAST_KEY = 2**63 - 1
_LAST_NAME = "\U0010ffff"


@dataclass(slots=True)
class _Walk:
    """One way through all conversations. `since_ns`: what has not changed since then needs no closer look.

    Unless it is its turn in this walk; in a `full` one it is everybody's.
    """

    number: int
    total: int
    since_ns: int
    full: bool = False
    began_ns: int = field(default_factory=time.time_ns)
    began: float = field(default_factory=time.monotonic)
    after: int = 0
    done: int = 0
    over: bool = False

    def is_unchanged(self, root: Path, seen: IndexedState) -> bool:
        """Whether a conversation's directories tell that it needs no closer look."""
        if self.full or seen.key % FULL_EVERY == self.number % FULL_EVERY:
            return False
        return 0 < fingerprint.changed_ns(root, seen.directory) < self.since_ns

    def step(self) -> int:
        """Return how many conversations are due now, so that the walk takes `WALK_S`."""
        due = int(self.total * (time.monotonic() - self.began + TICK_S) / WALK_S) - self.done
        return max(due, _LEAST_STEP)


class _Looked(NamedTuple):
    """Which of some conversations have to be read again, and who owns them now where that changed."""

    changed: dict[ConversationDir, bytes]
    """With the signatures that were found."""
    owned: list[Ownership]


class Watcher:
    """What one process keeps while it sweeps a store: little, and nothing for each conversation."""

    def __init__(self, context: StoreContext, duplicates: Iterable[str] = (), *, since_ns: int | None = None) -> None:
        """`duplicates` are the second directories for an id that were told already.

        `since_ns` is when everything was compared before, None when it was not.
        """
        self._context = context
        self._leases = LeaseWatch(context.root)
        self._root: Fingerprint | None = None
        self._duplicates = frozenset(duplicates)
        self._lately: dict[ConversationId, float] = {}
        self._empty: dict[ConversationDir, bytes] = {}
        self._walk = _Walk(0, 0, 0, began_ns=since_ns or 0, began=-math.inf, over=True)

    async def tick(self) -> int:
        """Look at what is due now, bring the index in step, and return how many rows changed.

        Raises:
            StoreUnavailable: the directory cannot be read, or is empty although the index is not.
        """
        self._leases.begin_look()
        changed = await self._look_at_root()
        changed += await self._look_at_empty()
        changed += await self._look_at_active()
        return changed + await self._walk_on()

    async def walk_all(self, *, full: bool = True) -> int:
        """Look at every conversation once, now, and return how many rows changed."""
        self._root = None
        changed = await self.tick()
        self._walk = await self._next_walk(full=full)
        while not self._walk.over:
            changed += await self._walk_on(CHUNK)
        return changed

    async def _look_at_root(self) -> int:
        """When a directory appeared or vanished, find out which."""
        now = await asyncio.to_thread(fingerprint.find_root_fingerprint, self._context.root)
        if now is not None and now == self._root:
            return 0
        directories, duplicates = await asyncio.to_thread(layout.list_directories, self._context.root)
        for name in sorted({*duplicates} - self._duplicates):
            log.warning("%s is a second directory for an id and is not listed", name)
        self._duplicates = frozenset(duplicates)
        new, gone = await self._compare_names(directories)
        changed = await self._read_again(
            {one: UNTRUSTED for one in map(layout.conversation_dir, new) if one not in self._empty}
        )
        if gone:
            changed += await self._context.index.write(
                partial(delete_vanished, root=self._context.root, directories=gone)
            )
        self._root = now
        return changed

    async def _compare_names(self, names: list[str]) -> tuple[list[str], list[str]]:
        """Return the directories that the index does not know, and those it knows that are not there."""
        new: list[str] = []
        gone: list[str] = []
        require_plausible(self._context.root, len(names), await self._count())
        place, after = 0, ""
        while True:
            async with self._context.index.read() as connection:
                rows = await conversation_lookup.list_signatures(connection, after, _LAST_NAME)
            for directory, _ in rows:
                while place < len(names) and names[place] < directory:
                    new.append(names[place])
                    place += 1
                if place < len(names) and names[place] == directory:
                    place += 1
                else:
                    gone.append(directory)
            if not rows:
                return new + names[place:], gone
            after = rows[-1][0]

    async def _look_at_empty(self) -> int:
        """Look whether directories that held no conversation hold one now."""
        if not self._empty:
            return 0
        changed = await asyncio.to_thread(self._no_longer_empty)
        return await self._read_again(changed)

    def _no_longer_empty(self) -> dict[ConversationDir, bytes]:
        now = read_signatures(self._context.reader, self._empty)
        return {
            one: now[one.directory]
            for one, before in self._empty.items()
            if now[one.directory] != before or before == UNTRUSTED
        }

    async def _look_at_active(self) -> int:
        changed = 0
        since_us = time.time_ns() // 1000 - _ACTIVE_US
        before = _LAST_KEY
        while True:
            async with self._context.index.read() as connection:
                rows = await conversation_lookup.list_active(connection, since_us, before)
            changed += await self._look_at(rows)
            if len(rows) < CHUNK:
                break
            before = rows[-1].key
        async with self._context.index.read() as connection:
            rows = await conversation_lookup.find_states(connection, self._changed_lately())
        return changed + await self._look_at(rows)

    def _changed_lately(self) -> list[ConversationId]:
        now = time.monotonic()
        self._lately = {one: until for one, until in self._lately.items() if until > now}
        return list(self._lately)

    async def _walk_on(self, limit: int = 0) -> int:
        """Go on with the walk over all conversations, and begin the next one when it is time."""
        if self._walk.over:
            if time.monotonic() < self._walk.began + WALK_S and not limit:
                return 0
            self._walk = await self._next_walk()
        walk = self._walk
        limit = limit or walk.step()
        async with self._context.index.read() as connection:
            rows = await conversation_lookup.list_after(connection, walk.after, limit)
        changed = await self._look_at(rows, walk)
        walk.done += len(rows)
        if len(rows) < limit:
            walk.over = True
            swept = partial(state.set_state, last_sweep_at=time.time_ns() // 1000, last_error=None)
            await self._context.index.write(swept)
        else:
            walk.after = rows[-1].key
        return changed

    async def _next_walk(self, *, full: bool = False) -> _Walk:
        number = self._walk.number + 1
        if full or number % FULL_EVERY == 0:
            self._root = None
            self._empty.clear()
        return _Walk(number, await self._count(), self._walk.began_ns - _MARGIN_NS, full)

    async def _count(self) -> int:
        async with self._context.index.read() as connection:
            return (await conversation_lookup.count_totals(connection)).conversations

    async def _look_at(self, rows: list[IndexedState], walk: _Walk | None = None) -> int:
        """Compare conversations with their files and read again what changed; in a walk, those that may have."""
        if not rows:
            return 0
        looked = await asyncio.to_thread(self._compare, rows, walk)
        if looked.owned:
            await self._context.index.write(partial(ownership.set_owners, owned=looked.owned))
        return await self._read_again(looked.changed)

    def _compare(self, rows: list[IndexedState], walk: _Walk | None) -> _Looked:
        root = self._context.root
        looked = _Looked({}, [])
        for seen in rows:
            if walk is not None and walk.is_unchanged(root, seen):
                continue
            now = fingerprint.signature(root, seen.directory)
            if now != seen.signature or now == UNTRUSTED or seen.events_behind:
                looked.changed[ConversationDir(seen.directory, seen.id)] = now
            owned = self._leases.find_change(seen)
            if owned is not None:
                looked.owned.append(owned)
        return looked

    async def _read_again(self, changed: Mapping[ConversationDir, bytes]) -> int:
        """Ingest what changed, given with its signature, or with `UNTRUSTED` where that was not looked at."""
        number = 0
        remaining = iter(changed.items())
        while batch := dict(islice(remaining, _BATCH)):
            signatures = {one.directory: signature for one, signature in batch.items() if signature}
            done = await ingest(self._context, batch, signatures=signatures)
            number += done.changed + done.removed
            self._remember(batch, done.empty)
        return number

    def _remember(self, read: Iterable[ConversationDir], empty: dict[ConversationDir, bytes]) -> None:
        """Keep an eye on what changed just now, and on directories that may be filled soon."""
        until = time.monotonic() + _LATELY_S
        for one in read:
            self._empty.pop(one, None)
            if one in empty:
                self._empty[one] = empty[one]
            else:
                self._lately.pop(one.id, None)
                self._lately[one.id] = until
        while len(self._lately) > _LATELY_MOST:
            del self._lately[next(iter(self._lately))]
        while len(self._empty) > _EMPTY_MOST:
            del self._empty[next(iter(self._empty))]


class _Read(NamedTuple):
    """A lease as it was read, and what its file looked like then."""

    file: Fingerprint
    lease: Lease | None


def owned(conversation_id: ConversationId, held: Lease | None) -> Ownership:
    """Return what the index keeps of the lease that keeps others out of a conversation, or of none."""
    if held is None:
        return Ownership(conversation_id, None, None)
    return Ownership(conversation_id, held.owner, min(int(held.expires_at * 1_000_000), 2**63 - 1))


class LeaseWatch:
    """The leases of the conversations that are looked at all the time, as they were last read."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._before: dict[str, _Read] = {}
        self._now: dict[str, _Read] = {}
        self._living: dict[str, bool] = {}

    def begin_look(self) -> None:
        """Begin a new look at everybody; forget those that the last one did not look at."""
        self._before, self._now, self._living = self._now, {}, {}

    def find_change(self, seen: IndexedState) -> Ownership | None:
        """Return who owns a conversation now, when the index says otherwise."""
        held = self._read(seen.directory)
        if held is not None and not self._is_held(held):
            held = None
        now = owned(seen.id, held)
        return None if now[1:] == (seen.owner, seen.owner_until) else now

    def _read(self, directory: str) -> Lease | None:
        file = fingerprint.guess_fingerprint(f"{self._root}/{directory}/{LEASE}")
        if file is None:
            return None
        known = self._before.get(directory)
        if known is None or known.file != file:
            known = _Read(file, lease.find_lease(self._root, directory))
        self._now[directory] = known
        return known.lease

    def _is_held(self, held: Lease) -> bool:
        """Whether a lease keeps others out; whether a convstore lives is asked once a look."""
        if held.released or held.boot != liveness.boot_id():
            return not held.released and held.expires_at > time.time()
        if held.owner not in self._living:
            self._living[held.owner] = lease.is_held(self._root, held)
        return self._living[held.owner]
