"""ConversationStore: one conversations directory with its index, open to be read and written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import Any
from uuid import uuid4

from app.errors import ConversationNotFound, ConversationOwned, IndexBusy, IndexUnusable, UnreadableFile
from app.files import lease, open_conversation
from app.files.conversation_repair import Repair
from app.files.edit import TagEdit
from app.files.layout import ConversationDir
from app.files.lease import Lease
from app.files.log.branches import Fork
from app.files.trash import TrashEntry
from app.logs import Note, ignore_note
from app.model.filters import ConversationFilter, Status
from app.model.ids import ConversationId
from app.model.validation import check_tags, check_title
from app.settings import Settings
from app.store.follow import crash_recovery
from app.store.follow.crash_recovery import Recovered, was_left_open
from app.store.read.info_from_files import compose_from_files
from app.store.read.reader import StoreReader
from app.store.write import creation, deletion, metadata_edit
from app.store.write.backlog import Backlog, Created, Done, warning_of
from app.store.write.conversation_writer import ConversationWriter
from app.store.write.creation import make_seal
from app.store.write.writer_pool import WriterPool


class ConversationStore(StoreReader):
    """A conversations directory and its index, to be read and written."""

    def __init__(self, settings: Settings, note: Note = ignore_note) -> None:
        super().__init__(settings, note)
        self.backlog = Backlog(self.context, self.followers.notify)
        self._writers = WriterPool(self.context, settings, self._freshness, self.followers.notify)

    async def _is_written_here(self, conversation_id: ConversationId) -> bool:
        return await self._writers.is_in_step(conversation_id)

    async def close(self) -> None:
        """Give all leases back and close the index; `open` does it."""
        try:
            await self._writers.close()
            await self.backlog.close()
        finally:
            await super().close()

    def writer(
        self, conversation_id: ConversationId, *, force: bool = False, held: Lease | None = None
    ) -> AbstractAsyncContextManager[ConversationWriter]:
        """Open a conversation for writing: `async with store.writer(id) as conversation`. One owner at a time may.

        It stays open afterwards, for the next one, until it is idle too long or others need the room.

        Raises:
            ConversationNotFound: there is none.
            ConversationOwned: another owner lives; `force` takes it over.
            OwnershipLost: with `held`, a client's lease under which to write, that this is no longer valid.
            UnreadableFile: its base_state.json is missing or cannot be read.
        """
        return self._writers.writer(conversation_id, force=force, held=held)

    async def recover(self, *, end_runs: bool = False, dry_run: bool = False) -> Recovered:
        """Read again what a crash left open, and no more; with `end_runs`, end the runs that dead owners left, too.

        A run ends as when its conversation is opened for writing: `running` becomes `error`, and an action without a
        result gets an AgentErrorEvent. What a living owner has is left alone. With `dry_run` only the index is changed.

        Raises:
            DiskFull, WriteFailed: the end of a run could not be written.
        """
        read = await crash_recovery.ingest_left_open(self.context)
        ended = []
        asked = ConversationFilter((Status.RUNNING,), archived=None)
        running = await self.list_ids(asked) if end_runs else []
        for one in running:
            with suppress(ConversationNotFound, ConversationOwned, UnreadableFile):
                if await (self._would_end_run(one) if dry_run else self._end_run(one)):
                    ended.append(one)
        return Recovered(read, ended)

    async def _end_run(self, conversation_id: ConversationId) -> bool:
        async with self.writer(conversation_id) as conversation:
            return conversation.files.status != Status.RUNNING

    async def _would_end_run(self, conversation_id: ConversationId) -> bool:
        instance = self._writers.instance
        files = await metadata_edit.require_writable(self.context, conversation_id, instance)
        before = await asyncio.to_thread(lease.find_lease, self.reader.root, files.directory)
        return was_left_open(before, instance)

    async def repair(self, conversation_id: ConversationId, *, dry_run: bool = False) -> Repair:
        """Mend of a conversation's files what has one safe answer, after a copy of all of it into the trash.

        A missing or torn base_state.json or meta.json is made again from what stands whole in it and from the log;
        HEAD, stale length markers and temporary files of a crash are put right. With `dry_run` nothing is written.

        Raises:
            ConversationNotFound: there is none.
            ConversationOwned: another owner lives.
            DiskFull, WriteFailed: not all of it was mended; a copy of how it was is in the trash.
        """
        instance = "" if dry_run else await self._writers.close_conversation(conversation_id)
        done = await metadata_edit.repair(self.context, self.backlog, conversation_id, instance, dry_run=dry_run)
        self.followers.notify(conversation_id)
        return done

    async def create(self, request: Mapping[str, Any]) -> Created:
        """Create the conversation that a StartConversationRequest asks for, unless there is one of its id.

        Its secrets are encrypted with the secret key of the settings, or masked; never stored plain.

        Raises:
            InvalidConversation: there is no workspace or agent in it, or its parent, title or tags are wrong.
            DirectoryTaken: something that is no conversation is in its place.
            DiskFull, WriteFailed: it could not be written; nothing is left of it.
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
        """Copy a conversation, whole or only the branch up to an event, and return the copy.

        With `dry_run` all is read and nothing written.

        Raises:
            ConversationNotFound: there is no such source.
            ConversationExists: `fork_id` is taken.
            DirectoryTaken: something that is no conversation is in the copy's place.
            EventNotFound: the source has no such event.
            UnreadableFile: the source's base_state.json or meta.json cannot be read.
            InvalidConversation: title or tags are wrong.
            DiskFull, WriteFailed: it could not be written; nothing is left of it.
        """
        source = ConversationDir((await self._freshness.bring_in_step(source_id)).directory, source_id)
        wanted = Fork(
            id=fork_id or ConversationId(uuid4().hex),
            now_us=time.time_ns() // 1000,
            title=None if title is None else check_title(title),
            tags=check_tags(tags or {}),
            reset_metrics=reset_metrics,
            from_event_id=from_event_id,
        )
        return await creation.fork(self.context, self.backlog, source, wanted, dry_run=dry_run)

    async def delete(self, conversation_id: ConversationId, *, permanent: bool = False, force: bool = False) -> Done:
        """Move a conversation into the trash, or with `permanent` remove it for good. Opens nothing in it.

        Raises:
            ConversationNotFound: there is none.
            ConversationOwned: another owner lives; `force` deletes all the same.
            DiskFull, WriteFailed: it could not be moved, or not all of it removed; then the rest is in the trash.
        """
        instance = await self._writers.close_conversation(conversation_id)
        done = await deletion.delete(
            self.context, self.backlog, conversation_id, instance, permanent=permanent, force=force
        )
        self.followers.notify(conversation_id)
        return done

    async def mark(
        self,
        conversation_id: ConversationId,
        *,
        archived: bool | None = None,
        pinned: bool | None = None,
        force: bool = False,
    ) -> Done:
        """Archive a conversation, which leaves it out of lists that do not ask for it, or pin it; or undo that.

        Also one whose files cannot be read: this stands in a file of its own.

        Raises:
            ConversationNotFound: there is none.
            ConversationOwned: another owner lives; `force` takes it over.
            DiskFull, WriteFailed: it could not be written.
        """
        try:
            async with self.writer(conversation_id, force=force) as conversation:
                return await conversation.update(archived=archived, pinned=pinned)
        except UnreadableFile:
            given = {"archived": archived, "pinned": pinned}
            fields = {name: value for name, value in given.items() if value is not None}
            instance = await self._writers.close_conversation(conversation_id)
            done = await metadata_edit.set_flags(
                self.context, self.backlog, conversation_id, instance, fields, force=force
            )
            self.followers.notify(conversation_id)
            return done

    async def require_deletable(self, conversation_id: ConversationId, *, force: bool = False) -> None:
        """Make sure that `delete` would be done, which changes nothing; raises what that would."""
        instance = self._writers.instance
        await deletion.require_deletable(self.context, conversation_id, instance, force=force)

    async def require_taggable(self, conversation_id: ConversationId, change: TagEdit) -> None:
        """Make sure that the tags could be changed, which changes nothing; raises what that would."""
        await metadata_edit.require_taggable(self.context, conversation_id, self._writers.instance, change)

    async def require_writable(self, conversation_id: ConversationId) -> None:
        """Make sure that title and tags could be set, which changes nothing; raises what that would."""
        await metadata_edit.require_writable(self.context, conversation_id, self._writers.instance)

    async def require_restorable(self, conversation_id: ConversationId) -> None:
        """Make sure that `restore` would be done, which changes nothing; raises what that would."""
        await asyncio.to_thread(deletion.require_restorable, self.reader.root, conversation_id)

    async def restore(self, conversation_id: ConversationId) -> Done:
        """Put the last deleted conversation of this id back.

        Raises:
            NotInTrash: there is none in the trash.
            ConversationExists: there is a conversation of this id again.
            DirectoryTaken: something that is no conversation is in its place.
            DiskFull, WriteFailed: it could not be moved.
        """
        return await deletion.restore(self.reader.root, self.backlog, conversation_id)

    def empty_trash(self, before_us: int) -> AsyncGenerator[TrashEntry]:
        """Remove for good what was deleted before a time, the oldest first, and give each as it is gone.

        Raises:
            WriteFailed: something could not be removed; the others are gone by then.
        """
        return deletion.empty(self.reader.root, before_us)

    async def claim(self, conversation_id: ConversationId, owner: str, *, ttl_s: float, force: bool = False) -> Lease:
        """Lend a conversation to a client, who renews the lease before `ttl_s` have passed, and return the lease.

        Raises:
            ConversationNotFound: there is none.
            ConversationOwned: another owner has it; `force` takes it over.
        """
        instance = await self._writers.close_conversation(conversation_id)
        over = None if self._writers.has_open(conversation_id) else instance
        directory = (await self._freshness.bring_in_step(conversation_id)).directory
        lend = partial(
            open_conversation.lend_to_client,
            self.reader,
            directory,
            conversation_id,
            owner,
            ttl_s=ttl_s,
            force=force,
            over=over,
        )
        lent = await asyncio.to_thread(lend)
        await self.backlog.show_owner(ConversationDir(directory, conversation_id))
        return lent

    async def renew(self, conversation_id: ConversationId, held: Lease, *, ttl_s: float) -> Lease:
        """Extend a client's lease.

        Raises:
            OwnershipLost: another owner has it, or nobody.
        """
        directory = (await self._freshness.bring_in_step(conversation_id)).directory
        longer = await asyncio.to_thread(partial(lease.renew, self.reader.root, directory, held, ttl_s=ttl_s))
        await self.backlog.show_owner(ConversationDir(directory, conversation_id))
        return longer

    async def release(self, conversation_id: ConversationId, held: Lease) -> None:
        """Take a client's lease back; that it is another's by now is no error."""
        directory = (await self._freshness.bring_in_step(conversation_id)).directory
        await self._writers.close_conversation(conversation_id, held)
        if await asyncio.to_thread(lease.release, self.reader.root, directory, held):
            await self.backlog.show_owner(ConversationDir(directory, conversation_id))

    async def describe(
        self, conversation_id: ConversationId, warning: str | None, *, include_skills: bool = False
    ) -> tuple[bytes, str | None]:
        """Return the ConversationInfo of a conversation that was just written, and the warning, if there is one.

        With a warning, or when the index cannot be brought in step now, it is composed from the files.

        Raises:
            ConversationNotFound: it is gone already.
        """
        if warning is None:
            try:
                return await self.get_conversation(conversation_id, include_skills=include_skills), None
            except (IndexBusy, IndexUnusable) as error:
                warning = warning_of(error)
        body = await compose_from_files(self.context, conversation_id, include_skills=include_skills)
        return body, warning
