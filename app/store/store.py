"""ConversationStore: a conversations directory and its index, open for reading and writing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..errors import ConversationNotFound, ConversationOwned, IndexBusy, IndexUnusable, UnreadableFile
from ..files import conversation_repair, lease, open_conversation, sidecar, trash
from ..files.conversation_repair import Repair
from ..files.layout import ConversationDir
from ..files.lease import Lease
from ..files.log.branches import Fork
from ..files.log.edit import TagEdit
from ..files.trash import Deleted, TrashEntry
from ..index.engine import Note, ignore_note
from ..model.archive_format import ExportFormat
from ..model.filters import ConversationFilter, Status
from ..model.ids import ConversationId
from ..model.validation import check_tags, check_title
from ..settings import Settings
from .admin import archive_export
from .admin.archive_export import ExportReport
from .follow import crash_recovery
from .follow.crash_recovery import Recovered, was_left_open
from .read.lookup import compose_from_files, get_directory
from .read.reader import StoreReader
from .write import creation, deletion
from .write.backlog import Backlog, Created, Done, warning_of
from .write.conversation_writer import ConversationWriter
from .write.creation import make_seal
from .write.writer_pool import WriterPool

if TYPE_CHECKING:
    from .sync_store import SyncStore

_ANY = ConversationFilter()


class ConversationStore(StoreReader):
    """A conversations directory and its index, open for reading and writing."""

    def __init__(self, settings: Settings, note: Note = ignore_note) -> None:
        super().__init__(settings, note)
        self.backlog = Backlog(self.context, self.followers.notify)
        self._writers = WriterPool(
            self.context, settings, self._freshness, self.followers.notify, others=self.other_hosts
        )

    async def _is_written_here(self, conversation_id: ConversationId) -> bool:
        return await self._writers.is_in_step(conversation_id)

    def hear_other_hosts(self) -> None:
        """Hear from now on what other hosts write and want. Does nothing if the store belongs to one machine."""
        self._writers.hear_others()

    async def close(self) -> None:
        """Release all leases and close the index. The context manager `open` calls this."""
        try:
            await self._writers.close()
            await self.backlog.close()
        finally:
            await super().close()

    def writer(
        self, conversation_id: ConversationId, *, force: bool = False, held: Lease | None = None
    ) -> AbstractAsyncContextManager[ConversationWriter]:
        """Open a conversation for writing: `async with store.writer(id) as conversation`.

        A conversation has one owner at a time. It stays open afterwards, until it was idle for `idle_s` or the pool
        exceeds its budget. With `held`, it is opened under this lease of a client.

        Raises:
            ConversationNotFound: no conversation has this id.
            ConversationOwned: another owner is alive, and `force` is false.
            OwnershipLost: `held` is no longer valid.
            UnreadableFile: base_state.json is missing or cannot be read.
        """
        return self._writers.writer(conversation_id, force=force, client_lease=held)

    @classmethod
    def open_sync(cls, settings: Settings | Path | str) -> AbstractContextManager[SyncStore]:
        """Open a store for code that is not asynchronous: `with ConversationStore.open_sync(DIR) as store`.

        Raises:
            StoreUnavailable, SchemaTooNew, IndexUnusable: as for `open`.
        """
        from .sync_store import open_sync  # noqa: PLC0415 - it wraps this class

        return open_sync(settings)

    async def export(
        self,
        asked: ConversationFilter | Sequence[ConversationId] = _ANY,
        kind: ExportFormat = ExportFormat.ZIP,
        *,
        with_secrets: bool = False,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of an archive of these conversations. Secrets are masked, except with `with_secrets`.

        A conversation that cannot be read is left out. HTML is not made here; `convstore export` makes it.

        Raises:
            ConversationNotFound: no conversation has one of the ids.
        """
        if isinstance(asked, ConversationFilter):
            named = archive_export.list_named(self, asked)
        else:
            named = archive_export.aiter_of(await archive_export.find_named(self, asked))
        chunks = archive_export.export(self.reader, named, kind, ExportReport(), with_secrets=with_secrets)
        async for chunk in chunks:
            yield chunk

    async def recover(self, *, end_runs: bool = False, dry_run: bool = False) -> Recovered:
        """Read only the conversations again that a crash left open. With `end_runs`, also end the runs of dead owners.

        A run is ended as if the conversation were opened for writing: `running` becomes `error`, and an action without
        a result gets an AgentErrorEvent. Conversations of living owners are not changed. With `dry_run`, only the index
        is changed.

        Raises:
            DiskFull, WriteFailed: the end of a run could not be written.
        """
        read = await crash_recovery.ingest_left_open(self.context)
        ended = []
        running = await self.list_ids(ConversationFilter((Status.RUNNING,), archived=None)) if end_runs else []
        for conversation_id in running:
            with suppress(ConversationNotFound, ConversationOwned, UnreadableFile):
                if await (self._would_end_run(conversation_id) if dry_run else self._end_run(conversation_id)):
                    ended.append(conversation_id)
        return Recovered(read, ended)

    async def _end_run(self, conversation_id: ConversationId) -> bool:
        async with self.writer(conversation_id) as conversation:
            return conversation.files.status != Status.RUNNING

    async def _would_end_run(self, conversation_id: ConversationId) -> bool:
        instance = self._writers.instance
        files = await deletion.require_writable(self.context, conversation_id, instance)
        before = await asyncio.to_thread(lease.find_lease, self.reader.root, files.directory)
        return was_left_open(before, instance)

    async def repair(self, conversation_id: ConversationId, *, dry_run: bool = False) -> Repair:
        """Make all safe repairs of a conversation's files, after copying all of them into the trash.

        A missing or torn base_state.json or meta.json is composed from its readable parts and from the log. HEAD, wrong
        length markers and temporary files of a crash are corrected. With `dry_run`, nothing is written.

        Raises:
            ConversationNotFound: no conversation has this id.
            ConversationOwned: another owner is alive.
            DiskFull, WriteFailed: the repair is incomplete; the trash has a copy of the earlier state.
        """
        if dry_run:
            directory = await get_directory(self.context, conversation_id)
            return await asyncio.to_thread(conversation_repair.plan, self.reader, directory, conversation_id)
        instance = await self._writers.close_conversation(conversation_id)
        directory = await get_directory(self.context, conversation_id)
        now_us = time.time_ns() // 1000
        repair = await asyncio.to_thread(
            conversation_repair.repair, self.reader, directory, conversation_id, instance, now_us
        )
        done = await self.rewrite_rows(ConversationDir(directory, conversation_id))
        return replace(repair, warning=done.warning)

    async def create(self, request: Mapping[str, Any]) -> Created:
        """Create a conversation from a StartConversationRequest, unless its id already exists.

        Its secrets are encrypted with the secret key of the settings, or masked. They are never stored in plain text.

        Raises:
            InvalidConversation: the workspace or agent is missing, or the parent, title or tags are invalid.
            DirectoryTaken: its directory's name is used by something other than a conversation.
            DiskFull, WriteFailed: writing failed; nothing is left of the conversation.
        """
        return await creation.create(self.context, self.backlog, request, make_seal(self.settings))

    async def fork(
        self,
        source_id: ConversationId,
        *,
        fork_id: ConversationId | None = None,
        title: str | None = None,
        tags: Mapping[str, str] | None = None,
        reset_metrics: bool = True,
        from_event_id: str | None = None,
        dry_run: bool = False,
    ) -> Created:
        """Copy a conversation and return the copy. With `from_event_id`, copy only the branch up to this event.

        With `dry_run`, everything is read and nothing is written.

        Raises:
            ConversationNotFound: no conversation has the id of the source.
            ConversationExists: the id `fork_id` already has a conversation.
            DirectoryTaken: the copy's directory name is used by something other than a conversation.
            EventNotFound: the source has no such event.
            UnreadableFile: the source's base_state.json or meta.json cannot be read.
            InvalidConversation: title or tags are invalid.
            DiskFull, WriteFailed: writing failed; nothing is left of the copy.
        """
        source = ConversationDir((await self._freshness.bring_in_step(source_id)).directory, source_id)
        fork = Fork(
            id=fork_id or ConversationId(uuid4().hex),
            now_us=time.time_ns() // 1000,
            title=None if title is None else check_title(title),
            tags=check_tags(tags or {}),
            reset_metrics=reset_metrics,
            from_event_id=from_event_id,
        )
        return await creation.fork(self.context, self.backlog, source, fork, dry_run=dry_run)

    async def delete(self, conversation_id: ConversationId, *, permanent: bool = False, force: bool = False) -> Done:
        """Move a conversation into the trash, or with `permanent` remove it permanently. Opens none of its files.

        Raises:
            ConversationNotFound: no conversation has this id.
            ConversationOwned: another owner is alive, and `force` is false.
            DiskFull, WriteFailed: the move failed, or the removal is incomplete and the rest is in the trash.
        """
        instance = await self._writers.close_conversation(conversation_id)
        done = await deletion.delete(
            self.context, self.backlog, conversation_id, instance, permanent=permanent, force=force
        )
        self.followers.notify(conversation_id)
        return done

    async def close_conversation(self, conversation_id: ConversationId) -> str:
        """Close a conversation unless it is in use, and return this store's name as an owner."""
        return await self._writers.close_conversation(conversation_id)

    async def rewrite_rows(self, directory: ConversationDir) -> Done:
        """Write all rows of a conversation again from its files, and tell those who follow it."""
        done = await self.backlog.rewrite_rows(directory)
        self.followers.notify(directory.id)
        return done

    async def mark(
        self,
        conversation_id: ConversationId,
        *,
        archived: bool | None = None,
        pinned: bool | None = None,
        force: bool = False,
    ) -> Done:
        """Set whether a conversation is archived or pinned. Lists show an archived conversation only on request.

        This also works if its files cannot be read, because the sidecar has these flags.

        Raises:
            ConversationNotFound: no conversation has this id.
            ConversationOwned: another owner is alive, and `force` is false.
            DiskFull, WriteFailed: the sidecar could not be written.
        """
        try:
            async with self.writer(conversation_id, force=force) as conversation:
                return await conversation.update(archived=archived, pinned=pinned)
        except UnreadableFile:
            given = {"archived": archived, "pinned": pinned}
            flags = {name: value for name, value in given.items() if value is not None}
            return await self._set_flags(conversation_id, flags, force=force)

    async def _set_flags(self, conversation_id: ConversationId, flags: Mapping[str, bool], *, force: bool) -> Done:
        """Set flags in the sidecar of a conversation that cannot be opened."""
        instance = await self._writers.close_conversation(conversation_id)
        directory = await get_directory(self.context, conversation_id)
        write = partial(sidecar.set_flags, self.reader.root, directory, instance, flags, force=force)
        await asyncio.to_thread(write)
        done = await self.backlog.upsert_rows([ConversationDir(directory, conversation_id)])
        self.followers.notify(conversation_id)
        return done

    async def require_deletable(self, conversation_id: ConversationId, *, force: bool = False) -> None:
        """Raise the errors of `delete` without making a change."""
        await deletion.require_deletable(self.context, conversation_id, self._writers.instance, force=force)

    async def require_taggable(self, conversation_id: ConversationId, change: TagEdit) -> None:
        """Raise the errors of changing tags without making a change."""
        await deletion.require_taggable(self.context, conversation_id, self._writers.instance, change)

    async def require_writable(self, conversation_id: ConversationId) -> None:
        """Raise the errors of setting title or tags without making a change."""
        await deletion.require_writable(self.context, conversation_id, self._writers.instance)

    async def list_last_deleted(self) -> Deleted:
        """Return the last deleted conversation of each id, the last deleted first."""
        self.index.require_present()
        return await asyncio.to_thread(trash.list_last_deleted, self.reader.root)

    async def require_restorable(self, conversation_id: ConversationId, *, deleted: Deleted | None = None) -> None:
        """Raise the errors of `restore` without making a change."""
        await asyncio.to_thread(deletion.require_restorable, self.reader.root, conversation_id, deleted)

    async def restore(self, conversation_id: ConversationId, *, deleted: Deleted | None = None) -> Done:
        """Move the most recently deleted conversation with this id out of the trash.

        Raises:
            NotInTrash: the trash has no conversation with this id.
            ConversationExists: the id has a conversation again.
            DirectoryTaken: its directory's name is used by something other than a conversation.
            DiskFull, WriteFailed: the move failed.
        """
        self.index.require_present()
        return await deletion.restore(self.reader.root, self.backlog, conversation_id, deleted)

    async def remove_from_trash(self, conversation_id: ConversationId) -> None:
        """Permanently remove the most recently deleted conversation with this id.

        Raises:
            NotInTrash: the trash has no conversation with this id.
            WriteFailed: a file could not be removed.
        """
        self.index.require_present()
        await asyncio.to_thread(deletion.remove_from_trash, self.reader.root, conversation_id)

    def empty_trash(self, before_us: int) -> AsyncGenerator[TrashEntry]:
        """Permanently remove entries that were deleted before a time, oldest first.

        Yields each entry after its removal.

        Raises:
            WriteFailed: an entry could not be removed. Raised after all others were removed.
        """
        self.index.require_present()
        return deletion.empty(self.reader.root, before_us)

    async def claim(self, conversation_id: ConversationId, owner: str, *, ttl_s: float, force: bool = False) -> Lease:
        """Grant a client the lease of a conversation. The client must renew the lease within `ttl_s` seconds.

        Raises:
            ConversationNotFound: no conversation has this id.
            ConversationOwned: another owner is alive, and `force` is false.
        """
        instance = await self._writers.close_conversation(conversation_id)
        over = None if self._writers.has_open(conversation_id) else instance
        located = await self._freshness.bring_in_step(conversation_id)
        directory = located.directory
        lend = partial(
            open_conversation.lend_to_client,
            self.reader,
            directory,
            conversation_id,
            owner,
            ttl_s=ttl_s,
            force=force,
            over=over,
            known_generation=located.generation,
        )
        lent = await asyncio.to_thread(lend)
        await self.backlog.show_owner(ConversationDir(directory, conversation_id))
        return lent

    async def renew(self, conversation_id: ConversationId, held: Lease, *, ttl_s: float) -> Lease:
        """Extend a client's lease.

        Raises:
            OwnershipLost: another owner has the conversation, or the lease was released.
        """
        directory = (await self._freshness.bring_in_step(conversation_id)).directory
        renewed = await asyncio.to_thread(partial(lease.renew, self.reader.root, directory, held, ttl_s=ttl_s))
        await self.backlog.show_owner(ConversationDir(directory, conversation_id))
        return renewed

    async def release(self, conversation_id: ConversationId, held: Lease) -> None:
        """Release a client's lease. Does nothing if another owner has the conversation."""
        directory = (await self._freshness.bring_in_step(conversation_id)).directory
        await self._writers.close_conversation(conversation_id, held)
        if await asyncio.to_thread(lease.release, self.reader.root, directory, held):
            await self.backlog.show_owner(ConversationDir(directory, conversation_id))

    async def describe(
        self, conversation_id: ConversationId, warning: str | None, *, include_skills: bool = False
    ) -> tuple[bytes, str | None]:
        """Return the ConversationInfo of a conversation that was just written, and a warning or None.

        It comes from the index, or from the files if the write had a warning or the index cannot be updated now.

        Raises:
            ConversationNotFound: the conversation was deleted meanwhile.
        """
        if warning is None:
            try:
                return await self.get_conversation(conversation_id, include_skills=include_skills), None
            except (IndexBusy, IndexUnusable) as error:
                warning = warning_of(error)
        body = await compose_from_files(self.context, conversation_id, include_skills=include_skills)
        return body, warning
