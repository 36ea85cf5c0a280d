"""Messages between the processes of several hosts that share a store: what was written, and who wants a conversation.

A message may be lost. Then followers find the change by polling, and a host asks for a conversation again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import orjson

from ..index.hosts import COMMITTED, Hosts
from ..model.ids import ConversationId

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

_ASK_AGAIN_S = 0.1
_ALL = ConversationId("*")


class OtherHosts:
    """The messages of one open store."""

    def __init__(self, hosts: Hosts, on_written: Callable[[ConversationId], None]) -> None:
        """`on_written` is called with a conversation that was written, or with "*" for any change."""
        self.hosts = hosts
        self._on_written = on_written
        self._on_wanted: Callable[[ConversationId], None] | None = None
        self._wanted: dict[ConversationId, set[asyncio.Event]] = {}
        self._instance = ""

    def listen(self, instance: str, on_wanted: Callable[[ConversationId], None]) -> None:
        """Hear messages from now on.

        `on_wanted` is called with a conversation that `instance` owns and another host wants.
        """
        self._instance, self._on_wanted = instance, on_wanted
        self.hosts.listen(self._hear)

    def tell_written(self, conversation_id: ConversationId) -> None:
        """Tell all processes that a conversation was written."""
        self._send("written", conversation_id)

    def tell_free(self, conversation_id: ConversationId) -> None:
        """Tell all processes that this host released a conversation that another one wanted."""
        self._send("free", conversation_id)

    async def ask(self, conversation_id: ConversationId, owner: str, until: float) -> None:
        """Ask the host `owner` for a conversation. Return when it is free, or at `until` on the monotonic clock."""
        with self._awaiting(conversation_id) as free:
            while (left_s := until - time.monotonic()) > 0:
                self._send("want", conversation_id, owner)
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left_s, _ASK_AGAIN_S)):
                        await free.wait()
                    return

    @contextmanager
    def _awaiting(self, conversation_id: ConversationId) -> Iterator[asyncio.Event]:
        free = asyncio.Event()
        waiting = self._wanted.setdefault(conversation_id, set())
        waiting.add(free)
        try:
            yield free
        finally:
            waiting.discard(free)
            if not waiting and self._wanted.get(conversation_id) is waiting:
                del self._wanted[conversation_id]

    def _send(self, *parts: str) -> None:
        self.hosts.send(orjson.dumps(parts).decode())

    def _hear(self, message: str) -> None:
        if message == COMMITTED:
            self._on_written(_ALL)
            return
        match _parse(message):
            case ["written", str(given)]:
                self._on_written(ConversationId(given))
            case ["want", str(given), str(owner)] if owner == self._instance and self._on_wanted is not None:
                self._on_wanted(ConversationId(given))
            case ["free", str(given)]:
                for free in self._wanted.get(ConversationId(given), ()):
                    free.set()
            case _:
                pass


def _parse(message: str) -> object:
    try:
        return orjson.loads(message)
    except orjson.JSONDecodeError:
        log.warning("a message of another host cannot be read: %.100r", message)
        return None
