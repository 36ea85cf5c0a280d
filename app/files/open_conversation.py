"""An open conversation: the state that is kept in memory, and the only way to change its files.

The state is the bytes of meta.json and base_state.json, their fields for the index, and the names in the log. Before
each write, four stats show whether another program changed a file. If one did, all files are read again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import orjson

from ..errors import HostSilent, OutcomeUnknown, StoreError, UnreadableFile
from ..locks import hold_lock
from ..model.conversation import LOOK_BACK, ConversationFiles
from ..model.event import EventRow, KnownEnds, parse_json_object
from ..model.filters import Status
from ..model.ids import ConversationId, EventName
from ..model.json_splice import RawObject
from ..model.text.event_text import preview_text
from ..model.times import format_us
from . import durable, fingerprint, layout, lease, liveness, metadata_reader
from .fingerprint import (
    FAILED,
    UNTRUSTED,
    ConversationFingerprints,
    find_fingerprint,
    find_fingerprints,
    fingerprint_of,
)
from .lease import Lease
from .log import event_log
from .log.branches import first_meta
from .log.edit import Edit, PreparedEvent, Written, prepare_events
from .log.event_log import LogNames
from .log.head import Head, find_head, find_missing_head
from .metadata_reader import Reader, find_raw_object
from .sidecar import write_sidecar

_DICT_FACTOR = 3
"""A parsed object takes about this many times the memory of its JSON."""

_HEAD = "leaf_event_id"

_UNDER_BOTH_LOCKS = (layout.META, layout.STATE, layout.SIDECAR, layout.LEASE, layout.LAST_LEASE)


class _Locked(NamedTuple):
    """The descriptors of a conversation's directory and of events/ under both locks, and the lease on disk."""

    fd: int
    events_fd: int
    held: Lease


