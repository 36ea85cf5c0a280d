"""ConversationStore: one conversations directory with its index, open for use."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo

import orjson

from app.errors import ConversationNotFound, IndexDamaged, IndexUnusable, InvalidId, StoreUnavailable
from app.files import lease, scan
from app.files.eventlog import RawEvent
from app.files.layout import Named
from app.files.lease import Lease
from app.files.scan import Reader
from app.files.trash import Trashed
from app.index import conversations, progress
from app.index.conversations import Page, Totals
from app.index.engine import Index
from app.index.progress import Progress
from app.logs import Note, ignore_note
from app.model.changes import ChangePage, Place
from app.model.conversation import fold
from app.model.filters import ConversationFilter, EventFilter
from app.model.ids import ConversationId, EventName, dashed, find_conversation_id, parse_conversation_id
from app.model.page import EventOrder, SortOrder
from app.settings import Settings
from app.store import changes, creating, deleting
from app.store.conversation import Conversation
from app.store.events import EventPage, Log
from app.store.following import Followers, follow
from app.store.mending import mend, open_index
from app.store.opening import Opening
from app.store.sealing import make_seal
from app.store.sync import OnProgress, SyncReport, ignore_progress, sync
from app.store.verify import Difference, OnVerified, ignore_verified, verify
from app.store.writing import Writers

PAGE_MAX = 100

_PREFIX = re.compile(r"[0-9a-f]{4,32}")
_ANY = ConversationFilter()
_ANY_EVENT = EventFilter()


def make_reader(settings: Settings) -> Reader:
    """Return how the files of a store are read."""
    zone = ZoneInfo(settings.timezone) if settings.timezone else None
    return Reader(settings.root, zone, settings.sync_processes or 0)


class StoreReader:
    """A conversations directory and its index, to be read: nothing here writes into a conversation's directory.

    What answers a GET has this type, and so no way to a writer.
    """

    def __init__(self, settings: Settings, note: Note = ignore_note) -> None:
        self.settings = settings
        self.reader = make_reader(settings)
        self.index = Index(
            settings.index_path, readers=settings.readers, busy_timeout_s=settings.busy_timeout_s, note=note
        )
        self._note = note
        self.followers = Followers(settings.followers)
        self._opening = Opening(self.index, self.reader)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, note: Note = ignore_note) -> AsyncIterator[Self]:
        """Open a store, making or upgrading its index; the rows come with `sync`. `note` is told how long work took.

        Raises:
            StoreUnavailable: the directory is missing.
            SchemaTooNew: a newer convstore made the index.
            IndexUnusable: the index cannot be made or opened.
        """
        if not await asyncio.to_thread(settings.root.is_dir):
            raise StoreUnavailable(
                f"{settings.root} is no directory; give the one that holds the conversation directories, "
                "for agent-server workspace/conversations"
            )
        store = cls(settings, note)
        await open_index(store.index, settings.busy_timeout_s)
        try:
            yield store
        finally:
            await store.close()

    async def close(self) -> None:
        """Close what is open; `open` does it."""
        await self.index.close()

    async def sync(self, *, on_progress: OnProgress = ignore_progress, allow_empty: bool = False) -> SyncReport:
        """Bring the index up to date with the files; see `app.store.sync`. A damaged one is built anew."""
        work = partial(sync, self.index, self.reader, on_progress=on_progress, allow_empty=allow_empty)
        try:
            report = await work()
        except IndexDamaged:
            await mend(self.index)
            report = await work()
        self.index.rebuilding = False
        self._note("sync", report.seconds)
        return report

    async def verify(
        self, *, fix: bool = False, sample: int | None = None, on_verified: OnVerified = ignore_verified
    ) -> list[Difference]:
        """Compare the index with the files, mend with `fix` what differs, and return it; see `app.store.verify`."""
        found = verify(self.index, self.reader, on_verified, fix=fix, sample=sample)
        differences = [difference async for difference in found]
        if self.index.rebuilding and fix:
            await self.sync()
        return differences

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
        """
        self.index.require_whole()
        async with self.index.read() as connection:
            page = await conversations.list_conversations(connection, asked, order, page_id, limit)
        if include_skills:
            return Page([await self._with_skills(body) for body in page.items], page.next_page_id)
        return page

    async def count_conversations(self, asked: ConversationFilter = _ANY) -> int:
        """Return how many conversations the filter admits."""
        self.index.require_whole()
        async with self.index.read() as connection:
            return await conversations.count_conversations(connection, asked)

    async def find_conversations(
        self, ids: Sequence[ConversationId], *, include_skills: bool = False
    ) -> list[bytes | None]:
        """Return the ConversationInfo of each id as the index has it, in their order; None for each unknown one."""
        self.index.require_whole()
        return await self._find(ids, include_skills=include_skills)

    async def _find(self, ids: Sequence[ConversationId], *, include_skills: bool) -> list[bytes | None]:
        async with self.index.read() as connection:
            found = await conversations.find_conversations(connection, ids)
        if include_skills:
            return [None if body is None else await self._with_skills(body) for body in found]
        return found

    async def get_conversation(self, conversation_id: ConversationId, *, include_skills: bool = False) -> bytes:
        """Return one ConversationInfo as JSON, after a look at whether its files changed.

        Raises:
            ConversationNotFound: there is none.
        """
        await self._opening.open(conversation_id)
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
        whole = find_conversation_id(text)
        if whole is not None:
            return whole
        prefix = text.replace("-", "").lower()
        if not _PREFIX.fullmatch(prefix):
            raise InvalidId(f"{text[:64]!r} is no conversation id, nor the first 4 or more digits of one")
        self.index.require_whole()
        async with self.index.read() as connection:
            found = await conversations.list_ids(connection, prefix, 5)
        if not found:
            raise ConversationNotFound(f"no conversation's id begins with {text!r}; see `convstore list`")
        if len(found) > 1:
            raise InvalidId(f"several ids begin with {text!r}: {', '.join(dashed(one) for one in found)}")
        return found[0]

    async def _with_skills(self, body: bytes) -> bytes:
        """Compose a ConversationInfo anew from its files, skills included; the index keeps none."""
        info = orjson.loads(body)
        conversation_id = ConversationId(info["id"].replace("-", ""))
        async with self.index.read() as connection:
            located = await conversations.locate_conversation(connection, conversation_id)
        if located is None:
            return body
        return await asyncio.to_thread(self._compose_with_skills, body, located.directory, conversation_id)

    def _compose_with_skills(self, body: bytes, directory: str, conversation_id: ConversationId) -> bytes:
        files = scan.read_conversation(self.reader, directory, conversation_id)
        if files is None:
            return body
        whole = orjson.loads(fold(files, include_skills=True).body)
        listed = orjson.loads(body)
        whole |= {name: listed[name] for name in ("owner", "sub_conversation_ids")}
        return orjson.dumps(whole)

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
        with self.followers.join(conversation_id) as woken:
            async with aclosing(follow(partial(self.open_log, conversation_id), woken, after)) as batches:
                async for batch in batches:
                    yield batch
                    if self.followers.closed:
                        return

    async def open_log(self, conversation_id: ConversationId) -> Log:
        """Return the log of a conversation, its rows in step with its files.

        Raises:
            ConversationNotFound: there is none.
        """
        return Log(self.index, self.reader, conversation_id, await self._opening.open(conversation_id))

    async def get_place(self) -> Place:
        """Return the place in the change feed after everything that has changed until now."""
        return await changes.get_place(self.index)

    async def list_changes(self, since: Place | None = None, limit: int = PAGE_MAX) -> ChangePage:
        """Return which conversations changed or were deleted after a place, each as it is now; None: all there are.

        Raises:
            ChangesGone: the changes since then are no longer known; list everything again.
        """
        return await changes.list_changes(self.index, since, limit)

    async def wait_for_changes(self, since: Place | None, limit: int = PAGE_MAX, wait_s: float = 30.0) -> ChangePage:
        """Return the changes after a place as soon as there are any; none when there are none in `wait_s` seconds.

        Raises:
            ChangesGone: the changes since then are no longer known; list everything again.
            TooManyFollowers: there are as many followers as the settings allow.
        """
        return await changes.wait_for_changes(self.index, self.followers, since, limit, wait_s)

    def follow_changes(
        self, since: Place | None = None, limit: int = PAGE_MAX, every_s: float = 30.0
    ) -> AsyncGenerator[ChangePage, None]:
        """Give the changes after a place and those to come, in pages; an empty one when none came in `every_s`.

        Raises:
            ChangesGone: the changes since then are no longer known; list everything again.
            TooManyFollowers: there are as many followers as the settings allow.
        """
        return changes.follow_changes(self.index, self.followers, since, limit, every_s)

    async def get_status(self) -> tuple[Progress, Totals]:
        """Return what the sync is doing and what the index holds."""
        async with self.index.read() as connection:
            return await progress.get_progress(connection), await conversations.count_totals(connection)

    async def require_ready(self) -> None:
        """Make sure that the directory is there and that the index answers.

        Raises:
            StoreUnavailable: the directory is gone.
            IndexUnusable: the index does not answer, or its file was deleted under this process.
        """
        await asyncio.to_thread(self._require_files)
        async with self.index.read() as connection:
            await progress.get_progress(connection)

    def _require_files(self) -> None:
        if not self.settings.root.is_dir():
            raise StoreUnavailable(f"the conversations directory {self.settings.root} is gone; mount or restore it")
        if not self.index.path.exists():
            raise IndexUnusable(f"the index {self.index.path} was deleted; restart the server, which builds it again")

    async def measure_index(self) -> dict[str, int]:
        """Return the bytes of the index's files: `index_bytes` and `wal_bytes`, 0 for one that does not exist."""
        return await asyncio.to_thread(self._measure_files)

    def _measure_files(self) -> dict[str, int]:
        sizes = {}
        for name, suffix in (("index_bytes", ""), ("wal_bytes", "-wal")):
            try:
                sizes[name] = Path(f"{self.index.path}{suffix}").stat().st_size
            except OSError:
                sizes[name] = 0
        return sizes

    async def list_ids(self, asked: ConversationFilter) -> list[ConversationId]:
        """Return the ids of all conversations that the filter admits, the oldest first."""
        ids: list[ConversationId] = []
        token = None
        while True:
            page = await self.list_conversations(asked, order=SortOrder.CREATED_AT, page_id=token)
            ids += [parse_conversation_id(orjson.loads(body)["id"]) for body in page.items]
            token = page.next_page_id
            if token is None:
                return ids

    async def list_trash(self, offset: int, limit: int | None) -> tuple[list[tuple[Trashed, str | None]], int]:
        """Return deleted conversations with their titles, the last deleted first, and how many there are."""
        return await asyncio.to_thread(deleting.list_titled, self.reader.root, offset, limit)


