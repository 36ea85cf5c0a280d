"""The conversations that a store has open for writing. Each is opened once and closed when idle or over the budget.

Opening claims the lease, sets the dirty flag in the index (durably), and reads the files. It is single-flight:
simultaneous requests for a conversation share one opening. No opening waits for another conversation. A conversation
that is not open uses no memory.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from ...errors import ConversationNotFound, OwnershipLost, StoreError
from ...files import lease, liveness
from ...files.lease import ClaimedLease, Lease
from ...files.open_conversation import OpenConversation
from ...index import event_rows, ownership
from ...model.event import KnownEnds
from ...model.filters import Status
from ...model.ids import ConversationId, dashed
from ...settings import Settings
from ..context import StoreContext
from ..follow.crash_recovery import end_interrupted_run, was_left_open
from ..follow.index_settings import adopt_index_settings
from ..other_hosts import OtherHosts
from ..read.freshness import Freshness
from .conversation_writer import ConversationWriter, OpenedFiles
from .group_commit import GroupCommit
from .owner import Claiming, Owner, OwnerAmongHosts

log = logging.getLogger(__name__)

_TICK_S = 1.0
_SETTLED_S = 2.1
"""A little more than the two seconds after which `fingerprint.signature` trusts unchanged files."""
_LAST_WRITES_S = 2.0
"""The seconds in which the running writes of a conversation that another host wants may finish."""
_THREADS = 16
"""The maximum number of writes at once."""


class PoolKey(NamedTuple):
    """A conversation and the lease under which it is open: this store's own (generation 0) or a client's."""

    id: ConversationId
    owner: str
    generation: int


@dataclass(slots=True, eq=False)
class PoolEntry:
    """A conversation that is open or being opened. Times are those of `time.monotonic`."""

    task: asyncio.Task[ConversationWriter]
    users: int = 0
    used_at: float = 0.0
    renewed_at: float = 0.0
    settled: bool = False
    size_bytes: int = 0
    """The size of the conversation after its last use."""
    maintenance: asyncio.Task[None] | None = None
    """The current or the last run of `_maintain`."""

    unused: asyncio.Event | None = None
    """Is set when the last user has gone, for a conversation that another host wants."""

    @property
    def ready(self) -> ConversationWriter | None:
        """The conversation, or None while it is being opened."""
        done = self.task.done() and not self.task.cancelled() and self.task.exception() is None
        return self.task.result() if done else None


class WriterPool:
    """The open conversations of one store."""

    def __init__(
        self,
        context: StoreContext,
        settings: Settings,
        freshness: Freshness,
        notify: Callable[[ConversationId], None],
        *,
        others: OtherHosts | None = None,
    ) -> None:
        """`others` are the other hosts that share the store; None if it belongs to one machine."""
        instance = settings.instance or liveness.make_instance_id()
        self._owner = (
            Owner(context, instance) if others is None else OwnerAmongHosts(context, instance, others, freshness)
        )
        self._context = context
        self._settings = settings
        self._freshness = freshness
        self._notify = notify
        self._commits = GroupCommit(context.index)
        self._threads = ThreadPoolExecutor(_THREADS, "writing")
        self._open: dict[PoolKey, PoolEntry] = {}
        self._closing: dict[PoolKey, asyncio.Task[None]] = {}
        self._handing_over: dict[PoolKey, asyncio.Task[None]] = {}
        self._unreleased: dict[PoolKey, ConversationWriter] = {}
        """Closed conversations whose lease could not be released. Each tick retries one, oldest first."""
        self._room_bytes = settings.open_bytes
        """At most the bytes that the open conversations may grow by before the pool is over its budget."""
        self._life_lock = asyncio.Lock()
        self._maintenance: asyncio.Task[None] | None = None

    @property
    def instance(self) -> str:
        """The name of this store as an owner."""
        return self._owner.instance

    @asynccontextmanager
    async def writer(
        self, conversation_id: ConversationId, *, force: bool = False, client_lease: Lease | None = None
    ) -> AsyncIterator[ConversationWriter]:
        """Open a conversation for writing, or share the open one."""
        self._context.index.require_present()
        if self._owner.dead:
            await self._take_another_name()
        key = self._key(conversation_id, client_lease)
        if self._settings.workers > 1:
            await self._refresh(key)
        entry = self._get_entry(key, client_lease, force=force)
        entry.users += 1
        try:
            yield await asyncio.shield(entry.task)
        finally:
            entry.users -= 1
            if entry.unused is not None and not entry.users:
                entry.unused.set()
            entry.used_at = time.monotonic()
            entry.settled = False
            if entry.ready is not None:
                if entry.ready.lost and self._open.get(key) is entry:
                    del self._open[key]
                if self._open.get(key) is not entry:
                    entry.ready.release_share()
                self._note_size(entry, entry.ready)
                if self._may_be_over_budget():
                    await self._keep_budget()

    async def _refresh(self, key: PoolKey) -> None:
        """Read other workers' changes to an open conversation. Close it if another owner has the lease."""
        entry = self._open.get(key)
        if entry is not None and entry.ready is not None:
            with suppress(StoreError):
                await entry.ready.refresh()
            if entry.ready.lost:
                await self._close(key, entry)

    def _key(self, conversation_id: ConversationId, client_lease: Lease | None = None) -> PoolKey:
        if client_lease is None:
            return PoolKey(conversation_id, self.instance, 0)
        return PoolKey(conversation_id, client_lease.owner, client_lease.generation)

    async def close_conversation(self, conversation_id: ConversationId, client_lease: Lease | None = None) -> str:
        """Close a conversation unless it is in use.

        Returns this store's owner name, whose liveness lock is then held.
        """
        await self._come_alive()
        key = self._key(conversation_id, client_lease)
        if (entry := self._open.get(key)) is not None:
            await self._close(key, entry)
        await self._wait_until_closed(conversation_id)
        if client_lease is None:
            await self._owner.free_elsewhere(conversation_id)
        return self.instance

    def has_open(self, conversation_id: ConversationId) -> bool:
        """Whether this process has a conversation open under this store's own lease."""
        return self._key(conversation_id) in self._open

    async def is_in_step(self, conversation_id: ConversationId) -> bool:
        """Whether this process has a conversation open, its rows are up to date, and nobody else changed its files."""
        entry = self._open.get(self._key(conversation_id))
        return entry is not None and entry.ready is not None and await entry.ready.is_in_step()

    def _get_entry(self, key: PoolKey, client_lease: Lease | None, *, force: bool) -> PoolEntry:
        entry = self._open.get(key)
        if entry is not None and not (entry.ready and entry.ready.lost):
            return entry
        opening = asyncio.create_task(self._open_conversation(key.id, client_lease, force=force))
        entry = PoolEntry(opening, renewed_at=time.monotonic())
        self._open[key] = entry
        entry.task.add_done_callback(lambda task: self._forget_failed(key, entry, task))
        return entry

    def _forget_failed(self, key: PoolKey, entry: PoolEntry, task: asyncio.Task[ConversationWriter]) -> None:
        """Remove the entry of a failed opening, so that the next request opens the conversation again."""
        if (task.cancelled() or task.exception() is not None) and self._open.get(key) is entry:
            del self._open[key]

    async def _open_conversation(
        self, conversation_id: ConversationId, client_lease: Lease | None, *, force: bool
    ) -> ConversationWriter:
        await self._come_alive()
        await self._wait_until_closed(conversation_id)
        async with self._opened_files(conversation_id, client_lease, force=force) as opened:
            conversation = ConversationWriter(
                self._context,
                opened,
                self._commits,
                self._threads,
                open_again=None if client_lease else partial(self._opened_files, conversation_id, None),
                reindex=partial(self._reindex, conversation_id),
                notify=partial(self._notify, conversation_id),
            )
            if opened.left_running:
                await end_interrupted_run(opened.files, conversation.write)
        return conversation

    @asynccontextmanager
    async def _opened_files(
        self,
        conversation_id: ConversationId,
        client_lease: Lease | None,
        gone: Lease | None = None,
        *,
        force: bool = False,
    ) -> AsyncIterator[OpenedFiles]:
        """Claim a conversation, set its dirty flag, read its files, and update its rows.

        `gone` is the lost lease under which this store had the conversation open. After an error, also one in the
        block, the claim is undone.
        """
        located = await self._freshness.find(conversation_id)
        await adopt_index_settings(self._context)
        root, directory = self._context.root, located.directory
        if client_lease is not None:
            before = await asyncio.to_thread(lease.check_lease, root, directory, client_lease)
            claim = ClaimedLease(before, client_lease)
        else:
            shared = self._settings.workers > 1
            claiming = partial(lease.claim, root, directory, force=force, shared=shared)
            generation = max(located.generation, gone.generation if gone else 0)
            claim = await self._owner.claim(Claiming(conversation_id, directory, claiming, generation))
        files = OpenConversation(self._context.reader, directory, conversation_id, claim.lease)
        unreleased = client_lease is None and claim.before is not None and not claim.before.released
        try:
            set_dirty = partial(
                ownership.set_dirty,
                conversation_id=conversation_id,
                owner=self.instance,
                generation=claim.lease.generation,
            )
            if client_lease is not None or not self._owner.sets_dirty_flag:
                # Durable, and before the first file is written, because a power cut must not undo the flag.
                await self._context.index.write(set_dirty, durable=True)
            # An owner that crashed may have left files in the log that the index does not know.
            crashed = unreleased or claim.before is None or located.dirty_by is not None
            known = None if crashed else await self._find_ends(conversation_id)
            status = await asyncio.to_thread(files.load, after_crash=unreleased, known=known)
            # After the claim, because others could write before it.
            located = await self._freshness.bring_in_step(conversation_id)
            left_open = client_lease is None and was_left_open(claim.before or gone, self.instance)
            yield OpenedFiles(
                files, claim.share, located.events_behind, left_running=left_open and status == Status.RUNNING
            )
        except BaseException:
            if claim.share is not None:
                os.close(claim.share)
            undone = client_lease is None and await asyncio.to_thread(lease.undo_claim, root, directory, claim)
            if undone and not unreleased:  # otherwise the dirty flag belongs to a crashed owner or another worker
                await self._clear_dirty(conversation_id, claim.lease)
            raise

    def hear_others(self) -> None:
        """Hear from now on which conversations other hosts wrote and want."""
        self._owner.hear(self._hand_over)

    def _hand_over(self, conversation_id: ConversationId) -> None:
        """Release an open conversation, which another host wants, as soon as the running writes have finished."""
        key = self._key(conversation_id)
        entry = self._open.get(key)
        if entry is not None and key not in self._handing_over:
            task = self._handing_over[key] = asyncio.create_task(
                _log_errors(conversation_id, self._release_to_others(key, entry))
            )
            task.add_done_callback(lambda _: self._handing_over.pop(key))

    async def _release_to_others(self, key: PoolKey, entry: PoolEntry) -> None:
        await asyncio.shield(entry.task)
        conversation = entry.ready
        if conversation is None or conversation.lost or self._open.get(key) is not entry:
            return
        del self._open[key]  # whoever wants to write now waits until the conversation is closed
        closing = self._closing[key] = asyncio.create_task(self._close_when_unused(key, entry, conversation))
        closing.add_done_callback(lambda _: self._closing.pop(key))
        await asyncio.shield(closing)
        self._owner.tell_free(key.id)

    async def _close_when_unused(self, key: PoolKey, entry: PoolEntry, conversation: ConversationWriter) -> None:
        entry.unused = asyncio.Event()
        if entry.users:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WRITES_S):
                    await entry.unused.wait()
        if not entry.users:
            await self._close_and_release(key, conversation)
        elif key not in self._open:
            self._open[key] = entry

    async def _take_another_name(self) -> None:
        """Be another owner, after other hosts counted this one as dead and may have taken over its conversations."""
        async with self._life_lock:
            if not self._owner.dead:
                return
            for key, entry in list(self._open.items()):
                if entry.ready is not None and key.owner == self.instance:
                    entry.ready.lost = True
                    entry.ready.release_share()
                    del self._open[key]
            await self._owner.join()

    async def _find_ends(self, conversation_id: ConversationId) -> KnownEnds | None:
        async with self._context.index.read() as connection:
            return await event_rows.find_ends(connection, conversation_id)

    async def _reindex(self, conversation_id: ConversationId) -> bool:
        located = await self._freshness.ingest_again(conversation_id)
        if located is None:
            raise ConversationNotFound(f"conversation {dashed(conversation_id)} is gone")
        return not located.events_behind

    async def _come_alive(self) -> None:
        """At the first write, take the lock that shows that this instance is alive, and start the maintenance."""
        self._context.index.require_present()
        if self._maintenance is None:
            async with self._life_lock:
                if self._maintenance is None:
                    await self._owner.join()
                    self._maintenance = asyncio.create_task(self._maintain_all())

    async def _maintain_all(self) -> None:
        """Renew leases, close idle conversations, write trusted signatures, and retry failed index writes and releases.

        Each open conversation has its own task, so that a slow one delays no other.
        """
        while True:
            await asyncio.sleep(_TICK_S)
            if self._owner.dead:
                with suppress(StoreError):
                    await self._take_another_name()
            for key in [key for key in self._unreleased if key not in self._open and key not in self._closing][:1]:
                self._begin_to_close(key, self._unreleased.pop(key))
            for key, entry in list(self._open.items()):
                if entry.ready is not None and (entry.maintenance is None or entry.maintenance.done()):
                    work = self._maintain(key, entry, entry.ready)
                    entry.maintenance = asyncio.create_task(_log_errors(key.id, work))

    async def _maintain(self, key: PoolKey, entry: PoolEntry, conversation: ConversationWriter) -> None:
        now = time.monotonic()
        if conversation.behind:
            await conversation.catch_up()
        with suppress(OwnershipLost, ConversationNotFound):
            await conversation.sync_head()
        if not entry.users and now - entry.used_at > self._settings.idle_s and conversation.files.status != "running":
            if await conversation.save_updated_at():
                entry.used_at = max(entry.used_at, now + _SETTLED_S - self._settings.idle_s)
            else:
                await self._close(key, entry)
            return
        if now - entry.renewed_at > lease.RENEW_EVERY_S and key.owner == self.instance:
            entry.renewed_at = now
            try:
                await conversation.renew()
            except OwnershipLost:
                await self._close(key, entry)
                return
        if not entry.settled and now - entry.used_at > _SETTLED_S:
            entry.settled = True
            await conversation.settle()

    def _note_size(self, entry: PoolEntry, conversation: ConversationWriter) -> None:
        size_bytes = conversation.files.size_bytes
        self._room_bytes -= size_bytes - entry.size_bytes
        entry.size_bytes = size_bytes

    def _may_be_over_budget(self) -> bool:
        """Whether the pool must be measured, which takes long with many open conversations. Each write asks this."""
        return len(self._open) > self._settings.open_conversations or self._room_bytes < 0

    async def _keep_budget(self) -> None:
        """While the pool is over its budget, close the least recently used idle conversation."""
        idle = [(entry.used_at, key) for key, entry in self._open.items() if not entry.users and entry.ready]
        for _, key in sorted(idle):
            self._room_bytes = self._settings.open_bytes - sum(entry.size_bytes for entry in self._open.values())
            if not self._may_be_over_budget():
                return
            if key in self._open:
                await self._close(key, self._open[key])

    async def _close(self, key: PoolKey, entry: PoolEntry) -> None:
        """Close an open conversation. This finishes even if the caller is cancelled."""
        conversation = entry.ready
        if self._open.get(key) is not entry or entry.users or conversation is None:
            return
        del self._open[key]
        if conversation.lost:
            conversation.release_share()
        else:
            await asyncio.shield(self._begin_to_close(key, conversation))

    def _begin_to_close(self, key: PoolKey, conversation: ConversationWriter) -> asyncio.Task[None]:
        closing = self._closing[key] = asyncio.create_task(self._close_and_release(key, conversation))
        closing.add_done_callback(lambda _: self._closing.pop(key))
        return closing

    async def _wait_until_closed(self, conversation_id: ConversationId) -> None:
        """Wait for a closing in progress, whose release would also end a lease that is claimed before it finishes."""
        closing = [task for key, task in self._closing.items() if key.id == conversation_id]
        if closing:
            await asyncio.wait(closing)

    async def _close_and_release(self, key: PoolKey, conversation: ConversationWriter) -> None:
        """Release the lease unless another worker has it, and then clear the dirty flag if the rows are up to date.

        Files that an error left inconsistent are repaired first. If the repair fails, the lease is kept and its release
        is retried. If someone opens the conversation before that, the opening checks for a crash.
        """
        await conversation.save_updated_at()
        with suppress(StoreError):
            await conversation.settle()
        files = conversation.files
        in_step = not conversation.behind and not files.broken
        conversation.release_share()
        if key.owner == self.instance:
            try:
                if files.broken:
                    await asyncio.to_thread(files.load, after_crash=True)
                elif not files.head_is_durable:
                    with suppress(OwnershipLost, ConversationNotFound):
                        await asyncio.to_thread(files.sync_head)
                released = await asyncio.to_thread(lease.release, self._context.root, files.directory, files.lease)
            except StoreError:
                self._unreleased[key] = conversation
                return
            in_step = in_step and released
        if in_step:
            await self._clear_dirty(key.id, files.lease)

    async def _clear_dirty(self, conversation_id: ConversationId, own_lease: Lease) -> None:
        generation = own_lease.generation
        with suppress(StoreError):
            await self._context.index.write(
                lambda connection: ownership.clear_dirty(connection, conversation_id, self.instance, generation)
            )

    async def close(self) -> None:
        """Close all conversations, and then release the liveness lock.

        They are closed in parallel, because a stopping server has little time.
        """
        if self._maintenance is not None:
            self._maintenance.cancel()
            await asyncio.wait([self._maintenance])
        await asyncio.gather(*(self._end(key, entry) for key, entry in self._open.items()))
        if self._closing:
            await asyncio.wait(self._closing.values())
        self._owner.close()
        self._threads.shutdown(wait=False)

    async def _end(self, key: PoolKey, entry: PoolEntry) -> None:
        with suppress(Exception):
            await entry.task
        entry.users = 0
        if entry.maintenance is not None:
            entry.maintenance.cancel()
        await self._close(key, entry)


async def _log_errors(conversation_id: ConversationId, work: Awaitable[None]) -> None:
    """Await a background task's work, and log a StoreError."""
    try:
        await work
    except StoreError as error:
        log.warning("conversation %s: %s", conversation_id, error)
