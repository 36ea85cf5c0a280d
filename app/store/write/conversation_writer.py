"""An open conversation: what may be written to it, one write after the other, with the index in step."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, NamedTuple

from app.errors import ConversationNotFound, IndexBusy, IndexUnusable, OwnershipLost, StoreError
from app.files import fingerprint, layout, lease
from app.files.edit import Edit, TagEdit, Written
from app.files.fingerprint import UNTRUSTED
from app.files.log.head import Head
from app.files.open_conversation import OpenConversation
from app.model.conversation import Folded, IndexedRow, fold_next
from app.model.event import EventRow
from app.model.filters import Status
from app.model.ids import ConversationId
from app.model.times import find_time_us, format_us
from app.model.validation import check_tags, check_title, complete_event, find_tags
from app.store.context import StoreContext
from app.store.write.backlog import Done, warning_of
from app.store.write.group_commit import Commit, GroupCommit

log = logging.getLogger(__name__)


class Appended(NamedTuple):
    """An event that is in the log, durably. `warning` tells what beside it could not be done yet, and will be."""

    seq: int
    event_id: str
    warning: str | None = None


class ConversationWriter:
    """A conversation that this store may write to. `ConversationStore.writer` opens it.

    Every method returns when the change is durable and the index shows it, or else with a `warning` that says why the
    index does not yet. Any of them raises OwnershipLost when another owner took the conversation over, and DiskFull or
    WriteFailed when the change could not be written.
    """

    def __init__(
        self,
        context: StoreContext,
        files: OpenConversation,
        commits: GroupCommit,
        threads: Executor,
        *,
        reindex: Callable[[], Awaitable[bool]],
        notify: Callable[[], None],
        share: int | None,
        behind: bool,
    ) -> None:
        self.id: ConversationId = files.id
        self.files = files
        self._context = context
        self.lost = False
        self.behind = behind
        """Whether the index could not be written, or files not be read, so that the index must read them again."""
        self._unsaved = False
        """Whether something was written since `updated_at` was last looked at in meta.json."""
        self._commits = commits
        self._threads = threads
        self._reindex = reindex
        self._notify = notify
        self._writing = asyncio.Lock()
        self._folded: Folded | None = None
        self._share = share

    def release_share(self) -> None:
        """Let other workers of this server give the lease back."""
        if self._share is not None:
            os.close(self._share)
            self._share = None

    async def append(self, event: Mapping[str, Any]) -> Appended:
        """Append one event. A missing id, timestamp and parent are filled; any kind and any further field is good.

        Raises:
            InvalidEvent: id, timestamp, source, kind or parent is wrong.
            EventExists: the log has an event of this id.
        """
        complete = complete_event(event, self._context.reader.zone)
        written = await self.write(Edit(events=[complete]))
        return Appended(*written.events[0].name, written.warning)

    async def append_batch(self, events: Sequence[Mapping[str, Any]]) -> list[Appended]:
        """Append several events with one acknowledgement; a crash before it leaves some first ones, or none.

        Raises:
            InvalidEvent, EventExists: one of them is wrong; none was appended.
        """
        if not events:
            return []
        zone = self._context.reader.zone
        written = await self.write(Edit(events=[complete_event(event, zone) for event in events]))
        return [Appended(*row.name, written.warning) for row in written.events]

    async def navigate(self, event_id: str | None) -> Done:
        """Move HEAD to an event; the next one follows it. None is the empty tree.

        Raises:
            EventNotFound: there is no such event.
        """
        return await self._done(Edit(head=Head(event_id)))

    async def set_status(self, status: Status) -> Done:
        """Set the execution status."""
        return await self._done(Edit(state={"execution_status": status.value}))

    async def update_state(self, **fields: Any) -> Done:  # noqa: ANN401
        """Set fields of base_state.json, such as `stats` or `agent_state`; all others stay to the byte."""
        return await self._done(Edit(state=fields))

    async def set_title(self, title: str) -> Done:
        """Set the title.

        Raises:
            InvalidConversation: it is blank, or has more than 200 characters.
        """
        return await self.update(title=title)

    async def set_tags(self, tags: Mapping[str, str]) -> Done:
        """Set all tags anew.

        Raises:
            InvalidConversation: a key is not of lower-case letters and digits, or a value has more than 256 characters.
        """
        return await self.update(tags=tags)

    @property
    def tags(self) -> dict[str, str]:
        """The tags as they are."""
        return find_tags(self.files.files)

    async def change_tags(self, change: TagEdit) -> Done:
        """Set the tags that `change` makes of those that stand when it is called, whoever else sets some at once.

        Raises:
            InvalidConversation: one of them is wrong; none was set.
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
        """Set title and tags, archive and pin with one write; None leaves a thing as it is.

        Lists leave an archived conversation out unless they ask for it.

        Raises:
            InvalidConversation: one of them is wrong; nothing was set.
        """
        meta = {} if title is None else {"title": check_title(title)}
        wanted = None if tags is None else check_tags(tags)
        if meta or wanted is not None:
            meta["updated_at"] = format_us(time.time_ns() // 1000)
        given = {"archived": archived, "pinned": pinned}
        sidecar = {name: value for name, value in given.items() if value is not None}
        if all(self.files.files.sidecar.get(name, False) == value for name, value in sidecar.items()):
            sidecar = {}
        if not (meta or sidecar):
            return Done()
        return await self._done(Edit(meta=meta, sidecar=sidecar, tags=None if wanted is None else lambda _: wanted))

    async def update_meta(self, *, title: str | None = None, tags: Mapping[str, str] | None = None) -> Done:
        """Do `update` of title and tags.

        Raises:
            InvalidConversation: one of them is wrong; nothing was set.
        """
        return await self.update(title=title, tags=tags)

    async def update_own(self, *, archived: bool | None = None, pinned: bool | None = None) -> Done:
        """Do `update` of what convstore.json says."""
        return await self.update(archived=archived, pinned=pinned)

    async def _done(self, change: Edit) -> Done:
        return Done((await self.write(change)).warning)

    async def write(self, change: Edit) -> Written:
        """Do one change: files, then index. Goes on to its end also when the one who asked is cancelled."""
        return await asyncio.shield(asyncio.create_task(self._write(change)))

    async def _write(self, change: Edit) -> Written:
        async with self._writing:
            written, error = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._write_files_and_index, change
            )
            try:
                if error is not None:
                    raise error
                if written.reread or self.behind:
                    self.behind = not await self._reindex()
            except (IndexBusy, IndexUnusable) as late:
                self.behind = True
                log.warning("conversation %s is written, but not yet in the index: %s", self.id, late)
                written = written.with_warning(warning_of(late))
        self._notify()
        return written

    def _write_files_and_index(self, change: Edit) -> tuple[Written, StoreError | None]:
        """Write the files and then the index, unless it must read them again. Return why the index was not written."""
        try:
            self.files.read_as(self._context.reader)
            written = self.files.apply(change)
            self._unsaved = True
            if not (written.reread or self.behind):
                self._commits.write(self._next_commit(written.signature, written.events))
        except (OwnershipLost, ConversationNotFound):
            self.lost = True
            raise
        except (IndexBusy, IndexUnusable) as error:
            return written, error
        return written, None

    def _next_commit(self, signature: bytes, events: list[EventRow]) -> Commit:
        self._folded = fold_next(self._folded, self.files.files)
        return Commit(self.id, self.files.lease.generation, IndexedRow(self._folded.row, signature), events)

    async def refresh(self) -> None:
        """Read again what another worker of this server changed meanwhile, to the end as `write` does.

        Raises:
            OwnershipLost, ConversationNotFound: it is not ours to write to any more.
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
        """Extend the lease.

        Raises:
            OwnershipLost: another owner has the conversation.
        """
        async with self._writing:
            files = self.files
            try:
                files.lease = await asyncio.to_thread(lease.renew, files.reader.root, files.directory, files.lease)
            except OwnershipLost:
                self.lost = True
                raise

    async def catch_up(self) -> None:
        """Try again to bring the index in step after it could not be written."""
        async with self._writing:
            if self.behind:
                self.behind = not await self._reindex()

    async def save_updated_at(self) -> bool:
        """Write the `updated_at` that lists show into meta.json, as agent-server does when it closes a conversation.

        Done once after something was written here, where meta.json has an earlier one; returns whether it was. An error
        is logged: then meta.json is as after a crash. A time to come, of a client's wrong clock, is not made to last.
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
                log.warning("conversation %s: its updated_at is not in %s: %s", self.id, layout.META, error)
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
            self._commits.write(self._next_commit(UNTRUSTED, []))
        except (IndexBusy, IndexUnusable):
            self.behind = True
        return True

    async def settle(self) -> None:
        """Write the row with the files' signature, once they were left alone long enough for it to be trusted.

        The row goes with it, although it was written before: what the index holds may be what another program read
        earlier. Opens no file; where nothing was written here since the opening, the row came with its signature.

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
            self._commits.write(self._next_commit(signature, []))

    async def is_in_step(self) -> bool:
        """Whether the index shows all that was acknowledged, and nobody else changed the files meanwhile."""
        if self.lost or self.behind or self.files.untrusted:
            return False
        return self._writing.locked() or await asyncio.to_thread(self.files.is_unchanged)
