"""An open conversation. Its writes run one after the other, each to the files first and then to the index."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from ...errors import (
    ConversationNotFound,
    ConversationOwned,
    EventNotFound,
    IndexBusy,
    IndexUnusable,
    InvalidConversation,
    OutcomeUnknown,
    OwnershipLost,
    StoreError,
)
from ...files import fingerprint, layout, lease
from ...files.fingerprint import UNTRUSTED
from ...files.lease import Lease
from ...files.log.edit import Edit, TagEdit, Written
from ...files.log.head import Head
from ...files.open_conversation import OpenConversation
from ...index import event_rows
from ...index.conversation_rows import KnownRow
from ...model.agent_server.base import validate
from ...model.agent_server.message_request import MessageRequest, SocketMessage, dump_message
from ...model.conversation import Folded, IndexedRow, fold_next
from ...model.event import EventRow
from ...model.filters import Status
from ...model.ids import ConversationId
from ...model.times import find_time_us, format_us
from ...model.validation import check_json, check_tags, check_title, complete_event, find_tags, make_message
from ..context import StoreContext
from ..follow.crash_recovery import end_interrupted_run
from .backlog import Done, warning_of
from .group_commit import Commit, GroupCommit, Waiting, tell

log = logging.getLogger(__name__)


class Appended(NamedTuple):
    """An event that is durable in the log. `warning`: see `backlog.Done`."""

    seq: int
    event_id: str
    warning: str | None = None


class OpenedFiles(NamedTuple):
    """The files of a conversation under a lease that was just claimed.

    `share` keeps other workers of this server from releasing the lease. `behind` means that the rows are out of date.
    `left_running` means that the last owner died during a run, which must be ended.
    """

    files: OpenConversation
    share: int | None
    behind: bool
    left_running: bool


@dataclass(slots=True)
class _BegunWrite:
    """A write that a thread does. `done` ends when the other two are there."""

    done: Waiting
    written: Written | BaseException | None = None
    commit: Commit | None = None
    """The rows that were written; None if they must be read from the files."""


class ConversationWriter:
    """A conversation that `ConversationStore.writer` has opened for writing.

    Every method that changes the conversation returns when the change is durable and the index shows it. If the index
    does not show the change yet, the result has a `warning` with the reason.

    If nobody owns the conversation any more, the next write claims a new lease and reads all files again. This happens,
    for example, if its lease file was deleted or its directory was restored from a backup.

    Raises:
        OwnershipLost: by every method; another owner has taken over the conversation.
        DiskFull, WriteFailed: by every method; the change could not be written.
    """

    def __init__(
        self,
        context: StoreContext,
        opened: OpenedFiles,
        commits: GroupCommit,
        threads: Executor,
        *,
        open_again: Callable[[Lease], AbstractAsyncContextManager[OpenedFiles]] | None,
        reindex: Callable[[], Awaitable[bool]],
        notify: Callable[[], None],
    ) -> None:
        """`open_again` claims the conversation again if its lease is lost.

        None for a client, which must claim it itself.
        """
        self.id: ConversationId = opened.files.id
        self.files = opened.files
        self._context = context
        self.lost = False
        self.behind = opened.behind
        """Whether the rows must be read from the files, because an index write failed or a file was unreadable."""
        self._unsaved = False
        """Whether something was written after the last `save_updated_at`."""
        self._commits = commits
        self._threads = threads
        self._open_again = open_again
        self._reindex = reindex
        self._notify = notify
        self._writing = asyncio.Lock()
        self._finishing: asyncio.Task[Written] | None = None
        """The last run of `_finish_later`. The event loop alone would not keep it alive."""
        self._folded: Folded | None = None
        self._known: KnownRow | None = None
        self._share = opened.share

    def release_share(self) -> None:
        """Release the lock that keeps other workers of this server from releasing the shared lease."""
        if self._share is not None:
            os.close(self._share)
            self._share = None

    async def append(self, event: Mapping[str, Any]) -> Appended:
        """Append one event. A missing id, timestamp or parent is filled in.

        Any kind and additional fields are accepted.

        Raises:
            InvalidEvent: the id, timestamp, source, kind or parent is invalid.
            EventExists: the log already has an event with this id.
        """
        written = await self.write(self._append_all([event]))
        return Appended(*written.events[0].name, written.warning)

    async def send_message(self, /, role: str, content: list[dict[str, Any]], **fields: Any) -> Appended:  # noqa: ANN401
        """Append a message. A user's message makes a finished or stuck conversation idle, as in agent-server.

        `fields` are the other fields of its `llm_message`.

        Raises:
            InvalidConversation: agent-server would refuse the message.
        """
        return await self.append_message(validate(SocketMessage, {**fields, "role": role, "content": content}))

    async def append_message(self, message: MessageRequest | SocketMessage) -> Appended:
        """Do the same as `send_message` with a message that was checked."""
        event = complete_event(make_message(**dump_message(message)), self._context.reader.zone)
        made_ids = frozenset([event["id"]])
        written = await self.write(Edit(events=[event], made_ids=made_ids, is_message=message.role == "user"))
        return Appended(*written.events[0].name, written.warning)

    async def append_batch(self, events: Sequence[Mapping[str, Any]]) -> list[Appended]:
        """Append several events with one acknowledgement. A crash before that leaves none or only the first of them.

        Raises:
            InvalidEvent, EventExists: one event is invalid; none was appended.
        """
        if not events:
            return []
        written = await self.write(self._append_all(events))
        return [Appended(*row.name, written.warning) for row in written.events]

    def _append_all(self, events: Sequence[Mapping[str, Any]]) -> Edit:
        complete = [complete_event(event, self._context.reader.zone) for event in events]
        made = [one["id"] for one, given in zip(complete, events, strict=True) if given.get("id") is None]
        return Edit(events=complete, made_ids=frozenset(made))

    async def navigate(self, event_id: str | None) -> Done:
        """Move HEAD to an event, which becomes the parent of the next one. None moves HEAD before the first event.

        Raises:
            EventNotFound: there is no such event.
        """
        if not isinstance(event_id, str | None):
            raise EventNotFound(f"{event_id!r} is not an event id")
        return await self._done(Edit(head=Head(event_id)))

    async def set_status(self, status: Status) -> Done:
        """Set the execution status.

        Raises:
            InvalidConversation: agent-server does not know it.
        """
        if status not in list(Status):
            raise InvalidConversation(f"{status!r} is not a status; use one of {', '.join(Status)}")
        return await self._done(Edit(state={"execution_status": Status(status).value}))

    async def update_state(self, **fields: Any) -> Done:  # noqa: ANN401
        """Set fields of base_state.json, such as `stats` or `agent_state`.

        The bytes of all other fields stay the same.

        Raises:
            InvalidConversation: a value is no JSON; nothing was set.
        """
        check_json(fields)
        return await self._done(Edit(state=fields))

    async def set_title(self, title: str) -> Done:
        """Set the title.

        Raises:
            InvalidConversation: the title is blank or has more than 200 characters.
        """
        return await self.update(title=check_title(title))

    async def set_tags(self, tags: Mapping[str, str]) -> Done:
        """Replace all tags.

        Raises:
            InvalidConversation: a key has characters other than lower-case letters and digits, or a value is too long.
        """
        return await self.update(tags=tags)

    @property
    def tags(self) -> dict[str, str]:
        """The current tags."""
        return find_tags(self.files.files)

    async def change_tags(self, change: TagEdit) -> Done:
        """Call `change` with the current tags and set the tags that it returns. Concurrent changes are not lost.

        Raises:
            InvalidConversation: a tag is invalid; no tag was set.
        """
        return await self._done(Edit(meta={"updated_at": format_us(time.time_ns() // 1000)}, tags=change))

    async def update(
        self,
        *,
        title: str | None = None,
        tags: Mapping[str, str] | None = None,
        archived: bool | None = None,
        pinned: bool | None = None,
    ) -> Done:
        """Set title, tags, `archived` and `pinned` with one write. None leaves a field unchanged.

        Raises:
            InvalidConversation: title or tags are invalid; nothing was set.
        """
        meta = {} if title is None else {"title": check_title(title)}
        checked = None if tags is None else check_tags(tags)
        if meta or checked is not None:
            meta["updated_at"] = format_us(time.time_ns() // 1000)
        given = {"archived": archived, "pinned": pinned}
        sidecar = {name: value for name, value in given.items() if value is not None}
        if all(self.files.files.sidecar.get(name, False) == value for name, value in sidecar.items()):
            sidecar = {}
        if not (meta or sidecar):
            return Done()
        return await self._done(Edit(meta=meta, sidecar=sidecar, tags=None if checked is None else lambda _: checked))

    async def _done(self, change: Edit) -> Done:
        return Done((await self.write(change)).warning)

    async def write(self, change: Edit) -> Written:
        """Write one change: files, then index. A write that has begun finishes even if the caller is cancelled."""
        await self._writing.acquire()
        try:
            change = await self._look_up(change)
            begun = self._begin(change)
        except BaseException:
            self._writing.release()
            raise
        try:
            await begun.done
        except asyncio.CancelledError:
            begun.done.wait_again()
            self._finish_later(change, begun).add_done_callback(_log_error)
            raise
        written, commit = begun.written, begun.commit
        if not isinstance(written, Written) or commit is None or commit.error is not None:
            return await asyncio.shield(self._finish_later(change, begun))
        self._known = commit.known
        self._writing.release()
        self._notify()
        return written

    def _finish_later(self, change: Edit, begun: _BegunWrite) -> asyncio.Task[Written]:
        """Finish a write in a task of its own, and then let the next one begin."""
        self._finishing = task = asyncio.create_task(self._finish(change, begun))
        task.add_done_callback(lambda _: self._writing.release())
        return task

    async def _look_up(self, change: Edit) -> Edit:
        """Return a change with what the index knows of its ids, if only the ends of the log are known here."""
        names = self.files.names
        if names.is_listed or not (ids := change.list_ids()):
            return change
        known = None
        if not self.behind and not self.files.broken:
            with suppress(IndexBusy, IndexUnusable):
                async with self._context.index.read() as connection, connection.snapshot():
                    known = await event_rows.find_seqs(connection, self.id, ids, len(names))
        return change._replace(known=known or {})

    def _begin(self, change: Edit) -> _BegunWrite:
        begun = _BegunWrite(Waiting())
        self._threads.submit(self._write_in_thread, change, begun)
        return begun

    async def _finish(self, change: Edit, begun: _BegunWrite) -> Written:
        """Finish a write, also one whose lease is lost or whose rows must be read. The caller holds `_writing`."""
        try:
            written, error = await self._end(begun)
        except (OwnershipLost, ConversationNotFound) as lost:
            await self._claim_anew(lost)
            written, error = await self._end(self._begin(await self._look_up(change)))
        try:
            if error is not None:
                raise error
            if written.reread or self.behind:
                self.behind = True
                self.behind = not await self._reindex()
        except (OutcomeUnknown, ConversationNotFound):
            raise
        except StoreError as index_error:
            self.behind = True
            log.warning("conversation %s is written, but not yet in the index: %s", self.id, index_error)
            written = written.with_warning(warning_of(index_error))
        self._notify()
        return written

    async def _end(self, begun: _BegunWrite) -> tuple[Written, BaseException | None]:
        """Return what was written to the files, and the index's error, if any.

        Raises:
            OwnershipLost, ConversationNotFound: this process must not write to the files; nothing was written.
        """
        await begun.done
        if isinstance(begun.written, BaseException):
            raise begun.written
        written, commit = cast(Written, begun.written), begun.commit
        if commit is None:
            return written, None
        if commit.error is None:
            self._known = commit.known
        elif isinstance(commit.error, OutcomeUnknown):
            self.lost = True
        elif not isinstance(commit.error, IndexBusy | IndexUnusable):
            log.error("conversation %s is written; its files will be read for its rows", self.id, exc_info=commit.error)
            self.behind = True
            return written, None
        return written, commit.error

    def _write_in_thread(self, change: Edit, begun: _BegunWrite) -> None:
        """Write the files, and hand over the rows. The thread that writes rows now ends `begun`."""
        try:
            self.files.read_as(self._context.reader)
            begun.written = written = self.files.apply(change)
            self._unsaved = True
            if not (written.reread or self.behind):
                begun.commit = self._next_commit(written.signature, written.events)
                self._commits.hand_over(begun.commit, begun.done)
                return
        except BaseException as error:
            if begun.written is None:
                self.lost = self.lost or isinstance(error, OwnershipLost | ConversationNotFound)
                begun.written = error
            else:
                log.exception("conversation %s is written; its files will be read for its rows", self.id)
                begun.commit, self.behind = None, True
        tell([begun.done])

    async def _write_in_turn(self, change: Edit) -> Written:
        return await self._finish(change, self._begin(change))

    async def _claim_anew(self, lost: StoreError) -> None:
        """Claim a conversation that nobody owns, after a write was refused with the error `lost`.

        The caller holds `_writing`. The new lease has a higher generation, so writers under an older lease are still
        refused.

        Raises:
            OwnershipLost, ConversationNotFound: this is `lost`, raised again, because another owner has the
                conversation, or only the client may claim it.
        """
        if self._open_again is None or self.files.broken:
            raise lost
        self.release_share()
        self.behind = True  # makes freshness compare the rows with the files even during a write
        try:
            async with self._open_again(self.files.lease) as opened:
                self.files, self._folded, self.behind = opened.files, None, opened.behind
                if opened.left_running:
                    await end_interrupted_run(opened.files, self._write_in_turn)
        except ConversationOwned:
            raise lost from None
        self._share, self.lost = opened.share, False
        log.info("conversation %s was claimed again (generation %d): %s", self.id, self.files.lease.generation, lost)

    def _next_commit(self, signature: bytes, events: list[EventRow]) -> Commit:
        self._folded = fold_next(self._folded, self.files.files)
        return Commit(
            self.id, self.files.lease.generation, IndexedRow(self._folded.row, signature), events, self._known
        )

    async def refresh(self) -> None:
        """Read changes by another worker of this server. Like `write`, it finishes even if the caller is cancelled.

        Raises:
            ConversationNotFound: the conversation was deleted.
        """
        await asyncio.shield(asyncio.create_task(self._refresh()))

    async def _refresh(self) -> None:
        async with self._writing:
            try:
                if (await asyncio.to_thread(self.files.apply, Edit())).reread:
                    self.behind = True
                    self.behind = not await self._reindex()
            except (OwnershipLost, ConversationNotFound):
                self.lost = True
                raise

    async def renew(self) -> None:
        """Extend the lease."""
        async with self._writing:
            files = self.files
            try:
                files.lease = await asyncio.to_thread(lease.renew, files.reader.root, files.directory, files.lease)
            except OwnershipLost:
                self.lost = True
                raise

    async def catch_up(self) -> None:
        """Update the rows after a write to the index failed."""
        async with self._writing:
            if self.behind:
                self.behind = not await self._reindex()

    async def sync_head(self) -> None:
        """Make HEAD durable, if an append left it to be written by the system.

        Raises:
            OwnershipLost, ConversationNotFound, LockTimeout, DiskFull, WriteFailed: as for other writes.
        """
        async with self._writing:
            if not (self.lost or self.files.head_is_durable):
                await asyncio.get_running_loop().run_in_executor(self._threads, self.files.sync_head)

    async def save_updated_at(self) -> bool:
        """Write the `updated_at` that lists show into meta.json, as agent-server does when it closes a conversation.

        This happens once after a write of this store, if meta.json has an earlier time, and returns whether it was
        written. An error is only logged, because meta.json is then as after a crash. A future time, from a client with
        a wrong clock, is not written.
        """
        async with self._writing:
            if not self._unsaved or self.lost or self.behind:
                return False
            self._unsaved = False
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._save_updated_at)
            except (OwnershipLost, ConversationNotFound):
                return False
            except StoreError as error:
                log.warning("conversation %s: updated_at could not be written to %s: %s", self.id, layout.META, error)
                return False

    def _save_updated_at(self) -> bool:
        files = self.files
        self._folded = fold_next(self._folded, files.files)
        listed_us = self._folded.row.updated_at
        saved_us = find_time_us((files.files.meta or {}).get("updated_at"))
        is_behind = saved_us is not None and saved_us < listed_us <= time.time_ns() // 1000
        if files.untrusted or not is_behind or not files.save_updated_at(listed_us):
            return False
        try:
            self._commits.commit(self._next_commit(UNTRUSTED, []))
        except (IndexBusy, IndexUnusable):
            self.behind = True
        return True

    async def settle(self) -> None:
        """Write the row with the files' signature, once the files have been unchanged long enough to trust it.

        The whole row is written, because another program may have written the row in the index from older files. No
        file is opened. If nothing was written here since the opening, the row already has its signature.

        Raises:
            IndexBusy, IndexUnusable: the index cannot be written to.
        """
        async with self._writing:
            if not self.lost and not self.behind:
                with suppress(OwnershipLost):
                    await asyncio.get_running_loop().run_in_executor(self._threads, self._settle)

    def _settle(self) -> None:
        files = self.files
        if files.untrusted or not files.log_read:
            return
        signature = fingerprint.signature(files.reader.root, files.directory)
        if signature != UNTRUSTED and files.is_unchanged():
            self._commits.commit(self._next_commit(signature, []))

    async def is_in_step(self) -> bool:
        """Whether the index shows all acknowledged changes, and no other program has changed the files."""
        if self.lost or self.behind or self.files.untrusted:
            return False
        return self._writing.locked() or await asyncio.to_thread(self.files.is_unchanged)


def _log_error(task: asyncio.Task[Written]) -> None:
    """Log in one line that a write failed whose caller was cancelled, so that nobody gets its error."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.warning("a write whose caller has gone failed: %s", error)
