"""The watcher: finds changes by other programs on disk while the server runs, and ingests them.

Every second it stats:
- the conversations for which the operating system reports a change. It reports changes of the most recently active
  conversations, as many as half of its watches allow (`app.store.follow.change_hints`);
- the root, whose times show new and removed directories;
- three files of each conversation that was updated today, has an owner, has unsettled rows, or changed lately.

In every walk, which takes a minute or, in a store of more than `_RATE` * `WALK_S` conversations, longer, it stats:
- two directories of every other conversation, which shows added and replaced files;
- the files of a tenth of these conversations (a different tenth each walk), which also shows overwritten files.

Signatures are streamed from the index and never kept in memory. The owner of a conversation costs one stat; a lease
file is opened only if it changed. Only the leader watches (`app.store.follow.leader`).
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ...errors import StoreError
from ...files import fingerprint, layout, lease, liveness
from ...files.fingerprint import UNTRUSTED, Fingerprint
from ...files.layout import LEASE, ConversationDir
from ...files.lease import Lease
from ...files.row_reader import read_signatures
from ...index import conversation_lookup, ownership, state
from ...index.conversation_lookup import CHUNK, IndexedState
from ...index.ownership import Ownership
from ...model.ids import ConversationId
from ..context import StoreContext
from .change_hints import ChangeHints, find_room
from .full_sync import require_plausible
from .ingest import delete_vanished, ingest

log = logging.getLogger(__name__)

TICK_S = 1.0
WALK_S = 50.0
_RATE = 3500.0
"""The maximum number of conversations per second in a walk: so many take less than 5 % of one core."""
FULL_EVERY = 10
"""The files of each conversation are compared once in this many walks over all conversations."""

_LEAST_STEP = 200
_BATCH = 50
_ACTIVE_US = 24 * 3600 * 1_000_000
_LATELY_S = 600.0
"""The seconds after a change during which a conversation is checked every second."""
_LATELY_MOST = 1000
_WATCH_AGAIN_S = 600.0
"""The seconds after which the watched conversations are chosen again. New ones are checked every second all day."""
_EMPTY_MOST = 1000
_MARGIN_NS = 3_000_000_000
_LAST_KEY = 2**63 - 1
_LAST_NAME = "\U0010ffff"


@dataclass(slots=True)
class _Walk:
    """One walk over all conversations.

    The files of a conversation are compared if its directories changed after `since_ns`, or if it is its turn in this
    walk. In a `full` walk, the files of every conversation are compared.
    """

    number: int
    total: int
    since_ns: int
    full: bool = False
    began_ns: int = field(default_factory=time.time_ns)
    began: float = field(default_factory=time.monotonic)
    after: str = ""
    done: int = 0
    over: bool = False

    @property
    def seconds(self) -> float:
        """The seconds that the walk takes."""
        return max(WALK_S, self.total / _RATE)

    def list_due(self, root: Path, some: Sequence[tuple[int, str]]) -> list[int]:
        """Return the keys of those of the conversations (key, directory) whose files must be compared in this walk."""
        return [key for key, directory in some if not self._may_skip(root, key, directory)]

    def _may_skip(self, root: Path, key: int, directory: str) -> bool:
        if self.full or key % FULL_EVERY == self.number % FULL_EVERY:
            return False
        return 0 < fingerprint.changed_ns(root, directory) < self.since_ns

    def step(self) -> int:
        """Return the number of conversations that are due now."""
        due = int(self.total * (time.monotonic() - self.began + TICK_S) / self.seconds) - self.done
        return max(due, _LEAST_STEP)


class _Changes(NamedTuple):
    """The conversations that changed on disk, with their signatures, and the changes of owners."""

    directories: dict[ConversationDir, bytes]
    owners: list[Ownership]


class Watcher:
    """Compares a store with its index, one part in each tick.

    Its memory does not grow with the number of conversations.
    """

    def __init__(
        self,
        context: StoreContext,
        duplicates: Iterable[str] = (),
        *,
        since_ns: int | None = None,
        hints: ChangeHints | None = None,
    ) -> None:
        """`duplicates` are second directories for an id that were logged already.

        `since_ns` is the time of the last comparison of everything, or None if there was none. `hints`, if given,
        make checks earlier.
        """
        self._context = context
        self._leases = LeaseWatch(context.root)
        self._hints = hints
        self._watching: asyncio.Task[None] | None = None
        self._watch_again = -math.inf
        self._root: Fingerprint | None = None
        self._duplicates = frozenset(duplicates)
        self._lately: dict[ConversationId, float] = {}
        self._empty: dict[ConversationDir, bytes] = {}
        self._walk = _Walk(0, 0, 0, began_ns=since_ns or 0, began=-math.inf, over=True)

    async def tick(self) -> int:
        """Compare the conversations that are due now, ingest changes, and return the number of changed rows.

        Raises:
            StoreUnavailable: the conversations directory cannot be read, or is empty although the index is not.
        """
        self._leases.begin_tick()
        changed = await self._check_hinted()
        changed += await self._check_root()
        changed += await self._check_empty()
        changed += await self._check_active()
        return changed + await self._walk_on()

    async def walk_all(self, *, full: bool = True) -> int:
        """Compare every conversation once, now, and return the number of changed rows."""
        self._root = None
        changed = await self.tick()
        self._walk = await self._next_walk(full=full)
        while not self._walk.over:
            changed += await self._walk_on(CHUNK)
        return changed

    async def close(self) -> None:
        """Release the watches of the operating system."""
        if self._watching is not None:
            await asyncio.wait([self._watching])
        if self._hints is not None:
            self._hints.close()

    async def _check_hinted(self) -> int:
        """Check the conversations with a hint, and sometimes choose again which conversations are watched."""
        if self._hints is None:
            return 0
        changed = 0
        hinted = iter(await asyncio.to_thread(self._hints.take))
        while ids := list(islice(hinted, CHUNK)):
            async with self._context.index.read() as connection:
                rows = await conversation_lookup.find_states(connection, ids)
            changed += await self._check(rows)
        if time.monotonic() >= self._watch_again and (self._watching is None or self._watching.done()):
            self._watch_again = time.monotonic() + _WATCH_AGAIN_S
            self._watching = asyncio.create_task(self._choose_watched(self._hints))
        return changed

    async def _choose_watched(self, hints: ChangeHints) -> None:
        """Watch the most recently active conversations. This takes 2 s for 45,000; ticks continue meanwhile."""
        try:
            async with self._context.index.read(whole=True) as connection:
                directories = await conversation_lookup.list_newest(connection, find_room())
            await asyncio.to_thread(hints.watch, directories)
        except (StoreError, OSError) as error:
            log.warning("the watched conversations could not be chosen again: %s", error)

    async def _check_root(self) -> int:
        """If the root changed, find new and removed directories."""
        found = await asyncio.to_thread(fingerprint.find_root_fingerprint, self._context.root)
        if found is not None and found == self._root:
            return 0
        directories, duplicates = await asyncio.to_thread(layout.list_directories, self._context.root)
        for name in sorted({*duplicates} - self._duplicates):
            log.warning("%s is a second directory for an id and is not listed", name)
        self._duplicates = frozenset(duplicates)
        new, gone = await self._compare_names(directories)
        changed = await self._ingest(
            {one: UNTRUSTED for one in map(layout.conversation_dir, new) if one not in self._empty}
        )
        if gone:
            delete_rows = partial(
                delete_vanished, root=self._context.root, directories=gone, allow_empty=self._context.presence.emptied
            )
            changed += await self._context.index.write(delete_rows)
        self._root = found
        return changed

    async def _compare_names(self, names: list[str]) -> tuple[list[str], list[str]]:
        """Return the directories that are missing in the index, and the directories of the index that do not exist.

        It merges two sorted lists, so that the names in the index are never all in memory.
        """
        new: list[str] = []
        gone: list[str] = []
        if not self._context.presence.emptied:
            require_plausible(self._context.root, len(names), await self._count_conversations())
        position, after = 0, ""
        while True:
            async with self._context.index.read() as connection:
                rows = await conversation_lookup.list_signatures(connection, after, _LAST_NAME)
            for directory, _ in rows:
                while position < len(names) and names[position] < directory:
                    new.append(names[position])
                    position += 1
                if position < len(names) and names[position] == directory:
                    position += 1
                else:
                    gone.append(
                        directory
                    )  # includes directories of sub-agents; ingest deletes their rows only if they do not exist
            if not rows:
                return new + names[position:], gone
            after = rows[-1][0]

    async def _check_empty(self) -> int:
        """Check directories that were not conversations when they were last read."""
        if not self._empty:
            return 0
        signatures = await asyncio.to_thread(read_signatures, self._context.reader, list(self._empty))
        return await self._ingest(
            {
                one: signatures[one.directory]
                for one, before in self._empty.items()
                if signatures[one.directory] != before or before == UNTRUSTED
            }
        )

    async def _check_active(self) -> int:
        """Check the conversations that are likely to change."""
        changed = 0
        since_us = time.time_ns() // 1000 - _ACTIVE_US
        before = _LAST_KEY
        while True:
            async with self._context.index.read() as connection:
                rows = await conversation_lookup.list_active(connection, since_us, before)
            changed += await self._check(rows)
            if len(rows) < CHUNK:
                break
            before = rows[-1].key
        now = time.monotonic()
        self._lately = {one: until for one, until in self._lately.items() if until > now}
        async with self._context.index.read() as connection:
            rows = await conversation_lookup.find_states(connection, list(self._lately))
        return changed + await self._check(rows)

    async def _walk_on(self, limit: int = 0) -> int:
        """Continue the walk over all conversations, and begin the next walk when it is time."""
        if self._walk.over:
            if time.monotonic() < self._walk.began + self._walk.seconds and not limit:
                return 0
            self._walk = await self._next_walk()
        walk = self._walk
        limit = limit or walk.step()
        async with self._context.index.read() as connection:
            some = await conversation_lookup.list_after(connection, walk.after, limit)
        due = await asyncio.to_thread(walk.list_due, self._context.root, some)
        async with self._context.index.read() as connection:
            rows = await conversation_lookup.list_states(connection, due)
        changed = await self._check(rows)
        walk.done += len(some)
        if len(some) < limit:
            walk.over = True
            finish = partial(state.set_state, last_sweep_at=time.time_ns() // 1000, last_error=None)
            await self._context.index.write(finish)
            self._context.index.note("sweep", time.monotonic() - walk.began)
        else:
            walk.after = some[-1][1]
        return changed

    async def _next_walk(self, *, full: bool = False) -> _Walk:
        number = self._walk.number + 1
        if full or number % FULL_EVERY == 0:
            self._root = None
            self._empty.clear()
        return _Walk(number, await self._count_conversations(), self._walk.began_ns - _MARGIN_NS, full)

    async def _count_conversations(self) -> int:
        async with self._context.index.read() as connection:
            return (await conversation_lookup.count_totals(connection)).conversations

    async def _check(self, rows: list[IndexedState]) -> int:
        """Compare conversations with their files, and ingest changes."""
        if not rows:
            return 0
        changes = await asyncio.to_thread(self._find_changes, rows)
        if changes.owners:
            await self._context.index.write(partial(ownership.set_owners, owned=changes.owners))
        return await self._ingest(changes.directories)

    def _find_changes(self, rows: list[IndexedState]) -> _Changes:
        root = self._context.root
        changes = _Changes({}, [])
        for indexed in rows:
            signature = fingerprint.signature(root, indexed.directory)
            if signature != indexed.signature or signature == UNTRUSTED or indexed.events_behind:
                changes.directories[ConversationDir(indexed.directory, indexed.id)] = signature
            owner = self._leases.find_change(indexed)
            if owner is not None:
                changes.owners.append(owner)
        return changes

    async def _ingest(self, changed: Mapping[ConversationDir, bytes]) -> int:
        """Ingest directories. Each comes with its signature, or with `UNTRUSTED` if that was not read."""
        number = 0
        remaining = iter(changed.items())
        while batch := dict(islice(remaining, _BATCH)):
            signatures = {one.directory: signature for one, signature in batch.items() if signature}
            report = await ingest(self._context, batch, signatures=signatures)
            number += report.changed + report.removed
            self._remember(batch, report.empty)
        return number

    def _remember(self, read: Iterable[ConversationDir], empty: dict[ConversationDir, bytes]) -> None:
        """Remember the directories that just changed, and the empty directories, which may be filled soon."""
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


class _ReadLease(NamedTuple):
    """A lease, and the fingerprint of its file when it was read."""

    file: Fingerprint
    lease: Lease | None


def ownership_of(conversation_id: ConversationId, held: Lease | None) -> Ownership:
    """Return the form in which the index stores a lease or its absence."""
    if held is None:
        return Ownership(conversation_id, None, None)
    return Ownership(conversation_id, held.owner, min(int(held.expires_at * 1_000_000), 2**63 - 1))


class LeaseWatch:
    """The leases of the conversations that the last two ticks compared."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._before: dict[str, _ReadLease] = {}
        self._now: dict[str, _ReadLease] = {}
        self._living: dict[str, bool] = {}

    def begin_tick(self) -> None:
        """Drop the leases that the last tick did not read, and all cached results about living owners."""
        self._before, self._now, self._living = self._now, {}, {}

    def find_change(self, indexed: IndexedState) -> Ownership | None:
        """Return the current owner of a conversation if the index has another one, otherwise None."""
        found = self._read(indexed.directory)
        if found is not None and not self._is_held(found):
            found = None
        ownership_now = ownership_of(indexed.id, found)
        return None if ownership_now[1:] == (indexed.owner, indexed.owner_until) else ownership_now

    def _read(self, directory: str) -> Lease | None:
        file = fingerprint.guess_fingerprint(f"{self._root}/{directory}/{LEASE}")
        if file is None:
            return None
        known = self._before.get(directory)
        if known is None or known.file != file:
            known = _ReadLease(file, lease.find_lease(self._root, directory))
        self._now[directory] = known
        return known.lease

    def _is_held(self, found: Lease) -> bool:
        """Whether a lease is held. Each tick checks only once whether an owner is alive."""
        by_name = found.boot == liveness.boot_of(self._root) or (found.boot and liveness.is_shared(self._root))
        if found.released or not by_name:
            return not found.released and found.expires_at > time.time()
        if found.owner not in self._living:
            self._living[found.owner] = lease.is_held(self._root, found)
        return self._living[found.owner]
