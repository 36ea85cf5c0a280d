"""Freshness: before a conversation is read, its rows are brought up to date with its files.

If nothing changed, this costs a few stats and opens no file, even while this store appends to the conversation. If
something changed, the check is single-flight: simultaneous requests for a conversation share one. A request that
arrives during a check shares the next one, which reads the files only if they changed. No request waits for another
conversation. A conversation that is not being read uses no memory.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import time
from collections.abc import Awaitable, Callable
from functools import partial
from math import inf

from ...errors import ConversationNotFound, IndexBusy, IndexUnusable
from ...files import fingerprint, layout
from ...files.fingerprint import UNTRUSTED
from ...files.layout import ConversationDir
from ...index import conversation_lookup
from ...index.conversation_lookup import IndexedState
from ...model.ids import ConversationId, dashed
from ..context import StoreContext
from ..follow.ingest import delete_vanished, ingest
from .lookup import find_directory

log = logging.getLogger(__name__)

_SLOW_S = 0.05
"""A look at files is slow if it takes longer."""
_REST_S = 1.0
"""For so long after a slow look, the event loop's thread looks at no files; other threads do."""


class Freshness:
    """The checks of conversations that are running or queued in a store."""

    def __init__(self, context: StoreContext, is_written_here: Callable[[ConversationId], Awaitable[bool]]) -> None:
        """`is_written_here` says whether this store has a conversation open for writing and its rows are up to date."""
        self._context = context
        self._running: dict[ConversationId, asyncio.Task[IndexedState | None]] = {}
        self._next: dict[ConversationId, asyncio.Task[IndexedState | None]] = {}
        """The queued checks that have not started."""
        self._is_written_here = is_written_here
        self._rests_until = -inf

    async def bring_in_step(self, conversation_id: ConversationId) -> IndexedState:
        """Bring a conversation's rows up to date with its files, and return its location.

        Raises:
            ConversationNotFound: neither the index nor the disk has it.
            StoreUnavailable: the index has it, but the disk has no conversation at all.
        """
        self._context.index.require_present()
        unchanged = await self._glance(conversation_id)
        if unchanged is not None:
            return unchanged
        task = self._next.get(conversation_id)
        if task is None:
            task = self._next[conversation_id] = asyncio.create_task(self._in_turn(conversation_id))
        located = await asyncio.shield(task)
        if located is None:
            raise ConversationNotFound(f"no conversation has the id {dashed(conversation_id)}")
        return located

    async def find_body(self, conversation_id: ConversationId) -> bytes | None:
        """Return a conversation's ConversationInfo, or None if it is not known at once whether its rows are current."""
        self._context.index.require_present()
        if not self._may_glance():
            return None
        found = await conversation_lookup.locate_with_body(self._context.index.read_here(), conversation_id)
        return found[1] if found is not None and await self._is_current(found[0]) else None

    async def _glance(self, conversation_id: ConversationId) -> IndexedState | None:
        """Return a conversation's location, or None if it is not known at once whether its rows are current."""
        located = await self._locate(conversation_id) if self._may_glance() else None
        return located if located is not None and await self._is_current(located) else None

    def _may_glance(self) -> bool:
        """Whether the status of files may be read in the thread of the event loop.

        A hop to another thread and back takes several times as long. A local disk answers at once. For a while after it
        did not, other threads ask it.
        """
        return self._context.presence.is_local and time.monotonic() >= self._rests_until

    async def _is_current(self, located: IndexedState) -> bool:
        """Whether a conversation's rows are up to date with its files. False if that is not known at once."""
        if located.events_behind:
            return False
        if await self._is_written_here(located.id):
            return True
        began = time.monotonic()
        path = f"{self._context.root}/{located.directory}"
        try:
            is_there = stat.S_ISDIR(os.lstat(path).st_mode)
        except OSError:
            return False
        signature = fingerprint.signature(self._context.root, located.directory)
        if time.monotonic() - began > _SLOW_S:
            self._rests_until = time.monotonic() + _REST_S
        return is_there and signature == located.signature != UNTRUSTED

    async def find(self, conversation_id: ConversationId) -> IndexedState:
        """Return a conversation's location without updating its rows. Raises the same errors as `bring_in_step`."""
        located = await self._locate(conversation_id)
        if located is not None and await asyncio.to_thread(layout.is_directory, self._context.root, located.directory):
            return located
        return await self.bring_in_step(conversation_id)

    async def ingest_again(self, conversation_id: ConversationId) -> IndexedState | None:
        """Ingest a conversation even if its signature is unchanged. Returns None if it does not exist."""
        directory = await find_directory(self._context, conversation_id)
        return None if directory is None else await self._ingest(conversation_id, directory)

    async def _in_turn(self, conversation_id: ConversationId) -> IndexedState | None:
        """Wait for the running check of this conversation, and then check again.

        A request that arrives during a check waits for the next one, because the running check may have read the files
        before an event that the caller already knows was appended.
        """
        if conversation_id in self._running:
            await asyncio.wait([self._running[conversation_id]])
        self._running[conversation_id] = self._next.pop(conversation_id)
        try:
            return await self._bring_in_step(conversation_id)
        finally:
            del self._running[conversation_id]

    async def _bring_in_step(self, conversation_id: ConversationId) -> IndexedState | None:
        located = await self._locate(conversation_id)
        if located is not None and not located.events_behind and await self._is_written_here(conversation_id):
            return located
        directory, signature = await asyncio.to_thread(self._read_signature, conversation_id, located)
        if located is not None and signature == located.signature != UNTRUSTED and not located.events_behind:
            return located
        if directory is None:
            if (
                located is not None
            ):  # raises StoreUnavailable if no other conversation exists, because the disk may be unmounted
                delete_row = partial(delete_vanished, root=self._context.root, directories=[located.directory])
                await self._context.index.write(delete_row)
            return None
        try:
            return await self._ingest(conversation_id, directory)
        except (IndexBusy, IndexUnusable) as error:
            if located is None:
                raise
            log.warning(
                "conversation %s is served from the index, which may be out of date: %s", conversation_id, error
            )
            return located

    def _read_signature(
        self, conversation_id: ConversationId, located: IndexedState | None
    ) -> tuple[str | None, bytes]:
        """Return the conversation's directory (None if it does not exist) and the signature of its files."""
        root = self._context.root
        if located is not None and layout.is_directory(root, located.directory):
            directory: str | None = located.directory
        else:
            directory = layout.find_directory(root, conversation_id)
        return directory, fingerprint.signature(root, directory) if directory else UNTRUSTED

    async def _locate(self, conversation_id: ConversationId) -> IndexedState | None:
        return await conversation_lookup.locate_conversation(self._context.index.read_here(), conversation_id)

    async def _ingest(self, conversation_id: ConversationId, directory: str) -> IndexedState | None:
        await ingest(self._context, [ConversationDir(directory, conversation_id)])
        return await self._locate(conversation_id)
