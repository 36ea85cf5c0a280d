"""StoreReader: one conversations directory with its index, open to be read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from math import inf
from typing import Self

from app.errors import ConversationNotFound, IndexBusy, IndexDamaged
from app.files.log.event_log import RawEvent
from app.files.metadata_reader import Reader
from app.files.trash import TrashEntry
from app.index import conversation_list, conversation_lookup, facet_counts, search, state
from app.index.connections import ReadConnection
from app.index.conversation_list import Page
from app.index.conversation_lookup import Totals
from app.index.sqlite.database import Index
from app.index.state import IndexState
from app.logs import Note, ignore_note
from app.model.change_token import ChangePage, ChangeToken
from app.model.facets import Facet, Facets
from app.model.filters import ConversationFilter, EventFilter
from app.model.hits import HitPage
from app.model.ids import ConversationId, EventName, dashed
from app.model.page import EventOrder, SortOrder
from app.settings import Settings
from app.store.context import StoreContext, make_reader, require_directory, require_files
from app.store.follow.derivation import adopt_index_settings, make_sync_context
from app.store.follow.full_sync import OnProgress, SyncReport, ignore_progress, sync
from app.store.follow.index_repair import open_index, replace_unusable
from app.store.follow.verify import Difference, OnVerified, ignore_verified, verify
from app.store.read import followers, lookup
from app.store.read.event_reader import EventPage, EventReader
from app.store.read.followers import Followers, follow_events
from app.store.read.freshness import Freshness
from app.store.read.info_from_files import add_skills
from app.store.write import deletion

PAGE_MAX = 100

_ANY = ConversationFilter()
_ANY_EVENT = EventFilter()


class StoreReader:
    """A conversations directory and its index, to be read: nothing here writes into a conversation's directory.

    What answers a GET has this type, and so no way to a writer.
    """

    def __init__(self, settings: Settings, note: Note = ignore_note) -> None:
        self.settings = settings
        self.index = Index(
            settings.index_path, readers=settings.readers, busy_timeout_s=settings.busy_timeout_s, note=note
        )
        self.context = StoreContext(self.index, make_reader(settings))
        self._note = note
        self.followers = Followers(settings.followers)
        self._freshness = Freshness(self.context, self._is_written_here)

    @property
    def reader(self) -> Reader:
        """How the files are read now."""
        return self.context.reader

    async def _is_written_here(self, _: ConversationId) -> bool:
        return False

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, note: Note = ignore_note) -> AsyncIterator[Self]:
        """Open a store, making or upgrading its index; the rows come with `sync`. `note` is told how long work took.

        Raises:
            StoreUnavailable: the directory is missing.
            SchemaTooNew: a newer convstore made the index.
            IndexUnusable: the index cannot be made or opened.
        """
        await asyncio.to_thread(require_directory, settings)
        store = cls(settings, note)
        await open_index(store.index, settings.busy_timeout_s)
        try:
            with suppress(IndexBusy):
                await adopt_index_settings(store.context)
            yield store
        finally:
            await store.close()

    async def close(self) -> None:
        """Close what is open; `open` does it."""
        await self.index.close()

    async def sync(self, *, on_progress: OnProgress = ignore_progress, allow_empty: bool = False) -> SyncReport:
        """Bring the index up to date with the files; see `app.store.follow.full_sync`. A damaged one is built anew.

        It is read as the settings say, all of it where that differs from before; beside a server as that one does.
        """
        context = await make_sync_context(self.index, self.settings)
        work = partial(sync, context, on_progress=on_progress, allow_empty=allow_empty)
        try:
            report = await work()
        except IndexDamaged:
            await replace_unusable(self.context)
            report = await work()
        await self.index.refresh_rebuilding()
        await adopt_index_settings(self.context)
        self._note("sync", report.seconds)
        return report

    async def verify(
        self, *, fix: bool = False, sample: int | None = None, on_verified: OnVerified = ignore_verified
    ) -> list[Difference]:
        """Compare the index with the files, mend with `fix` what differs, and return it."""
        await adopt_index_settings(self.context)
        found = verify(self.context, on_verified, fix=fix, sample=sample)
        differences = [difference async for difference in found]
        if self.index.rebuilding and fix:
            await self.sync()
        return differences

    async def require_ready(self) -> None:
        """Make sure that the directory is there and that the index answers.

        Raises:
            StoreUnavailable: the directory is gone.
            IndexUnusable: the index does not answer, or its file was deleted under this process.
        """
        await asyncio.to_thread(require_files, self.settings.root, self.index.path)
        async with self.index.read() as connection:
            await state.get_state(connection)

    async def list_conversations(
        self,
        asked: ConversationFilter = _ANY,
        *,
        order: SortOrder = SortOrder.CREATED_AT_DESC,
        page_id: str | None = None,
        limit: int = PAGE_MAX,
        include_skills: bool = False,
    ) -> Page:
        """Return a page of ConversationInfo, each as JSON. Only `include_skills` opens files, those of the page.

        Raises:
            InvalidToken: `page_id` is damaged or belongs to another query.
            QueryTooSlow: looking for `asked.q` takes longer than the settings allow.
        """
        if order is SortOrder.RELEVANCE and asked.q and asked.q.strip():
            async with self._read_for(asked) as connection, connection.snapshot():
                page = await search.rank_conversations(connection, asked, page_id, limit)
        else:
            order = SortOrder.UPDATED_AT_DESC if order is SortOrder.RELEVANCE else order
            async with self._read_for(asked) as connection:
                page = await conversation_list.list_conversations(connection, asked, order, page_id, limit)
        if include_skills:
            bodies = [await add_skills(self.context, body) for body in page.items]
            return page._replace(items=bodies)
        return page

    def _read_for(self, asked: ConversationFilter) -> AbstractAsyncContextManager[ReadConnection]:
        """Lend a connection for what a filter asks; a search has its time."""
        return self.index.read(within_s=self.settings.search_timeout_s if asked.q else inf, whole=True)

    async def search_messages(
        self, text: str, asked: ConversationFilter = _ANY, *, page_id: str | None = None, limit: int = PAGE_MAX
    ) -> HitPage:
        """Return a page of the messages and titles that hold what is looked for, the best first, with snippets.

        `text` is what a user types: words, "phrases", -excluded ones, OR; the last word may be only begun. `asked` says
        in which conversations.

        Raises:
            InvalidToken: `page_id` is damaged or belongs to another query.
            QueryTooSlow: it takes longer than the settings allow.
        """
        read = self.index.read(within_s=self.settings.search_timeout_s, whole=True)
        async with read as connection, connection.snapshot():
            return await search.search_messages(connection, replace(asked, q=text), page_id, limit)

    async def count_text(self) -> tuple[int, int]:
        """Return of how many conversations the text is known to the index, and how many there are."""
        async with self.index.read() as connection:
            totals = await conversation_lookup.count_totals(connection)
        return totals.conversations - totals.behind, totals.conversations

    async def count_conversations(self, asked: ConversationFilter = _ANY) -> int:
        """Return how many conversations the filter admits.

        Raises:
            QueryTooSlow: looking for `asked.q` takes longer than the settings allow.
        """
        async with self._read_for(asked) as connection:
            return await conversation_list.count_conversations(connection, asked)

    async def count_facets(self, by: Sequence[Facet], asked: ConversationFilter = _ANY, *, limit: int = 20) -> Facets:
        """Count what the filter admits by each facet, the `limit` commonest of its values; all from one state.

        Raises:
            QueryTooSlow: looking for `asked.q` takes longer than the settings allow.
        """
        async with self._read_for(asked) as connection:
            return await facet_counts.count_facets(connection, asked, by, limit)

    async def find_conversations(
        self, ids: Sequence[ConversationId], *, include_skills: bool = False
    ) -> list[bytes | None]:
        """Return the ConversationInfo of each id as the index has it, in their order; None for each unknown one."""
        return await self._find(ids, include_skills=include_skills, whole=True)

    async def _find(
        self, ids: Sequence[ConversationId], *, include_skills: bool, whole: bool = False
    ) -> list[bytes | None]:
        async with self.index.read(whole=whole) as connection:
            found = await conversation_lookup.find_conversations(connection, ids)
        if include_skills:
            return [None if body is None else await add_skills(self.context, body) for body in found]
        return found

    async def get_conversation(self, conversation_id: ConversationId, *, include_skills: bool = False) -> bytes:
        """Return one ConversationInfo as JSON, after a look at whether its files changed.

        Raises:
            ConversationNotFound: there is none.
        """
        opened = self.index.opened
        try:
            return await self._get(conversation_id, include_skills=include_skills)
        except ConversationNotFound:
            if self.index.opened == opened:
                raise
        return await self._get(conversation_id, include_skills=include_skills)  # the index was set aside in between

    async def _get(self, conversation_id: ConversationId, *, include_skills: bool) -> bytes:
        await self._freshness.bring_in_step(conversation_id)
        found = await self._find([conversation_id], include_skills=include_skills)
        if found[0] is None:
            raise ConversationNotFound(f"no conversation has the id {dashed(conversation_id)}")
        return found[0]

    async def resolve(self, text: str) -> ConversationId:
        """Return the id that `text` is, or the beginning of (four characters or more), without ambiguity.

        Raises:
            InvalidId: `text` can be the beginning of no id, or begins several.
            ConversationNotFound: it begins none.
        """
        return await lookup.resolve(self.context, text)

    async def list_events(
        self,
        conversation_id: ConversationId,
        asked: EventFilter = _ANY_EVENT,
        *,
        order: EventOrder = EventOrder.TIMESTAMP,
        page_id: str | None = None,
        limit: int = PAGE_MAX,
    ) -> EventPage:
        """Return a page of events in log order or its reverse. Opens the files of the page and no other.

        With `asked.body`, the messages are opened until the page is full.

        Raises:
            ConversationNotFound: there is no such conversation.
            InvalidToken: `page_id` is damaged or belongs to another query.
        """
        return await (await self.open_log(conversation_id)).list_events(asked, order, page_id, limit)

    async def count_events(self, conversation_id: ConversationId, asked: EventFilter = _ANY_EVENT) -> int:
        """Return how many readable events the filter admits.

        Raises:
            ConversationNotFound: there is no such conversation.
        """
        return await (await self.open_log(conversation_id)).count_events(asked)

    async def get_event(self, conversation_id: ConversationId, event_id: str) -> bytes:
        """Return the bytes of one event's file.

        Raises:
            ConversationNotFound: there is no such conversation.
            EventNotFound: it has no such event, or the event's file cannot be read.
        """
        return await (await self.open_log(conversation_id)).get_event(event_id)

    async def get_final_response(self, conversation_id: ConversationId) -> str:
        """Return the agent's last finish message or message, "" when there is none.

        Raises:
            ConversationNotFound: there is no such conversation.
            EventNotFound: the file of that message cannot be read.
        """
        return await (await self.open_log(conversation_id)).get_final_response()

    async def follow(
        self, conversation_id: ConversationId, *, after: EventName | None = None
    ) -> AsyncGenerator[list[RawEvent], None]:
        """Give the readable events after `after` (None: all), then those to come; each once, in log order, in batches.

        An empty batch says that a look found no new event. Close the iterator (`contextlib.aclosing`) to end it;
        `followers.close()` ends all.

        Raises:
            ConversationNotFound: there is no such conversation (any more).
            TooManyFollowers: there are as many followers as the settings allow.
        """
        with self.followers.subscribe(conversation_id) as woken:
            async with aclosing(follow_events(partial(self.open_log, conversation_id), woken, after)) as batches:
                async for batch in batches:
                    yield batch
                    if self.followers.closed:
                        return

    async def open_log(self, conversation_id: ConversationId) -> EventReader:
        """Return the log of a conversation, its rows in step with its files.

        Raises:
            ConversationNotFound: there is none.
        """
        located = await self._freshness.bring_in_step(conversation_id)
        return EventReader(self.context, conversation_id, located.directory)

    async def get_place(self) -> ChangeToken:
        """Return the place in the change feed after everything that has changed until now."""
        return await followers.get_latest_token(self.index)

    async def list_changes(self, since: ChangeToken | None = None, limit: int = PAGE_MAX) -> ChangePage:
        """Return which conversations changed or were deleted after a place, each as it is now; None: all there are.

        Raises:
            ChangesGone: the changes since then are no longer known; list everything again.
        """
        return await followers.list_changes(self.index, since, limit)

    async def wait_for_changes(
        self,
        since: ChangeToken | None,
        limit: int = PAGE_MAX,
        wait_s: float = 30.0,
        is_gone: Callable[[], Awaitable[bool]] | None = None,
    ) -> ChangePage:
        """Return the changes after a place as soon as there are any; none when there are none in `wait_s` seconds.

        It waits no longer once `is_gone` says that nobody wants to know any more.

        Raises:
            ChangesGone: the changes since then are no longer known; list everything again.
            TooManyFollowers: there are as many followers as the settings allow.
        """
        return await followers.wait_for_changes(self.index, self.followers, since, limit, wait_s, is_gone)

    def follow_changes(
        self, since: ChangeToken | None = None, limit: int = PAGE_MAX, every_s: float = 30.0
    ) -> AsyncGenerator[ChangePage, None]:
        """Give the changes after a place and those to come, in pages; an empty one when none came in `every_s`.

        Raises:
            ChangesGone: the changes since then are no longer known; list everything again.
            TooManyFollowers: there are as many followers as the settings allow.
        """
        return followers.follow_changes(self.index, self.followers, since, limit, every_s)

    async def get_status(self) -> tuple[IndexState, Totals]:
        """Return what the sync is doing and what the index holds."""
        async with self.index.read() as connection:
            return await state.get_state(connection), await conversation_lookup.count_totals(connection)

    async def list_ids(self, asked: ConversationFilter) -> list[ConversationId]:
        """Return the ids of all conversations that the filter admits, in their order."""
        return await lookup.list_ids(self.context, asked)

    async def list_trash(self, offset: int, limit: int | None) -> tuple[list[tuple[TrashEntry, str | None]], int]:
        """Return deleted conversations with their titles, the last deleted first, and how many there are."""
        return await asyncio.to_thread(deletion.list_titled, self.reader.root, offset, limit)
