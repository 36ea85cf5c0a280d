"""What a store keeps of a conversation that it has open for writing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import NamedTuple

from app.model.ids import ConversationId
from app.store.conversation import Conversation


class Key(NamedTuple):
    """A conversation and for whom it is open: for this store, or under a client's lease."""

    id: ConversationId
    owner: str
    generation: int


@dataclass(slots=True, eq=False)
class Entry:
    """An open conversation, or one that is being opened, how many use it, and when what was last done for it."""

    task: asyncio.Task[Conversation]
    users: int = 0
    used_at: float = 0.0
    renewed_at: float = 0.0
    settled: bool = False

    @property
    def ready(self) -> Conversation | None:
        """The conversation, once it is open."""
        done = self.task.done() and not self.task.cancelled() and self.task.exception() is None
        return self.task.result() if done else None
