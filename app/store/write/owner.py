"""An owner of conversations, which this process is: its name, the lock that shows that it lives, and its claims."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple, Protocol

from ...errors import ConversationOwned
from ...files import lease, liveness
from ...files.lease import ClaimedLease
from ...index import ownership
from ...model.ids import ConversationId, dashed
from ..context import StoreContext
from ..other_hosts import OtherHosts
from ..read.freshness import Freshness
from ..read.lookup import find_directory

_HAND_OVER_S = 2.0
"""The seconds that another host gets to finish its write and to release a conversation."""


class _Claim(Protocol):
    def __call__(self, instance: str, *, known_generation: int, announce: Callable[[int], None] = ...) -> ClaimedLease:
        """Do what `lease.claim` does, for one directory."""


class Claiming(NamedTuple):
    """A conversation that is to be claimed. `generation` is the highest that the index knows."""

    id: ConversationId
    directory: str
    claim: _Claim
    generation: int


class Owner:
    """An owner whose store belongs to one machine."""

    def __init__(self, context: StoreContext, instance: str) -> None:
        self.instance = instance
        self._context = context
        self._life = ExitStack()

    @property
    def dead(self) -> bool:
        """Whether other hosts count this owner as dead."""
        return False

    @property
    def sets_dirty_flag(self) -> bool:
        """Whether `claim` sets the dirty flag in the index."""
        return False

    async def join(self) -> None:
        """Show other processes that this owner lives. An owner that is dead takes another name."""
        await asyncio.to_thread(self._life.enter_context, liveness.stay_alive(self._context.root, self.instance))

    async def claim(self, wanted: Claiming) -> ClaimedLease:
        """Claim a conversation.

        Raises:
            ConversationOwned: another owner is alive. Others: see `lease.claim`.
        """
        return await asyncio.to_thread(partial(wanted.claim, self.instance, known_generation=wanted.generation))

    async def free_elsewhere(self, conversation_id: ConversationId) -> None:
        """Let another host release a conversation, if it has it open."""

    def hear(self, on_wanted: Callable[[ConversationId], None]) -> None:
        """Call `on_wanted` from now on with each conversation of this owner that another host wants."""

    def tell_free(self, conversation_id: ConversationId) -> None:
        """Tell other hosts that a conversation was released."""

    def close(self) -> None:
        """Release the lock that shows that this owner lives."""
        self._life.close()


class OwnerAmongHosts(Owner):
    """An owner that shares its store with other hosts. They ask each other for conversations."""

    def __init__(self, context: StoreContext, instance: str, others: OtherHosts, freshness: Freshness) -> None:
        super().__init__(context, instance)
        self._others = others
        self._freshness = freshness
        self._on_wanted: Callable[[ConversationId], None] | None = None

    @property
    def dead(self) -> bool:
        """Whether other hosts count this owner as dead, and may have taken over its conversations."""
        return self._others.hosts.dead

    @property
    def sets_dirty_flag(self) -> bool:
        """True: the row is written before the lease, so that transactions of earlier owners are refused."""
        return True

    async def join(self) -> None:
        """Be a process of this host, or of its next name if it is dead. Workers of one server take the same name."""
        hosts, boot = self._others.hosts, liveness.boot_of(self._context.root)
        if hosts.dead:
            self.instance = liveness.next_instance(self.instance)
        while True:
            with ExitStack() as life:
                await asyncio.to_thread(life.enter_context, liveness.stay_alive(self._context.root, self.instance))
                if await asyncio.to_thread(hosts.join, self.instance, boot):
                    self._life.enter_context(life.pop_all())
                    break
            self.instance = liveness.next_instance(self.instance)
        self._listen()

    async def claim(self, wanted: Claiming) -> ClaimedLease:
        """Claim a conversation and set its dirty flag. If another host has it open, ask this host to release it.

        Raises:
            ConversationOwned: a client has the lease, or the other host did not release it within `_HAND_OVER_S`.
        """

        def announce(generation: int) -> None:
            is_next = partial(ownership.claim, conversation_id=wanted.id, owner=self.instance, generation=generation)
            if not self._context.index.write_in_thread(is_next, durable=True):
                raise ConversationOwned(f"another host is opening conversation {dashed(wanted.id)}; try again")

        until, generation = time.monotonic() + _HAND_OVER_S, wanted.generation
        while True:
            claim = partial(wanted.claim, self.instance, known_generation=generation, announce=announce)
            try:
                return await asyncio.to_thread(claim)
            except ConversationOwned:
                if not await self._ask_for(wanted.id, wanted.directory, until):
                    raise
                generation = (await self._freshness.find(wanted.id)).generation

    async def free_elsewhere(self, conversation_id: ConversationId) -> None:
        """Ask the host that has a conversation open, if any, to release it."""
        directory = await find_directory(self._context, conversation_id)
        if directory is not None:
            await self._ask_for(conversation_id, directory, time.monotonic() + _HAND_OVER_S)

    async def _ask_for(self, conversation_id: ConversationId, directory: str, until: float) -> bool:
        """Ask the host that has a conversation open to release it. Return False if that is in vain."""
        holder = await asyncio.to_thread(lease.find_holder, self._context.root, directory)
        if time.monotonic() >= until or (holder is not None and not holder.boot):
            return False
        if holder is not None and holder.owner != self.instance:
            await self._others.ask(conversation_id, holder.owner, until)
        return True

    def hear(self, on_wanted: Callable[[ConversationId], None]) -> None:
        """Call `on_wanted` from now on with each conversation of this owner that another host wants."""
        self._on_wanted = on_wanted
        self._listen()

    def _listen(self) -> None:
        if self._on_wanted is not None:
            self._others.listen(self.instance, self._on_wanted)

    def tell_free(self, conversation_id: ConversationId) -> None:
        """Tell other hosts that a conversation was released."""
        self._others.tell_free(conversation_id)
