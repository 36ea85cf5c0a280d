"""The conversations that one store has open for writing: opened once, kept under a budget, closed when idle.

Opening claims the lease, notes in the index (durably) that the conversation is open, and reads it. It is single-flight,
none waits for another's, and nothing is kept of a conversation that is not open.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from app.errors import ConversationNotFound, OwnershipLost, StoreError
from app.files import lease, liveness
from app.files.lease import ClaimedLease, Lease
from app.files.open_conversation import OpenConversation
from app.index import ownership
from app.model.filters import Status
from app.model.ids import ConversationId, dashed
from app.settings import Settings
from app.store.context import StoreContext
from app.store.follow.crash_recovery import end_interrupted_run, was_left_open
from app.store.follow.derivation import adopt_index_settings
from app.store.read.freshness import Freshness
from app.store.write.conversation_writer import ConversationWriter
from app.store.write.group_commit import GroupCommit

_TICK_S = 1.0
_SETTLED_S = 2.1
_THREADS = 16
"""How many conversations are written to at once, and at most share a commit; a write waits in its thread."""


class WriterPool:
    """The open conversations of one store."""

    def __init__(
        self,
        context: StoreContext,
        settings: Settings,
        freshness: Freshness,
        notify: Callable[[ConversationId], None],
    ) -> None:
        self.instance = settings.instance or liveness.make_instance_id()
        self._context = context
        self._settings = settings
        self._freshness = freshness
        self._notify = notify
        self._commits = GroupCommit(context.index)
        self._threads = ThreadPoolExecutor(_THREADS, "writing")
        self._open: dict[PoolKey, PoolEntry] = {}
        self._closing: dict[PoolKey, asyncio.Task[None]] = {}
        self._kept: dict[PoolKey, ConversationWriter] = {}
        """Closed, but for their leases, which could not be given back: tried again one a tick, the eldest first."""
        self._life = ExitStack()
        self._coming_alive = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def writer(
        self, conversation_id: ConversationId, *, force: bool = False, held: Lease | None = None
    ) -> AsyncIterator[ConversationWriter]:
        """Open a conversation for writing, or share the open one; with `held`, under a client's lease."""
        key = PoolKey(conversation_id, *((held.owner, held.generation) if held else (self.instance, 0)))
        if self._settings.workers > 1:
            await self._refresh(key)
        entry = self._entry(key, held, force=force)
        entry.users += 1
        try:
            yield await asyncio.shield(entry.task)
        finally:
            entry.users -= 1
            entry.used_at = time.monotonic()
            entry.settled = False
            if entry.ready is not None:
                if entry.ready.lost:
                    entry.ready.release_share()
                    if self._open.get(key) is entry:
                        del self._open[key]
                await self._keep_budget()

    async def _refresh(self, key: PoolKey) -> None:
        """Have what this process has open show what other workers did to it; forget it if the lease is another."""
        entry = self._open.get(key)
        if entry is not None and entry.ready is not None:
            with suppress(StoreError):
                await entry.ready.refresh()
            if entry.ready.lost:
                await self._close(key, entry)

    async def close_conversation(self, conversation_id: ConversationId, held: Lease | None = None) -> str:
        """Close a conversation that nobody uses just now, and return the name of this owner, who lives."""
        await self._come_alive()
        key = PoolKey(conversation_id, *((held.owner, held.generation) if held else (self.instance, 0)))
        if (entry := self._open.get(key)) is not None:
            await self._close(key, entry)
        await self._wait_until_closed(conversation_id)
        return self.instance

    def has_open(self, conversation_id: ConversationId) -> bool:
        """Whether this process has a conversation open, under this store's own lease."""
        return PoolKey(conversation_id, self.instance, 0) in self._open

    async def is_in_step(self, conversation_id: ConversationId) -> bool:
        """Whether a conversation is open here, its rows show all of it, and nobody else changed its files."""
        entry = self._open.get(PoolKey(conversation_id, self.instance, 0))
        return entry is not None and entry.ready is not None and await entry.ready.is_in_step()

    def _entry(self, key: PoolKey, held: Lease | None, *, force: bool) -> PoolEntry:
        entry = self._open.get(key)
        if entry is not None and not (entry.ready and entry.ready.lost):
            return entry
        entry = PoolEntry(asyncio.create_task(self._build(key.id, held, force=force)), renewed_at=time.monotonic())
        self._open[key] = entry
        entry.task.add_done_callback(lambda task: self._forget_failed(key, entry, task))
        return entry

    def _forget_failed(self, key: PoolKey, entry: PoolEntry, task: asyncio.Task[ConversationWriter]) -> None:
        """Let the next one try afresh."""
        if (task.cancelled() or task.exception() is not None) and self._open.get(key) is entry:
            del self._open[key]

    async def _build(self, conversation_id: ConversationId, held: Lease | None, *, force: bool) -> ConversationWriter:
        located = await self._freshness.find(conversation_id)
        await adopt_index_settings(self._context)
        await self._come_alive()
        await self._wait_until_closed(conversation_id)
        root, directory = self._context.root, located.directory
        if held is not None:
            claim = ClaimedLease(await asyncio.to_thread(lease.check_lease, root, directory, held), held)
        else:
            shared = self._settings.workers > 1
            claim = await asyncio.to_thread(lease.claim, root, directory, self.instance, force=force, shared=shared)
        files = OpenConversation(self._context.reader, directory, conversation_id, claim.lease)
        left = held is None and claim.before is not None and not claim.before.released
        try:
            mark = partial(
                ownership.set_dirty,
                conversation_id=conversation_id,
                owner=self.instance,
                generation=claim.lease.generation,
            )
            # Durable, and before the first file is written: a power cut must not take it back.
            await self._context.index.write(mark, durable=True)
            status = await asyncio.to_thread(files.load, after_crash=left)
            located = await self._freshness.bring_in_step(
                conversation_id
            )  # after the claim: until then, others could write
            conversation = ConversationWriter(
                self._context,
                files,
                self._commits,
                self._threads,
                reindex=partial(self._reindex, conversation_id),
                notify=partial(self._notify, conversation_id),
                share=claim.share,
                behind=located.events_behind,
            )
            if held is None and status == Status.RUNNING and was_left_open(claim.before, self.instance):
                await end_interrupted_run(conversation)
        except BaseException:
            if claim.share is not None:
                os.close(claim.share)
            undone = held is None and await asyncio.to_thread(lease.undo_claim, root, directory, claim)
            if undone and not left:  # else the mark is that of a crash, or of another worker
                await self._unmark(conversation_id, claim.lease)
            raise
        return conversation

    async def _reindex(self, conversation_id: ConversationId) -> bool:
        located = await self._freshness.read_again(conversation_id)
        if located is None:
            raise ConversationNotFound(f"conversation {dashed(conversation_id)} is gone")
        return not located.events_behind

    async def _come_alive(self) -> None:
        """Hold the lock that says that this store lives, from its first write on, and start to look after leases."""
        if self._keeper is None:
            async with self._coming_alive:
                if self._keeper is None:
                    living = liveness.stay_alive(self._context.root, self.instance)
                    await asyncio.to_thread(self._life.enter_context, living)
                    self._keeper = asyncio.create_task(self._look_after())

    async def _look_after(self) -> None:
        """Renew leases, close what is idle, note signatures that can be trusted, and retry what was refused.

        Each open conversation has a task of its own for it: what holds one up holds up no other.
        """
        while True:
            await asyncio.sleep(_TICK_S)
            for key in [key for key in self._kept if key not in self._open and key not in self._closing][:1]:
                self._begin_to_close(key, self._kept.pop(key))
            for key, entry in list(self._open.items()):
                if entry.ready is not None and (entry.looking is None or entry.looking.done()):
                    entry.looking = asyncio.create_task(log_errors(key.id, self._look_at(key, entry, entry.ready)))

    async def _look_at(self, key: PoolKey, entry: PoolEntry, conversation: ConversationWriter) -> None:
        now = time.monotonic()
        if conversation.behind:
            await conversation.catch_up()
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

    async def _keep_budget(self) -> None:
        """Close the least recently used idle conversations while there are too many, or too large ones."""
        idle = [(entry.used_at, key) for key, entry in self._open.items() if not entry.users and entry.ready]
        for _, key in sorted(idle):
            if not self._is_over_budget():
                return
            if key in self._open:
                await self._close(key, self._open[key])

    def _is_over_budget(self) -> bool:
        sizes = [entry.ready.files.size_bytes for entry in self._open.values() if entry.ready]
        return len(self._open) > self._settings.open_conversations or sum(sizes) > self._settings.open_bytes

    async def _close(self, key: PoolKey, entry: PoolEntry) -> None:
        """Close an open conversation, to the end also when whoever waits for that is cancelled."""
        conversation = entry.ready
        if self._open.get(key) is not entry or entry.users or conversation is None:
            return
        del self._open[key]
        if conversation.lost:
            conversation.release_share()
        else:
            await asyncio.shield(self._begin_to_close(key, conversation))

    def _begin_to_close(self, key: PoolKey, conversation: ConversationWriter) -> asyncio.Task[None]:
        closing = self._closing[key] = asyncio.create_task(self._give_back(key, conversation))
        closing.add_done_callback(lambda _: self._closing.pop(key))
        return closing

    async def _wait_until_closed(self, conversation_id: ConversationId) -> None:
        """Wait while a conversation is being closed: a claim before its end would be given back with the old one."""
        closing = [task for key, task in self._closing.items() if key.id == conversation_id]
        if closing:
            await asyncio.wait(closing)

    async def _give_back(self, key: PoolKey, conversation: ConversationWriter) -> None:
        """End what opening began: the lease goes, unless another worker has it, and then the mark, if rows are in step.

        What an error left is put right first. If that fails, the lease stays until it can be given back, and whoever
        opens the conversation before looks for a crash.
        """
        files = conversation.files
        await conversation.save_updated_at()
        with suppress(StoreError):
            await conversation.settle()
        in_step = not conversation.behind and not files.broken
        conversation.release_share()
        if key.owner == self.instance:
            try:
                if files.broken:
                    await asyncio.to_thread(files.load, after_crash=True)
                released = await asyncio.to_thread(lease.release, self._context.root, files.directory, files.lease)
            except StoreError:
                self._kept[key] = conversation
                return
            in_step = in_step and released
        if in_step:
            await self._unmark(key.id, files.lease)

    async def _unmark(self, conversation_id: ConversationId, held: Lease) -> None:
        with suppress(StoreError):
            await self._context.index.write(
                lambda connection: ownership.clear_dirty(connection, conversation_id, self.instance, held.generation)
            )

    async def close(self) -> None:
        """Close all conversations, at once, for there is little time for it, and stop living."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        await asyncio.gather(*(self._end(key, entry) for key, entry in self._open.items()))
        if self._closing:
            await asyncio.wait(self._closing.values())
        self._life.close()
        self._threads.shutdown(wait=False)

    async def _end(self, key: PoolKey, entry: PoolEntry) -> None:
        with suppress(Exception):
            await entry.task
        entry.users = 0
        if entry.looking is not None:
            entry.looking.cancel()
        await self._close(key, entry)


log = logging.getLogger(__name__)


class PoolKey(NamedTuple):
    """A conversation and for whom it is open: for this store, or under a client's lease."""

    id: ConversationId
    owner: str
    generation: int


async def log_errors(conversation_id: ConversationId, work: Awaitable[None]) -> None:
    """Wait for what nobody else waits for; an error of the store is logged."""
    try:
        await work
    except StoreError as error:
        log.warning("conversation %s: %s", conversation_id, error)


@dataclass(slots=True, eq=False)
class PoolEntry:
    """An open conversation, or one that is being opened, how many use it, and when what was last done for it."""

    task: asyncio.Task[ConversationWriter]
    users: int = 0
    used_at: float = 0.0
    renewed_at: float = 0.0
    settled: bool = False
    looking: asyncio.Task[None] | None = None
    """What the store does for it by itself just now, or did last."""

    @property
    def ready(self) -> ConversationWriter | None:
        """The conversation, once it is open."""
        done = self.task.done() and not self.task.cancelled() and self.task.exception() is None
        return self.task.result() if done else None
