"""Opening one conversation: before anything of it is served, its rows are brought in step with its files.

When nothing changed this costs a few stats and no open, also of one that this store is appending to. It is single-
flight: any number of simultaneous requests for one conversation read it once, those that come while it is read once
more if it changed, and none waits for another conversation's. Nothing is kept for one that nobody reads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from app.errors import ConversationNotFound, IndexBusy, IndexUnusable
from app.files import fingerprint, layout
from app.files.fingerprint import UNTRUSTED
from app.files.layout import ConversationDir
from app.index import conversation_lookup
from app.index.conversation_lookup import IndexedState
from app.model.ids import ConversationId, dashed
from app.store.context import StoreContext
from app.store.follow.ingest import delete_vanished, ingest
from app.store.read.lookup import find_directory

log = logging.getLogger(__name__)


class Freshness:
    """The conversations of one store that are being brought in step right now."""

    def __init__(self, context: StoreContext, is_written_here: Callable[[ConversationId], Awaitable[bool]]) -> None:
        """`is_written_here` says whether this store has a conversation open, and its rows show all of it."""
        self._context = context
        self._running: dict[ConversationId, asyncio.Task[IndexedState | None]] = {}
        self._next: dict[ConversationId, asyncio.Task[IndexedState | None]] = {}
        """Those that have not begun to look."""
        self._is_written_here = is_written_here

    async def bring_in_step(self, conversation_id: ConversationId) -> IndexedState:
        """Return where a conversation is, with its rows in step with its files.

        Raises:
            ConversationNotFound: there is none, neither in the index nor on disk.
            StoreUnavailable: there is one in the index, and none at all on disk.
        """
        task = self._next.get(conversation_id)
        if task is None:
            task = self._next[conversation_id] = asyncio.create_task(self._in_turn(conversation_id))
        located = await asyncio.shield(task)
        if located is None:
            raise ConversationNotFound(f"no conversation has the id {dashed(conversation_id)}")
        return located

    async def find(self, conversation_id: ConversationId) -> IndexedState:
        """Return where a conversation is, whether its rows are in step or not.

        Raises:
            ConversationNotFound: there is none, neither in the index nor on disk.
            StoreUnavailable: there is one in the index, and none at all on disk.
        """
        located = await self._locate(conversation_id)
        if located is not None and await asyncio.to_thread(layout.is_directory, self._context.root, located.directory):
            return located
        return await self.bring_in_step(conversation_id)

    async def read_again(self, conversation_id: ConversationId) -> IndexedState | None:
        """Read a conversation's files and write its rows, whatever its signature says; None when it is gone."""
        directory = await find_directory(self._context, conversation_id)
        return None if directory is None else await self._read_again(conversation_id, directory)

    async def _in_turn(self, conversation_id: ConversationId) -> IndexedState | None:
        """Bring a conversation in step once the one that does it now has ended.

        Whoever asks from then on waits for the next one: this one may have looked before an event came that they know.
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
        directory, signature = await asyncio.to_thread(self._look, conversation_id, located)
        if located is not None and signature == located.signature != UNTRUSTED and not located.events_behind:
            return located
        if directory is None:
            await self._forget(located)
            return None
        try:
            return await self._read_again(conversation_id, directory)
        except (IndexBusy, IndexUnusable) as error:
            if located is None:
                raise
            log.warning("conversation %s is served as the index has it: %s", conversation_id, error)
            return located

    def _look(self, conversation_id: ConversationId, located: IndexedState | None) -> tuple[str | None, bytes]:
        """Return the conversation's directory, None when there is none (any more), and the signature of its files."""
        root = self._context.root
        if located is not None and layout.is_directory(root, located.directory):
            directory: str | None = located.directory
        else:
            directory = layout.find_directory(root, conversation_id)
        return directory, fingerprint.signature(root, directory) if directory else UNTRUSTED

    async def _locate(self, conversation_id: ConversationId) -> IndexedState | None:
        async with self._context.index.read() as connection:
            return await conversation_lookup.locate_conversation(connection, conversation_id)

    async def _forget(self, located: IndexedState | None) -> None:
        """Remove the rows of a conversation whose directory is gone.

        Raises:
            StoreUnavailable: there is no other one either, so the whole disk may be gone.
        """
        if located is None:
            return
        vanished = partial(delete_vanished, root=self._context.root, directories=[located.directory])
        await self._context.index.write(vanished)

    async def _read_again(self, conversation_id: ConversationId, directory: str) -> IndexedState | None:
        """Read a conversation's files and write its rows."""
        await ingest(self._context, [ConversationDir(directory, conversation_id)])
        return await self._locate(conversation_id)
