"""StoreReader: a conversations directory and its index, open for reading."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson

from ...errors import ConversationNotFound, IndexBusy, IndexDamaged, IndexUnusable
from ...files import liveness
from ...files.log.event_log import RawEvent
from ...files.metadata_reader import Reader
from ...files.trash import TrashEntry
from ...filesystem import require_temporary_directory
from ...index import (
    conversation_lookup,
    event_outline,
    search,
    state,
)
from ...index.conversation_lookup import Totals
from ...index.engine import Note, ignore_note
from ...index.event_outline import Outline
from ...index.opening import make_index
from ...index.state import IndexState, get_state
from ...model.change_token import ChangePage, ChangeToken
from ...model.filters import ConversationFilter, EventFilter, LookIn
from ...model.hits import HitPage, Keep, list_searched
from ...model.ids import ConversationId, EventName, dashed
from ...model.page import EventOrder, HitOrder, View
from ...settings import Settings
from ..context import StoreContext, make_reader, require_files
from ..existence import require_directory
from ..follow.full_sync import OnProgress, SyncReport, ignore_progress, sync
from ..follow.index_repair import replace_unusable
from ..follow.index_settings import adopt_index_settings, describe_derivation, make_sync_context
from ..follow.leader import has_leader_elsewhere
from ..follow.verify import Difference, OnVerified, ignore_verified, verify
from ..other_hosts import OtherHosts
from ..presence import Presence
from ..write import deletion
from . import followers, lookup
from .event_reader import EventPage, EventReader
from .followers import Followers, follow_events
from .freshness import Freshness
from .index_reader import PAGE_MAX, IndexReader
from .lookup import add_skills

log = logging.getLogger(__name__)

_ANY = ConversationFilter()
_ANY_EVENT = EventFilter()


MANY = 100_000
"""The number of conversations from which a comparison of all of them with the index takes seconds."""


class OldComparison(NamedTuple):
    """The number of conversations in the index, and the seconds since it was last compared with the files."""

    conversations: int
    age_s: float


class StoreReader(IndexReader):
    """A conversations directory and its index, open for reading. No method writes into a conversation's directory.

    A handler of a GET request gets this type, so it cannot reach a writer.
    """

    def __init__(self, settings: Settings, note: Note = ignore_note) -> None:
        index = make_index(settings, note=note)
        presence = Presence(settings.root, settings.written_root)
        super().__init__(settings, StoreContext(index, make_reader(settings), presence))
        self.other_hosts = None if index.hosts is None else OtherHosts(index.hosts, self._note_written)
        self.followers = Followers(settings.followers, self.other_hosts.tell_written if self.other_hosts else None)
        self._sharing = ExitStack()
        self._freshness = Freshness(self.context, self._is_written_here)

    def _note_written(self, conversation_id: ConversationId) -> None:
        self.followers.notify_here(conversation_id)

    @property
    def reader(self) -> Reader:
        """The reader of the files."""
        return self.context.reader

    async def _is_written_here(self, _: ConversationId) -> bool:
        return False

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: Settings | Path | str, note: Note = ignore_note, *, follows: bool = False
    ) -> AsyncIterator[Self]:
        """Open a store, and create or upgrade its index; `sync` fills it. `note` is called with durations and counts.

        Instead of settings, the conversations directory is enough. With `follows`, the caller runs `run_background`,
        which opens an index whose server does not answer now.

        Raises:
            StoreUnavailable: the conversations directory does not exist.
            SchemaTooNew: a newer convstore made the index.
            IndexUnusable: the index cannot be made or opened.
        """
        if not isinstance(settings, Settings):
            settings = Settings(store=Path(settings))
        await asyncio.to_thread(require_directory, settings)
        store = cls(settings, note)
        await store._make_ready(wait_elsewhere=follows)
        if store.index.hosts is not None:
            store._sharing.enter_context(liveness.share(settings.root, store.index.hosts, settings.host_name))
        await asyncio.to_thread(require_temporary_directory, settings.state_dir)
        try:
            with suppress(IndexBusy, *([IndexUnusable] if follows else [])):
                await adopt_index_settings(store.context)
            await store.context.presence.refresh(store.index)  # so nothing is written where a disk is not mounted
            yield store
        finally:
            await store.close()

    async def _make_ready(self, *, wait_elsewhere: bool) -> None:
        try:
            await self.index.make_ready(self.settings.busy_timeout_s)
        except IndexUnusable as error:
            if not (error.away and wait_elsewhere):
                raise
            log.error("%s", error)  # noqa: TRY400 - the reason is in the text
            self.index.note_away(error)

    async def close(self) -> None:
        """Close the index. The context manager `open` calls this."""
        self.context.large_events.close()
        await self.index.close()
        self._sharing.close()

    async def sync(self, *, on_progress: OnProgress = ignore_progress, allow_empty: bool = False) -> SyncReport:
        """Bring the index up to date with the files by a full sync. A damaged index is replaced first.

        Files are read with the settings of this store. If the rows were made with other settings, all files are read
        again. While another process is the leader, the index's settings are used instead.

        Raises:
            SyncRunning: another process is syncing or rebuilding.
            StoreUnavailable: the conversations directory cannot be read, or it is empty, the index is not, and
                `allow_empty` is false.
            IndexBusy: another process is the leader, and its derivation is unknown to this version.
        """
        await self.context.presence.refresh(self.index)
        if allow_empty:
            self.index.note_absence(None)
        context = await make_sync_context(self.index, self.settings)
        work = partial(sync, context, on_progress=on_progress, allow_empty=allow_empty)
        try:
            report = await work()
        except IndexDamaged:
            await replace_unusable(self.context)
            report = await work()
        await self.index.refresh_rebuilding()
        await adopt_index_settings(self.context)
        self.index.note("sync", report.seconds)
        return report

    async def is_followed_elsewhere(self) -> bool:
        """Whether a server in another process has compared this index with the files, and keeps it up to date.

        Raises:
            IndexBusy: there is such a server, and its derivation is unknown to this version.
        """
        if not await asyncio.to_thread(has_leader_elsewhere, self.index):
            return False
        await adopt_index_settings(self.context)
        async with self.index.read() as connection:
            state = await get_state(connection)
        return state.phase == "idle" and state.last_sweep_at is not None and state.last_error is None

    async def find_old_comparison(self) -> OldComparison | None:
        """Return when the index was last compared with the files, if comparing it now would take seconds.

        None means that the index has fewer than `MANY` conversations, or that only a sync makes it usable: it is
        incomplete, or its rows have another derivation.

        Raises:
            IndexBusy: another process is the leader, and its derivation is unknown to this version.
        """
        await adopt_index_settings(self.context)
        index_state, totals = await self.get_status()
        compared_us = index_state.last_sweep_at
        is_usable = index_state.phase == "idle" and index_state.derived_by == describe_derivation(self.reader)
        if totals.conversations < MANY or compared_us is None or not is_usable:
            return None
        return OldComparison(totals.conversations, max(0.0, time.time() - compared_us / 1e6))

    async def verify(
        self, *, fix: bool = False, sample: int | None = None, on_verified: OnVerified = ignore_verified
    ) -> list[Difference]:
        """Compare the index with the files, correct differences if `fix` is set, and return all differences.

        `sample` is the number of randomly chosen conversations to compare in full; None compares all.

        Raises:
            StoreUnavailable: the conversations directory cannot be read.
            IndexBusy: another process is the leader, and its derivation is unknown to this version.
        """
        await adopt_index_settings(self.context)
        found = verify(self.context, on_verified, fix=fix, sample=sample)
        differences = [difference async for difference in found]
        if self.index.rebuilding and fix:
            await self.sync()
        return differences

    async def require_ready(self) -> None:
        """Check that the conversations directory exists and that the index answers.

        Raises:
            StoreUnavailable: the directory is missing, or it is empty but the index is not.
            IndexUnusable: the index does not answer, or its file was deleted while it was open.
        """
        await self.context.presence.refresh(self.index)
        self.index.require_present()
        await asyncio.to_thread(require_files, self.settings.root, self.index)
        await self.index.refresh_rebuilding()

    async def find_in_conversation(
        self,
        conversation_id: ConversationId,
        text: str,
        *,
        order: HitOrder = HitOrder.SEQ,
        look_in: LookIn = LookIn.SAID,
        page_id: str | None = None,
        limit: int = PAGE_MAX,
        keep: Keep | None = None,
    ) -> HitPage:
        """Return a page of the matching messages of one conversation in log order, and their total number.

        With `keep`, the page ends after as many of the `limit` hits as it returns.

        Raises:
            ConversationNotFound: no conversation has this id.
            InvalidToken: `page_id` is damaged or belongs to another query.
            QueryTooSlow: the search took longer than the settings allow.
        """
        await self._freshness.bring_in_step(conversation_id)
        asked = ConversationFilter(q=text, look_in=look_in)
        read = self.index.read(within_s=self.settings.search_timeout_s, whole=True)
        async with read as connection, connection.snapshot():
            if order is HitOrder.SEQ:
                page = await search.find_in_log(connection, conversation_id, asked, page_id, limit, keep=keep)
            else:
                page = await search.search_messages(
                    connection, asked, page_id, limit, within=conversation_id, keep=keep
                )
        has_titles = order is HitOrder.RELEVANCE
        searched = list_searched(look_in, titles=has_titles, outputs=self.context.reader.tools)
        return page._replace(searched=searched)

    async def find_conversations(
        self, ids: Sequence[ConversationId], *, include_skills: bool = False
    ) -> list[bytes | None]:
        """Return the ConversationInfo of each id from the index, in the order of `ids`; None for an unknown id."""
        return await self._find(ids, include_skills=include_skills, whole=True)

    async def _find(
        self, ids: Sequence[ConversationId], *, include_skills: bool, whole: bool = False
    ) -> list[bytes | None]:
        found = await conversation_lookup.find_conversations(self.index.read_here(whole=whole), ids)
        if include_skills:
            return [None if body is None else await add_skills(self.context, body) for body in found]
        return found

    async def get_conversation(self, conversation_id: ConversationId, *, include_skills: bool = False) -> bytes:
        """Bring a conversation's rows up to date, and return its ConversationInfo as JSON.

        Raises:
            ConversationNotFound: no conversation has this id.
            StoreUnavailable: the index has this conversation, but the disk has none at all.
        """
        if not include_skills and (body := await self._freshness.find_body(conversation_id)) is not None:
            return body
        opened = self.index.opened
        try:
            return await self._get(conversation_id, include_skills=include_skills)
        except ConversationNotFound:
            if self.index.opened == opened:
                raise
        return await self._get(conversation_id, include_skills=include_skills)  # the index was replaced in between

    async def _get(self, conversation_id: ConversationId, *, include_skills: bool) -> bytes:
        await self._freshness.bring_in_step(conversation_id)
        found = await self._find([conversation_id], include_skills=include_skills)
        if found[0] is None:
            raise ConversationNotFound(f"no conversation has the id {dashed(conversation_id)}")
        return found[0]

    async def resolve(self, text: str) -> ConversationId:
        """Return the id that `text` spells, or the only id that begins with `text`, which needs at least four digits.

        Raises:
            InvalidId: no id can begin with `text`, or several do.
            ConversationNotFound: no conversation's id begins with `text`.
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
        """Return a page of events in log order or in reverse. Only the files of the page's events are opened.

        With `asked.body`, messages are opened until the page is full.

        Raises:
            ConversationNotFound: no conversation has this id.
            InvalidToken: `page_id` is damaged or belongs to another query.
        """
        return await (await self.open_log(conversation_id)).list_events(asked, order, page_id, limit)

    async def walk_events(
        self,
        conversation_id: ConversationId,
        asked: EventFilter = _ANY_EVENT,
        *,
        order: EventOrder = EventOrder.TIMESTAMP,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the readable events that match, as dictionaries. The pages are read as they are needed.

        Raises:
            ConversationNotFound: no conversation has this id.
        """
        page_id = None
        while True:
            log = await self.open_log(conversation_id)
            page = await log.begin_page(asked, order, page_id, PAGE_MAX)
            async with aclosing(log.read_whole(page)) as events:
                async for event in events:
                    if not event.unreadable:
                        value = [orjson.loads(event.raw)]
                        del event
                        yield value.pop()
            page_id = page.next_page_id
            if page_id is None:
                return

    async def count_events(self, conversation_id: ConversationId, asked: EventFilter = _ANY_EVENT) -> int:
        """Return the number of readable events that match. With `asked.body`, all messages are read.

        Raises:
            ConversationNotFound: no conversation has this id.
        """
        return await (await self.open_log(conversation_id)).count_events(asked)

    async def get_event(self, conversation_id: ConversationId, event_id: str) -> bytes:
        """Return the bytes of one event's file.

        Raises:
            ConversationNotFound: no conversation has this id.
            EventNotFound: the conversation has no such event, or the event's file cannot be read.
        """
        return await (await self.open_log(conversation_id)).get_event(event_id)

    async def get_outline(self, conversation_id: ConversationId) -> Outline:
        """Return counts, turns, marks and bins of a conversation's log, from the index alone.

        Raises:
            ConversationNotFound: no conversation has this id.
        """
        await self._freshness.bring_in_step(conversation_id)
        async with self.index.read() as connection:
            return await event_outline.read_outline(connection, conversation_id)

    async def get_final_response(self, conversation_id: ConversationId) -> str:
        """Return the agent's last finish message or plain message on the active branch, or "" if there is none.

        Raises:
            ConversationNotFound: no conversation has this id.
            EventNotFound: the file of that message cannot be read.
        """
        return await (await self.open_log(conversation_id)).get_final_response()

    async def follow(
        self, conversation_id: ConversationId, *, after: EventName | None = None, whole: bool = True
    ) -> AsyncGenerator[list[RawEvent], None]:
        """Yield the readable events after `after` (None: all), and then new ones: in batches, in log order, each once.

        An empty batch means that there was no new event. Unless `whole`, large events are not read: see
        `EventReader.open_large`. To stop, close the iterator (`contextlib.aclosing`); `followers.close()` stops all.

        Raises:
            ConversationNotFound: no conversation has this id, or it was deleted.
            TooManyFollowers: the settings allow no further follower.
        """
        with self.followers.subscribe(conversation_id) as notified:
            async with aclosing(follow_events(partial(self.open_log, conversation_id), notified, after)) as batches:
                async for batch in batches:
                    if whole and any(event.large for event in batch):
                        yield await (await self.open_log(conversation_id)).load_all(batch)
                    else:
                        yield batch
                    if self.followers.closed:
                        return

    async def open_log(self, conversation_id: ConversationId) -> EventReader:
        """Bring a conversation's rows up to date, and return the reader of its log.

        Raises:
            ConversationNotFound: no conversation has this id.
            StoreUnavailable: the index has this conversation, but the disk has none at all.
        """
        located = await self._freshness.bring_in_step(conversation_id)
        return EventReader(self.context, conversation_id, located.directory)

    async def get_place(self) -> ChangeToken:
        """Return the change token after the last change."""
        return await followers.get_latest_token(self.index)

    async def list_changes(
        self, since: ChangeToken | None = None, limit: int = PAGE_MAX, view: View = View.FULL
    ) -> ChangePage:
        """Return the conversations that changed or were deleted after a token, each in its current state.

        None returns all. `view` is that of `list_conversations`.

        Raises:
            ChangesGone: the changes since then are no longer known; list everything again.
        """
        return await followers.list_changes(self.index, since, limit, view)

    async def wait_for_changes(
        self,
        since: ChangeToken | None,
        limit: int = PAGE_MAX,
        wait_s: float = 30.0,
        is_gone: Callable[[], Awaitable[bool]] | None = None,
        view: View = View.FULL,
    ) -> ChangePage:
        """Return the changes after a token as soon as there are any, or an empty page after `wait_s` seconds.

        It also returns if `is_gone` says that the client has gone.

        Raises:
            ChangesGone: the changes since then are no longer known; list everything again.
            TooManyFollowers: the settings allow no further follower.
        """
        return await followers.wait_for_changes(self.index, self.followers, since, limit, wait_s, is_gone, view)

    def follow_changes(
        self,
        since: ChangeToken | None = None,
        limit: int = PAGE_MAX,
        every_s: float = 30.0,
        view: View = View.FULL,
    ) -> AsyncGenerator[ChangePage, None]:
        """Yield the changes after a token and then new ones, in pages.

        Yields an empty page after `every_s` without a change.

        Raises:
            ChangesGone: the changes since then are no longer known; list everything again.
            TooManyFollowers: the settings allow no further follower.
        """
        return followers.follow_changes(self.index, self.followers, since, limit, every_s, view)

    async def get_status(self) -> tuple[IndexState, Totals]:
        """Return the state of the full sync, and the totals of the index."""
        async with self.index.read() as connection:
            return await state.get_state(connection), await conversation_lookup.count_totals(connection)

    async def list_ids(self, asked: ConversationFilter) -> list[ConversationId]:
        """Return the ids of all conversations that match, in ascending order."""
        return await lookup.list_ids(self.context, asked)

    async def list_trash(self, offset: int, limit: int | None) -> tuple[list[tuple[TrashEntry, str | None]], int]:
        """Return a page of deleted conversations with titles, most recently deleted first, and the total number."""
        self.index.require_present()
        return await asyncio.to_thread(deletion.list_titled, self.reader.root, offset, limit)
