"""What a store keeps of a conversation that it has open for writing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import NamedTuple

from app.errors import StoreError
from app.model.ids import ConversationId
from app.store.write.conversation_writer import Conversation

log = logging.getLogger(__name__)


class Key(NamedTuple):
    """A conversation and for whom it is open: for this store, or under a client's lease."""

    id: ConversationId
    owner: str
    generation: int


async def told(conversation_id: ConversationId, work: Awaitable[None]) -> None:
    """Wait for what nobody else waits for; an error of the store is logged."""
    try:
        await work
    except StoreError as error:
        log.warning("conversation %s: %s", conversation_id, error)


@dataclass(slots=True, eq=False)
class Entry:
    """An open conversation, or one that is being opened, how many use it, and when what was last done for it."""

    task: asyncio.Task[Conversation]
    users: int = 0
    used_at: float = 0.0
    renewed_at: float = 0.0
    settled: bool = False
    looking: asyncio.Task[None] | None = None
    """What the store does for it by itself just now, or did last."""

    @property
    def ready(self) -> Conversation | None:
        """The conversation, once it is open."""
        done = self.task.done() and not self.task.cancelled() and self.task.exception() is None
        return self.task.result() if done else None