class ConversationStore(StoreReader):
    """A conversations directory and its index, to be read and written."""

    def __init__(self, settings: Settings, note: Note = ignore_note) -> None:
        super().__init__(settings, note)
        self._writers = Writers(self.index, self.reader, settings, self._opening, self.followers.wake)

    async def close(self) -> None:
        """Give all leases back and close the index; `open` does it."""
        await self._writers.close()
        await super().close()

    def writer(
        self, conversation_id: ConversationId, *, force: bool = False, held: Lease | None = None
    ) -> AbstractAsyncContextManager[Conversation]:
        """Open a conversation for writing: `async with store.writer(id) as conversation`. One owner at a time may.

        It stays open afterwards, for the next one, until it is idle too long or others need the room.

        Raises:
            ConversationNotFound: there is none.
            ConversationOwned: another owner lives; `force` takes it over.
            OwnershipLost: with `held`, a client's lease under which to write, that this is no longer valid.
            UnreadableFile: its base_state.json is missing or cannot be read.
        """
        return self._writers.writer(conversation_id, force=force, held=held)

    async def create(self, request: Mapping[str, Any]) -> tuple[ConversationId, bool]:
        """Create the conversation that a StartConversationRequest asks for; return its id, and whether it is new.

        Its secrets are encrypted with the secret key of the settings, or masked; never stored plain.

        Raises:
            InvalidConversation: there is no workspace or agent in it, or its parent, title or tags are wrong.
            DiskFull, WriteFailed: it could not be written; nothing is left of it.
        """
        return await creating.create(self.index, self.reader, request, make_seal(self.settings))

    async def fork(
        self,
        source_id: ConversationId,
        *,
        fork_id: ConversationId | None = None,
        title: str | None = None,
        tags: Mapping[str, str] | None = None,
        reset_metrics: bool = True,
        from_event_id: str | None = None,
    ) -> ConversationId:
        """Copy a conversation, whole or only the branch up to an event, and return the copy's id.

        Raises:
            ConversationNotFound: there is no such source.
            ConversationExists: `fork_id` is taken.
            EventNotFound: the source has no such event.
            UnreadableFile: the source's base_state.json or meta.json cannot be read.
            InvalidConversation: title or tags are wrong.
            DiskFull, WriteFailed: it could not be written; nothing is left of it.
        """
        source = Named((await self._opening.open(source_id)).directory, source_id)
        return await creating.fork(
            self.index,
            self.reader,
            source,
            fork_id=fork_id,
            title=title,
            tags=tags,
            reset_metrics=reset_metrics,
            from_event_id=from_event_id,
        )

    async def delete(self, conversation_id: ConversationId, *, permanent: bool = False, force: bool = False) -> None:
        """Move a conversation into the trash, or with `permanent` remove it for good. Opens nothing in it.

        Raises:
            ConversationNotFound: there is none.
            ConversationOwned: another owner lives; `force` deletes all the same.
            DiskFull, WriteFailed: it could not be moved, or not all of it removed; then the rest is in the trash.
        """
        instance = await self._writers.let_go(conversation_id)
        await deleting.delete(self.index, self.reader, conversation_id, instance, permanent=permanent, force=force)
        self.followers.wake(conversation_id)

    async def restore(self, conversation_id: ConversationId) -> None:
        """Put the last deleted conversation of this id back.

        Raises:
            NotInTrash: there is none in the trash.
            ConversationExists: there is a conversation of this id again.
            DiskFull, WriteFailed: it could not be moved.
        """
        await deleting.restore(self.index, self.reader, conversation_id)

    async def claim(self, conversation_id: ConversationId, owner: str, *, ttl_s: float, force: bool = False) -> Lease:
        """Lend a conversation to a client, who renews the lease before `ttl_s` have passed, and return the lease.

        Raises:
            ConversationNotFound: there is none.
            ConversationOwned: another owner has it; `force` takes it over.
        """
        await self._writers.let_go(conversation_id)
        directory = (await self._opening.open(conversation_id)).directory
        claimed = await asyncio.to_thread(
            partial(lease.claim, self.reader.root, directory, owner, ttl_s=ttl_s, force=force, boot="")
        )
        return claimed.lease

    async def renew(self, conversation_id: ConversationId, held: Lease, *, ttl_s: float) -> Lease:
        """Extend a client's lease.

        Raises:
            OwnershipLost: another owner has it, or nobody.
        """
        directory = (await self._opening.open(conversation_id)).directory
        return await asyncio.to_thread(partial(lease.renew, self.reader.root, directory, held, ttl_s=ttl_s))

    async def release(self, conversation_id: ConversationId, held: Lease) -> None:
        """Take a client's lease back; that it is another's by now is no error."""
        directory = (await self._opening.open(conversation_id)).directory
        await self._writers.let_go(conversation_id, held)
        await asyncio.to_thread(lease.release, self.reader.root, directory, held)
