"""The conversations that one store has open for writing: opened once, kept under a budget, closed when idle.

Opening claims the lease, notes in the index (durably) that the conversation is open, and reads it. It is single-flight,
none waits for another's, and nothing is kept of a conversation that is not open.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from app.errors import ConversationNotFound, OwnershipLost, StoreError
from app.files import layout, lease, owners
from app.files.lease import Lease
from app.files.opened import OpenFiles
from app.files.scan import Reader
from app.index import ownership
from app.index.engine import Index
from app.model.filters import Status
from app.model.ids import ConversationId, dashed
from app.settings import Settings
from app.store.commits import Commits
from app.store.conversation import Conversation
from app.store.interrupted import end_interrupted_run
from app.store.opening import Opening

log = logging.getLogger(__name__)

_TICK_S = 1.0
_SETTLED_S = 2.1


@dataclass(slots=True, eq=False)
class _Entry:
    task: asyncio.Task[Conversation]
    users: int = 0
    used_at: float = 0.0
    renewed_at: float = 0.0
    settled: bool = False


class Writers:
    """The open conversations of one store."""

    def __init__(
        self,
        index: Index,
        reader: Reader,
        settings: Settings,
        opening: Opening,
        wake: Callable[[ConversationId], None],
    ) -> None:
        self.instance = settings.instance or owners.make_instance_id()
        self._index = index
        self._reader = reader
        self._settings = settings
        self._opening = opening
        self._wake = wake
        self._commits = Commits(index)
        self._open: dict[ConversationId, _Entry] = {}
        self._life = ExitStack()
        self._coming_alive = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def writer(self, conversation_id: ConversationId, *, force: bool = False) -> AsyncIterator[Conversation]:
        """Open a conversation for writing, or share the open one.

        Raises:
            ConversationNotFound: there is none.
            ConversationOwned: another owner lives; `force` takes it over.
            UnreadableFile: its base_state.json is missing or cannot be read.
        """
        entry = self._entry(conversation_id, force=force)
        entry.users += 1
        try:
            conversation = await asyncio.shield(entry.task)
            yield conversation
        finally:
            entry.users -= 1
            entry.used_at = time.monotonic()
            entry.settled = False
            await self._put_back(conversation_id, entry)

    def _entry(self, conversation_id: ConversationId, *, force: bool) -> _Entry:
        entry = self._open.get(conversation_id)
        if entry is not None and not (entry.task.done() and entry.task.result().lost):
            return entry
        entry = _Entry(asyncio.create_task(self._build(conversation_id, force=force)), renewed_at=time.monotonic())
        self._open[conversation_id] = entry
        entry.task.add_done_callback(lambda task: self._forget_failed(conversation_id, entry, task))
        return entry

    def _forget_failed(self, conversation_id: ConversationId, entry: _Entry, task: asyncio.Task[Conversation]) -> None:
        """Let the next one try afresh."""
        if (task.cancelled() or task.exception() is not None) and self._open.get(conversation_id) is entry:
            del self._open[conversation_id]

    async def _put_back(self, conversation_id: ConversationId, entry: _Entry) -> None:
        if not entry.task.done() or entry.task.cancelled() or entry.task.exception() is not None:
            return
        if entry.task.result().lost and self._open.get(conversation_id) is entry:
            del self._open[conversation_id]
        await self._keep_budget()

    async def _build(self, conversation_id: ConversationId, *, force: bool) -> Conversation:
        located = await self._opening.open(conversation_id)
        await self._come_alive()
        root, directory = self._reader.root, located.directory
        claim = await asyncio.to_thread(lease.claim, root, directory, self.instance, force=force)
        files = OpenFiles(self._reader, directory, conversation_id, claim.lease)
        try:
            async with self._index.write(durable=True) as connection:
                await ownership.mark(connection, conversation_id, self.instance, claim.lease.generation)
            status = await asyncio.to_thread(files.load)
            await self._opening.open(conversation_id)  # once more: until the claim, others could write
        except BaseException:
            await asyncio.to_thread(lease.release, root, directory, claim.lease)
            raise
        conversation = Conversation(
            files,
            self._commits,
            reindex=lambda: self._reindex(conversation_id),
            wake=lambda: self._wake(conversation_id),
        )
        if status == Status.RUNNING and _was_left(claim.before, self.instance):
            await end_interrupted_run(conversation)
        return conversation

    async def _reindex(self, conversation_id: ConversationId) -> None:
        if await self._opening.read_again(conversation_id) is None:
            raise ConversationNotFound(f"conversation {dashed(conversation_id)} is gone")

    async def _come_alive(self) -> None:
        """Hold the lock that says that this store lives, from its first write on, and start to look after leases."""
        if self._keeper is None:
            async with self._coming_alive:
                if self._keeper is None:
                    await asyncio.to_thread(
                        lambda: self._life.enter_context(owners.living(self._reader.root, self.instance))
                    )
                    self._keeper = asyncio.create_task(self._look_after())

    async def _look_after(self) -> None:
        """Renew leases, close what is idle, note signatures that can be trusted, and retry what the index refused."""
        while True:
            await asyncio.sleep(_TICK_S)
            for conversation_id, entry in list(self._open.items()):
                if not entry.task.done() or entry.task.cancelled() or entry.task.exception() is not None:
                    continue
                try:
                    await self._look_at(conversation_id, entry, entry.task.result())
                except StoreError as error:
                    log.warning("conversation %s: %s", conversation_id, error)

    async def _look_at(self, conversation_id: ConversationId, entry: _Entry, conversation: Conversation) -> None:
        now = time.monotonic()
        if conversation.behind:
            await conversation.catch_up()
        if not entry.users and now - entry.used_at > self._settings.idle_s and conversation.files.status != "running":
            await self._close(conversation_id, entry)
            return
        if now - entry.renewed_at > lease.RENEW_EVERY_S:
            entry.renewed_at = now
            try:
                await conversation.renew()
            except OwnershipLost:
                await self._close(conversation_id, entry)
                return
        if not entry.settled and now - entry.used_at > _SETTLED_S:
            entry.settled = True
            await self._settle(conversation)

    async def _settle(self, conversation: Conversation) -> None:
        """Note the signature of an open conversation that was left alone long enough for it to be trusted."""
        if conversation.behind or not await asyncio.to_thread(conversation.files.is_unchanged):
            return
        signature = await asyncio.to_thread(layout.signature, self._reader.root, conversation.files.directory)
        if signature != layout.UNTRUSTED:
            async with self._index.write() as connection:
                await ownership.settle(connection, conversation.id, signature)

    async def _keep_budget(self) -> None:
        """Close the least recently used idle conversations while there are too many, or too large ones."""
        idle = [
            (entry.used_at, conversation_id, entry)
            for conversation_id, entry in self._open.items()
            if not entry.users and entry.task.done() and not entry.task.cancelled() and not entry.task.exception()
        ]
        idle.sort(key=lambda one: one[0])
        for _, conversation_id, entry in idle:
            if not self._is_over_budget():
                return
            await self._close(conversation_id, entry)

    def _is_over_budget(self) -> bool:
        if len(self._open) > self._settings.open_conversations:
            return True
        ready = [entry.task for entry in self._open.values() if entry.task.done() and not entry.task.cancelled()]
        sizes = [task.result().files.size_bytes for task in ready if task.exception() is None]
        return sum(sizes) > self._settings.open_bytes

    async def _close(self, conversation_id: ConversationId, entry: _Entry) -> None:
        """Close an open conversation: its rows are in step, so the mark goes, and then the lease."""
        if self._open.get(conversation_id) is not entry or entry.users:
            return
        del self._open[conversation_id]
        conversation = entry.task.result()
        files = conversation.files
        if not conversation.lost:
            with suppress(StoreError):
                await self._settle(conversation)
            if not conversation.behind and not files.broken:
                with suppress(StoreError):
                    async with self._index.write() as connection:
                        await ownership.clear(connection, conversation_id, self.instance)
            with suppress(StoreError):
                await asyncio.to_thread(lease.release, self._reader.root, files.directory, files.lease)

    async def close(self) -> None:
        """Close all conversations and stop living."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        for conversation_id, entry in list(self._open.items()):
            with suppress(Exception):
                await entry.task
            if self._open.get(conversation_id) is entry:
                entry.users = 0
                await self._close(conversation_id, entry)
        self._life.close()


def _was_left(before: Lease | None, instance: str) -> bool:
    """Whether the owner before us ended without giving its lease back, or took none."""
    return before is None or (not before.released and before.owner != instance)