class OpenConversation:
    """A conversation that this process may write to. Its methods block; call one at a time.

    An error during a write sets `broken`. The files may then differ from memory, so the next write reads them again
    first.
    """

    def __init__(self, reader: Reader, directory: str, conversation_id: ConversationId, held: Lease) -> None:
        self.reader = reader
        self.directory = directory
        self.id = conversation_id
        self.lease = held
        self.broken = False
        self.names: LogNames
        self.files: ConversationFiles
        self._state: RawObject | None = None
        self._meta: RawObject | None = None
        self._head: Head | None = None
        self._overwritten: dict[str, bytes] = {}
        """The HEAD that was overwritten in place since `_state` was read."""
        self.head_is_durable = True
        """Whether HEAD was fsynced after it was overwritten in place the last time."""
        self._overwrite_failed = False
        self.log_read = False
        """Whether `files.log` was read, which happens at the first write."""
        self._fingerprints = ConversationFingerprints()

    def read_as(self, reader: Reader) -> None:
        """Use `reader` for all further reads."""
        self.reader = reader

    @property
    def size_bytes(self) -> int:
        """The approximate memory of this object."""
        raw = sum(len(kept.raw) for kept in (self._state, self._meta) if kept)
        return raw * (1 + _DICT_FACTOR) + self.names.size_bytes

    @contextmanager
    def _lock(self) -> Iterator[_Locked]:
        """Hold both locks, and yield the open directories and the lease on disk.

        The log's lock is taken before the lease's lock, as in agent-server 1.58. In another order, the programs could
        deadlock.
        """
        root = self.reader.root
        with (
            lease.open_to_write(root, self.directory) as fd,
            event_log.open_events(fd) as events_fd,
            hold_lock(layout.LOG_LOCK, layout.LOG_LOCK_TIMEOUT_S, dir_fd=events_fd),
            lease.hold_lease(root, self.directory, fd, self.lease) as held,
        ):
            yield _Locked(fd, events_fd, held)

    def load(self, *, after_crash: bool, known: KnownEnds | None = None) -> str | None:
        """Read the conversation, remove leftovers from its log, and return its status.

        Opens meta.json and base_state.json. If a crash happened between an append and the move of HEAD, HEAD is moved
        to the appended event. `after_crash` means that the previous owner crashed. Otherwise HEAD is moved only to
        events that were appended under this lease.

        `known` is what the index knows of the log, if the previous owner left nothing to delete in it. Then the log is
        not listed, unless its files changed.

        Raises:
            OwnershipLost, ConversationNotFound, LockTimeout: this process may not write to the conversation now.
            UnreadableFile: base_state.json is missing or unreadable.
        """
        with self._lock() as (fd, events_fd, _):
            self._read(fd, events_fd, known)
            self._tidy(fd, events_fd)
            self._recover_head(fd, events_fd, same_lease=not after_crash and self.status != Status.RUNNING)
            self.broken = False
            self._fingerprints = self._fingerprints._replace(events=fingerprint_of(os.fstat(events_fd)))
        return self.status

    @property
    def status(self) -> str | None:
        """The execution status."""
        status = (self.files.state or {}).get("execution_status")
        return status if isinstance(status, str) else None

    def apply(self, change: Edit) -> Written:
        """Make one edit. It is durable when this returns.

        Raises:
            OwnershipLost, ConversationNotFound, LockTimeout: this process may not write now; nothing was written.
            EventExists, InvalidEvent, EventNotFound, InvalidConversation: the edit is invalid; nothing was written.
            DiskFull, WriteFailed: writing failed; no event was appended.
            HostSilent: this host may not write now; nothing was written.
            OutcomeUnknown: this host learned during the write that it may not write; an event may be in the log.
        """
        with self._lock() as locked:
            fd, events_fd, _ = locked
            reread = self.broken or find_fingerprints(fd, fingerprint_of(os.fstat(events_fd))) != self._fingerprints
            reread |= bool(change.events) and not event_log.has_same_length(events_fd, self.names)
            if reread:
                self._read(fd, events_fd)
                if self.broken:
                    self._tidy(fd, events_fd)
                self._recover_head(fd, events_fd, same_lease=not self.broken)
                self.broken = False
            else:
                self.names.learn(change.known)
            change = change.resolve(self.files)
            prepared = prepare_events(
                change, self.names, partial(self._get_head, events_fd), self.reader, self.directory
            )
            try:
                return self._apply(locked, change, prepared, reread=reread)
            except BaseException as error:
                self.broken = True
                if isinstance(error, HostSilent):
                    raise OutcomeUnknown(f"{error} with the same event ids, since events may be in the log") from error
                raise

    def save_updated_at(self, updated_at_us: int) -> bool:
        """Set `updated_at` in meta.json, unless another program changed the files. Return whether it was set.

        An error does not set `broken`.

        Raises:
            OwnershipLost, ConversationNotFound, LockTimeout: this process may not write to the conversation now.
            DiskFull, WriteFailed: writing failed; meta.json is either the old one or the new one.
        """
        with self._lock() as (fd, events_fd, _):
            if find_fingerprints(fd, fingerprint_of(os.fstat(events_fd))) != self._fingerprints:
                return False
            self._write_meta(fd, {"updated_at": format_us(updated_at_us)})
        return True

    @property
    def untrusted(self) -> bool:
        """Whether memory and index may differ from the files because of an error."""
        return self.broken or self.files.log.failed

    def is_unchanged(self) -> bool:
        """Whether no other program changed the files since this object last read or wrote them."""
        try:
            with layout.open_directory(self.reader.root / self.directory) as fd:
                return find_fingerprints(fd, find_fingerprint(layout.EVENTS, fd)) == self._fingerprints
        except OSError:
            return False

    def _read(self, fd: int, events_fd: int, known: KnownEnds | None = None) -> None:
        self._fingerprints = find_fingerprints(fd, fingerprint_of(os.fstat(events_fd)))
        self._state, self._meta = find_raw_object(fd, layout.STATE), find_raw_object(fd, layout.META)
        self._overwritten = {}
        self.names = self._confirm(events_fd, known) or event_log.list_names(events_fd)
        files = metadata_reader.read_conversation(
            self.reader, self.directory, self.id, event_count=self.names.file_count
        )
        if files is None or files.failed or files.state is None or self._state is None:
            raise metadata_reader.not_writable(self.directory, files)
        self.files = files
        self.log_read = False
        self._head = None

    def _confirm(self, events_fd: int, known: KnownEnds | None) -> LogNames | None:
        if known is None:
            return None
        found = fingerprint.signature(self.reader.root, self.directory)
        return event_log.confirm_ends(events_fd, known, found, self._list_names)

    def _list_names(self) -> list[EventName]:
        try:
            with layout.open_directory(self.reader.root / self.directory) as fd:
                return layout.list_events(fd)
        except OSError as error:
            raise UnreadableFile(f"{self.directory} cannot be listed ({error.strerror})", failed=True) from error

    def _tidy(self, fd: int, events_fd: int) -> None:
        """Delete temporary files and wrong markers that a crash or an error left."""
        if self.names.is_listed:
            event_log.remove_leftovers_in_log(events_fd, self.names)
        durable.remove_temporaries(fd, _UNDER_BOTH_LOCKS)

    def _apply(self, locked: _Locked, change: Edit, prepared: list[PreparedEvent], *, reread: bool) -> Written:
        fd, events_fd, _ = locked
        rows: list[EventRow] = []
        self._note_head_from(locked, change)
        head = change.head
        if prepared:
            self._read_log(fd)
            files = [(one.event_id, one.raw) for one in prepared]
            state = self._fingerprints.state
            appended = event_log.append(events_fd, self.names, files, after_ns=state.mtime_ns if state else 0)
            for (name, status), one in zip(appended, prepared, strict=True):
                rows.append(EventRow(name, one.facts))
                preview = preview_text(one.written) if self.files.log.needs_preview else ""
                log = self.files.log.with_event(one.facts, preview, status.st_mtime_ns)
                self.files = self.files._replace(log=log)
                head = Head(name.event_id) if one.moves and change.head is None else head
        warning = None
        try:
            self._write_state(fd, change, head)
            self._write_meta(fd, change.meta)
            self._write_sidecar(fd, change)
            self._read_log(fd)
            self._fingerprints = self._fingerprints._replace(events=fingerprint_of(os.fstat(events_fd)))
            liveness.require_alive()  # afterwards, everything above was in time
        except Exception as error:
            if not rows or isinstance(error, HostSilent):
                raise
            self.broken = True
            warning = f"the events are written, but HEAD or other fields are not: {error}"
        signature = FAILED if self.untrusted else UNTRUSTED
        return Written(rows, self.files, signature, reread, warning)

    def _write_state(self, fd: int, change: Edit, head: Head | None) -> None:
        values = dict(change.state)
        if head is not None:
            values[_HEAD] = head.event_id
            empty = head.event_id is None
            if empty or (self.files.state or {}).get("head_is_empty"):
                values["head_is_empty"] = empty
        if not values or self._state is None:
            return
        dumped = {name: orjson.dumps(value) for name, value in values.items()}
        status = self._move_head(fd, dumped[_HEAD]) if head is not None and list(dumped) == [_HEAD] else None
        if status is None:
            kept = self._state.with_values(self._overwritten | dumped)
            status = durable.replace(fd, layout.STATE, kept.raw, sync_name=bool(change.state or change.head))
            self._state, self._overwritten = kept, {}
            self.head_is_durable = True
        self._overwrite_failed = False
        self._fingerprints = self._fingerprints._replace(state=fingerprint_of(status))
        state = {**(self.files.state or {}), **{name: orjson.loads(value) for name, value in dumped.items()}}
        self.files = self.files._replace(state=state, modified_us=status.st_mtime_ns // 1000)
        self._head = head or self._head

    def _move_head(self, fd: int, leaf: bytes) -> os.stat_result | None:
        """Overwrite HEAD in place and return the file's status, or None if the file must be replaced.

        This writes 36 bytes instead of a new file of 260 kB. After an error, the file is replaced next time, because it
        is unknown which bytes are on the disk.
        """
        span = self._state.spans.get(_HEAD) if self._state else None
        if self._overwrite_failed or span is None or span[1] - span[0] != len(leaf):
            return None
        self._overwrite_failed = True  # `_write_state` resets this after success
        self.head_is_durable = False
        known = self._fingerprints.state
        status = durable.overwrite(fd, layout.STATE, span[0], leaf, lambda status: fingerprint_of(status) == known)
        if status is not None:
            self._overwritten = {_HEAD: leaf}
        return status

    def _write_meta(self, fd: int, values: Mapping[str, Any]) -> None:
        if not values:
            return
        kept = self._meta or self._first_meta(fd)
        kept = kept.with_values({name: orjson.dumps(value) for name, value in values.items()})
        status = durable.replace(fd, layout.META, kept.raw)
        self._meta = kept
        self._fingerprints = self._fingerprints._replace(meta=fingerprint_of(status))
        self.files = self.files._replace(
            meta=parse_json_object(kept.raw),
            meta_mtime_ns=status.st_mtime_ns,
            meta_placed_ns=layout.placed_ns(status),
        )

    def _write_sidecar(self, fd: int, change: Edit) -> None:
        if not change.sidecar:
            return
        raw, status = write_sidecar(fd, change.sidecar)
        self._fingerprints = self._fingerprints._replace(sidecar=fingerprint_of(status))
        others = tuple(problem for problem in self.files.problems if not problem.startswith(layout.SIDECAR))
        self.files = self.files._replace(sidecar=parse_json_object(raw), problems=others)

    def _first_meta(self, fd: int) -> RawObject:
        """Return a meta.json for a conversation without one; the OpenHands CLI never writes one.

        Raises:
            UnreadableFile: the conversation has a meta.json, but it cannot be read.
        """
        if find_fingerprint(layout.META, fd) is not None:
            raise UnreadableFile(f"conversation {self.directory}: {layout.META} cannot be read, so it is not replaced")
        self._read_log(fd)
        workspace = self._state.find("workspace") if self._state else None
        kept = first_meta(self.files._replace(state=dict(self.files.state or {})))
        return kept.with_values({"workspace": workspace}) if workspace else kept

    def _get_head(self, events_fd: int) -> Head:
        if self._head is None:
            self._head = find_head(events_fd, self.files.state or {}, self.names)
        return self._head

    def _recover_head(self, fd: int, events_fd: int, *, same_lease: bool) -> None:
        state = self.files.state or {}
        if self.names.find_seq(state.get(_HEAD)) != self.names.next_seq - 1:
            moved = find_missing_head(fd, events_fd, state, self.names, same_lease=same_lease)
            if moved is not None:
                self._write_state(fd, Edit(), moved)

    def _note_head_from(self, locked: _Locked, change: Edit) -> None:
        """Write into the lease from which event on HEAD may not be durable; see `app.files.log.head`.

        The first append does this. What moves HEAD in another way does it each time if HEAD may not be durable.
        """
        fd, _, held = locked
        if held.head_from is not None if change.head else change.events and held.head_from is None:
            durable.sync_file(fd, layout.STATE)
            first = self.names.next_seq if change.head is None else self.names.next_seq + len(change.events)
            lease.write_lease(fd, held._replace(head_from=first), sync_name=True)

    def sync_head(self) -> None:
        """Make HEAD durable. If the disk reported an error for its file, a new file replaces it.

        Raises:
            OwnershipLost, ConversationNotFound, LockTimeout: this process may not write to the conversation now.
            DiskFull, WriteFailed: HEAD is not durable; the lease still says so.
        """
        with self._lock() as (fd, events_fd, _):
            if not self._overwrite_failed:
                self._overwrite_failed = True  # `_write_state` resets this after success
                with suppress(OSError):
                    durable.sync_file(fd, layout.STATE)
                    self._overwrite_failed = False
            if (
                self._overwrite_failed
                and find_fingerprints(fd, fingerprint_of(os.fstat(events_fd))) == self._fingerprints
            ):
                self._write_state(fd, Edit(), self._head)
            self.head_is_durable = True

    def _read_log(self, fd: int) -> None:
        """Read the ends of the log once. Afterwards `LogSummary.with_event` keeps the summary current."""
        if not self.log_read:
            first, last = self.names.list_ends(LOOK_BACK)
            log = metadata_reader.summarize_ends(self.reader, fd, first, last, len(self.names), None)
            self.files = self.files._replace(log=log)
            self.log_read = not log.failed


def lend_to_client(
    reader: Reader,
    directory: str,
    conversation_id: ConversationId,
    owner: str,
    *,
    ttl_s: float,
    force: bool,
    over: str | None,
    known_generation: int,
) -> Lease:
    """Claim a conversation for a client and return the lease. If a crash left HEAD behind the log, HEAD is moved first.

    `over` is the server that lends the conversation; another of its workers may have it open. `known_generation`: see
    `lease.claim`.

    Raises:
        ConversationNotFound: there is no such directory.
        ConversationOwned: another owner has it; `force` takes it over.
        UnreadableFile, LockTimeout, DiskFull, WriteFailed: HEAD could not be moved now; nobody got the lease.
    """
    claimed = lease.claim(
        reader.root,
        directory,
        owner,
        ttl_s=ttl_s,
        force=force,
        boot="",
        over=over,
        known_generation=known_generation,
    )
    mine, before, _ = claimed
    if before is not None and not before.released and before.owner != owner:
        try:
            OpenConversation(reader, directory, conversation_id, mine).load(after_crash=True)
        except StoreError as error:
            if not isinstance(error, UnreadableFile) or error.failed:
                with suppress(StoreError):
                    lease.undo_claim(reader.root, directory, claimed)
                raise
    return mine
