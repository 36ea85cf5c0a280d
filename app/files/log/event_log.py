"""The event files of one conversation: reading and appending.

An append does these steps in order: write temporary files and fsync them; rename the old length marker away; give the
files their final names, which must be free (`app.exclusive_rename`); fsync events/; write the new marker. agent-server
1.58 trusts the marker instead of counting files, so with a marker that is too low it would overwrite the last event.
The old marker is renamed and reused, because creating a file takes at least 0.2 ms, as long as an fsync, but renaming
one takes 0.05 ms.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from ...errors import EventNotFound, UnreadableFile, WriteFailed
from ...exclusive_rename import accept, rename_exclusively
from ...model.event import NO_FACTS, EventRow, KnownEnds, event_facts, parse_event, parse_json_object
from ...model.ids import SEQ_MAX, EventName, event_file_name
from .. import durable, layout, liveness
from ..fingerprint import UNTRUSTED, Fingerprint, find_fingerprint, guess_fingerprint
from ..metadata_reader import Reader


class RawEvent(NamedTuple):
    """The bytes of an event's file, or the reason why it is unreadable. `failed`: a later read may succeed."""

    name: EventName
    raw: bytes
    unreadable: str | None = None
    failed: bool = False
    large: bool = False
    """The file is larger than `HOP_BYTES`, and `raw` is empty; `app.store.read.large_events` reads it."""


HOP_BYTES = 1 << 19
"""The maximum number of bytes that are read at once, for a page or a stream. Ordinary pages need only one read."""

_CHECKED_MAX = 1 << 15
_checked: set[int] = set()
"""The hashes of events that a hop read and checked. To parse an event takes almost as long as to read its file.

Python's hash of bytes has 64 bits and, unless PYTHONHASHSEED is set, a random key. So nobody can make other bytes with
a hash that is in here.
"""


def list_events(reader: Reader, directory: str) -> list[EventName]:
    """Return the names of a conversation's events in log order; an empty list if events/ is missing or unreadable."""
    return find_events(reader, directory) or []


def find_events(reader: Reader, directory: str) -> list[EventName] | None:
    """Return the names of a conversation's events in log order, or None if the system refuses to list them."""
    try:
        with layout.open_directory(reader.root / directory) as fd:
            return layout.list_events(fd)
    except UnreadableFile as error:
        return None if error.failed else []
    except OSError as error:
        return None if layout.is_transient_error(error) else []


def read_rows(reader: Reader, directory: str, names: Iterable[EventName]) -> tuple[list[EventRow], bool]:
    """Return the rows of event files, and whether the operating system refused to read any of them.

    An unreadable file gets a row with the reason.
    """
    rows: list[EventRow] = []
    refused = False
    for name, raw, unreadable, failed, _ in _read_files(reader, directory, names):
        refused = refused or failed
        facts, reason = NO_FACTS, unreadable
        if reason is None:
            try:
                facts = event_facts(parse_event(raw), reader.zone, tools=reader.tools)
            except UnreadableFile as error:
                reason = str(error)
        rows.append(EventRow(name, facts, reason))
    return rows, refused


def read_events(reader: Reader, directory: str, names: Iterable[EventName]) -> list[RawEvent]:
    """Return the bytes of event files. Each is checked to be one event."""
    return list(_read_files(reader, directory, names, find_fault=_find_fault))


def iter_events(reader: Reader, directory: str, names: Iterable[EventName]) -> Generator[RawEvent]:
    """Yield the same as `read_events`, each when it is asked for. Close the iterator: it has the directory open."""
    return _read_files(reader, directory, names, find_fault=_find_fault)


def iter_objects(reader: Reader, directory: str, names: Iterable[EventName]) -> Generator[dict[str, Any]]:
    """Yield the JSON objects in the readable event files, each when it is asked for."""
    with closing(_read_files(reader, directory, names)) as events:
        for event in events:
            with suppress(UnreadableFile):
                value = [parse_event(event.raw)]
                del event
                yield value.pop()


def _accept(_raw: bytes) -> None:
    """Find no fault, because the caller parses the event itself."""


def _find_fault(raw: bytes) -> str | None:
    """Return why these bytes are not one event, or None."""
    try:
        parse_event(raw)
    except UnreadableFile as error:
        return str(error)
    return None


def _find_new_fault(raw: bytes) -> str | None:
    """Return the same, at once for bytes that were checked lately."""
    known = hash(raw)
    fault = None if known in _checked else _find_fault(raw)
    if fault is None:
        if len(_checked) >= _CHECKED_MAX:
            _checked.clear()
        _checked.add(known)
    return fault


def find_object(reader: Reader, directory: str, name: EventName) -> dict[str, Any] | None:
    """Return the JSON object in an event's file, or None if it is unreadable."""
    [event] = _read_files(reader, directory, [name])
    try:
        return None if event.unreadable else parse_json_object(event.raw)
    except UnreadableFile:
        return None


def read_hop(reader: Reader, directory: str, names: Sequence[EventName]) -> list[RawEvent]:
    """Read the first event files of `names`, as many as `HOP_BYTES` allow, one at least. Each is checked as above.

    If the first is a larger file, it is returned alone and unread, as `large`.
    """
    return list(_read_files(reader, directory, names, HOP_BYTES, find_fault=_find_new_fault))


def measure(reader: Reader, directory: str, names: Iterable[EventName]) -> list[int]:
    """Return the sizes of event files in bytes, 0 for each that is missing."""
    return [one.size_bytes if one else 0 for one in guess_fingerprints(reader, directory, names)]


def guess_fingerprints(reader: Reader, directory: str, names: Iterable[EventName]) -> list[Fingerprint | None]:
    """Return the fingerprints of event files, None for each that is missing."""
    events = f"{reader.root}/{directory}/{layout.EVENTS}"
    return [guess_fingerprint(f"{events}/{event_file_name(name)}") for name in names]


def open_event(reader: Reader, directory: str, name: EventName, size_bytes: int) -> int:
    """Open an event file of this size and return the descriptor, which the caller closes.

    Raises:
        EventNotFound: the file is missing, or was replaced.
    """
    path = reader.root / directory / layout.EVENTS / event_file_name(name)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise EventNotFound(
            f"event {name.event_id} cannot be served: it cannot be opened ({error.strerror})"
        ) from error
    if os.fstat(descriptor).st_size != size_bytes:
        os.close(descriptor)
        raise EventNotFound(f"event {name.event_id} cannot be served: its file was replaced meanwhile")
    return descriptor


def _read_files(
    reader: Reader,
    directory: str,
    names: Iterable[EventName],
    max_bytes: int | None = None,
    *,
    find_fault: Callable[[bytes], str | None] = _accept,
) -> Generator[RawEvent]:
    """Yield the files; with `max_bytes` only the first ones that fit. One with a fault is unreadable."""
    names = list(names)
    left = max_bytes
    try:
        with (
            layout.open_directory(reader.root / directory) as fd,
            layout.open_directory(layout.EVENTS, fd) as events_fd,
        ):
            for name in names:
                try:
                    raw, _ = layout.read_with_status(event_file_name(name), events_fd, left)
                    if left is not None:
                        left -= len(raw)
                    fault = find_fault(raw)
                    if fault is None:  # a tuple's own constructor: a page has a hundred, and RawEvent's takes longer
                        yield tuple.__new__(RawEvent, (name, raw, None, False, False))
                    else:
                        yield RawEvent(name, b"", fault)
                    del raw  # otherwise its bytes would be in memory while the next one is read
                except layout.LargeFile:
                    if left == max_bytes:
                        yield RawEvent(name, b"", large=True)
                    return
                except FileNotFoundError:
                    yield RawEvent(name, b"", "the file is missing")
                except UnreadableFile as error:
                    yield RawEvent(name, b"", str(error), error.failed)
    except OSError as error:
        for name in names:
            yield RawEvent(
                name, b"", f"the directory cannot be opened ({error.strerror})", failed=layout.is_transient_error(error)
            )


_MARK = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_match_marker = re.compile(r"\.eventlog-len-[0-9]+\.marker").fullmatch
_SPARE_MARKER = ".eventlog-len.marker.tmp"
_NAME_BYTES = 150
"""The approximate memory of one event's id and number."""

_match_temporary = re.compile(
    rf"\.event-[0-9]{{5,}}-[0-9a-fA-F-]+\.json\.[0-9a-f]{{16}}\.tmp|{re.escape(_SPARE_MARKER)}"
).fullmatch


class LogNames:
    """The names in a log, kept while a conversation is open: a map from event ids to numbers, and the next number.

    A log with gaps or duplicate numbers has no marker, so that agent-server counts its files.
    """

    def __init__(self, names: Sequence[EventName]) -> None:
        self._list_names: Callable[[], Sequence[EventName]] | None = None
        """Lists all names, if only those at the ends of the log are known."""
        self._first: Sequence[EventName] = ()
        """The names at the beginning of the log, if `_list_names` is set."""
        self._learned: Mapping[str, int | None] = {}
        self._take(names)

    @classmethod
    def from_ends(cls, ends: KnownEnds, list_names: Callable[[], Sequence[EventName]]) -> LogNames:
        """Return the names of a long log of which only the ends are known. `list_names` lists all when they are needed.

        It is called at most once, and only while the caller of another method holds the log's lock.
        """
        names = cls(ends.last)
        names.file_count = ends.length
        names._list_names, names._first = list_names, ends.first
        return names

    def _take(self, names: Sequence[EventName]) -> None:
        self._numbers: dict[str, int] = {}
        for name in names:
            self._numbers.setdefault(name.event_id, name.seq)
        self.next_seq = names[-1].seq + 1 if names else 0
        self.file_count = len(names)
        self._with_twins = list(names) if len(self._numbers) < len(names) else None
        """All names if two files have the same id. Otherwise None, because `_numbers` has all names in log order."""

    def _complete(self) -> None:
        """List the names between the ends."""
        if self._list_names is not None:
            names = self._list_names()
            self._list_names, self._first, self._learned = None, (), {}
            self._take(names)

    def learn(self, numbers: Mapping[str, int | None]) -> None:
        """Take the numbers of events between the ends from the index, and None for ids that the log does not have."""
        if self._list_names is not None:
            self._learned = numbers

    def find_seq(self, event_id: object) -> int | None:
        """Return the number of an event, or None if the log has no event of this id."""
        if not isinstance(event_id, str):
            return None
        if event_id not in self._numbers:
            if event_id in self._learned:
                return self._learned[event_id]
            self._complete()
        return self._numbers.get(event_id)

    def __contains__(self, event_id: object) -> bool:
        """Whether the log has an event of this id."""
        return self.find_seq(event_id) is not None

    def __len__(self) -> int:
        """Return the number of files."""
        return self.file_count

    def __iter__(self) -> Iterator[EventName]:
        """Yield the names in log order."""
        self._complete()
        if self._with_twins is not None:
            return iter(self._with_twins)
        return (EventName(seq, event_id) for event_id, seq in self._numbers.items())

    def __reversed__(self) -> Iterator[EventName]:
        """Yield the names in reverse log order. The first ones cost nothing, however long the log is."""
        known = len(self._numbers) if self._list_names else 0
        yield from islice(self._backwards(), known or None)
        if known:
            self._complete()
            yield from islice(self._backwards(), known, None)

    def _backwards(self) -> Iterator[EventName]:
        if self._with_twins is not None:
            return reversed(self._with_twins)
        return (EventName(seq, event_id) for event_id, seq in reversed(self._numbers.items()))

    def list_ends(self, number: int) -> tuple[list[EventName], list[EventName]]:
        """Return at most `number` names at the beginning of the log, and as many at its end, both in log order.

        If this log was made from `KnownEnds`, `number` must not be larger than the number of names there.
        """
        last = list(islice(reversed(self), number))[::-1]
        return list(islice(self._first or self, number)), last

    @property
    def size_bytes(self) -> int:
        """The approximate memory of the names."""
        return len(self._numbers) * _NAME_BYTES

    @property
    def is_listed(self) -> bool:
        """Whether all names are known, not only those at the ends."""
        return self._list_names is None

    @property
    def is_gapless(self) -> bool:
        """Whether the numbers are 0, 1, 2, ... with one file each."""
        return self.file_count == self.next_seq

    def add(self, name: EventName) -> None:
        """Add a file that was appended."""
        self._numbers[name.event_id] = name.seq
        if self._with_twins is not None:
            self._with_twins.append(name)
        self.next_seq = name.seq + 1
        self.file_count += 1


def open_events(conversation_fd: int) -> AbstractContextManager[int]:
    """Open events/ for writing, and create it if it is missing."""
    return _OpenEvents(conversation_fd)


class _OpenEvents(AbstractContextManager[int]):
    """A class, because an append needs one, and a generator takes longer than the system calls."""

    __slots__ = ("_conversation_fd", "_opened")

    def __init__(self, conversation_fd: int) -> None:
        self._conversation_fd = conversation_fd
        self._opened = layout.open_directory(layout.EVENTS, conversation_fd)

    def __enter__(self) -> int:
        try:
            return self._opened.__enter__()
        except FileNotFoundError:
            with suppress(FileExistsError):
                os.mkdir(layout.EVENTS, 0o777, dir_fd=self._conversation_fd)
                durable.sync_directory(self._conversation_fd)
            return self._opened.__enter__()

    def __exit__(self, *_: object) -> None:
        self._opened.__exit__(None, None, None)


def append(
    events_fd: int, known: LogNames, files: Sequence[tuple[str, bytes]], *, after_ns: int = 0
) -> list[tuple[EventName, os.stat_result]]:
    """Append (event id, bytes) pairs to a log, durably, and return their names and statuses.

    The times of the files are later than `after_ns`. The caller holds both locks, and no id is in the log yet. A crash
    leaves none, some or all of the files, without gaps.

    Raises:
        DiskFull, WriteFailed: nothing was appended.
    """
    if known.next_seq + len(files) - 1 > SEQ_MAX:
        raise WriteFailed(
            f"the log ends with event {known.next_seq - 1:,}, and a file name has no number above {SEQ_MAX:,}; "
            "nothing was appended. Rename the last file to the number after the previous file's"
        )
    with durable.explain_errors(f"event {files[0][0]}"):
        written: list[tuple[EventName, str, os.stat_result]] = []
        named: list[str] = []
        require_next: Callable[[], None] = partial(_require_next, events_fd, known.next_seq)
        try:
            for seq, (event_id, data) in enumerate(files, start=known.next_seq):
                name = EventName(seq, event_id)
                written.append(
                    (name, *durable.write_temporary(events_fd, event_file_name(name), data, after_ns=after_ns))
                )
            spare = _put_marker_aside(events_fd, known.next_seq)  # before the log grows, see the module's docstring
            for name, temporary, _ in written:
                final = event_file_name(name)
                liveness.require_alive()
                # fails if another program already used the name; a plain rename would replace that program's event
                rename_exclusively(temporary, final, dir_fd=events_fd, before_rename=require_next)
                require_next = accept  # the numbers after the first one are free, too
                named.append(final)
            durable.sync_directory(events_fd)  # without this fsync, a power cut undoes the new names
        except BaseException:
            # where another host may go on, it may have seen an event that has its final name
            for left in [
                *(named if liveness.may_write() else []),
                *(temporary for _, temporary, _ in written),
                _SPARE_MARKER,
            ]:
                with suppress(OSError):
                    os.unlink(left, dir_fd=events_fd)
            raise
    for name, _, _ in written:
        known.add(name)
    if known.is_gapless:
        _write_marker(events_fd, known.next_seq, spare=spare)
    elif spare:
        durable.remove_if_there(events_fd, _SPARE_MARKER)
    return [(name, status) for name, _, status in written]


def _require_next(events_fd: int, seq: int) -> None:
    """Check by a listing that `seq` is the log's next number.

    Raises:
        WriteFailed: the log has an event of this number or a higher one.
    """
    names = layout.list_event_names(events_fd)
    if names and names[-1].seq >= seq:
        raise WriteFailed(
            f"another program appended event {names[-1].seq:,} meanwhile; nothing was appended. Try again"
        )


def remove_leftovers_in_log(events_fd: int, known: LogNames) -> None:
    """Delete temporary files and wrong markers that a crash left. The caller holds the log's lock."""
    hidden = [name for name in os.listdir(events_fd) if name.startswith(".")]
    for name in (*filter(_match_temporary, hidden), *_find_stale_markers(hidden, known)):
        durable.remove_if_there(events_fd, name)


def list_stale_markers(events_fd: int, known: LogNames) -> list[str]:
    """Return the names of the markers that state a wrong length."""
    return _find_stale_markers(os.listdir(events_fd), known)


def _find_stale_markers(names: Iterable[str], known: LogNames) -> list[str]:
    right = _marker(known.next_seq) if known.is_gapless else None
    return [name for name in names if _match_marker(name) and name != right]


def has_same_length(events_fd: int, known: LogNames) -> bool:
    """Whether the marker states the known length. True for a log with gaps, which has no marker.

    The fingerprint of events/ is not enough: before Linux 6.13, times are 4 ms coarse, so it may miss an append.
    """
    return not known.is_gapless or _has_marker(events_fd, known.next_seq)


def is_marked(reader: Reader, directory: str, length: int) -> bool:
    """Whether the length marker states this length. While events are appended there is no marker."""
    return guess_fingerprint(f"{reader.root}/{directory}/{layout.EVENTS}/{_marker(length)}") is not None


def _has_marker(events_fd: int, length: int) -> bool:
    return find_fingerprint(_marker(length), events_fd) is not None


def list_names(events_fd: int) -> LogNames:
    """Return the names in a log."""
    return LogNames(layout.list_event_names(events_fd))


def confirm_ends(
    events_fd: int, ends: KnownEnds, signature: bytes, list_names: Callable[[], Sequence[EventName]]
) -> LogNames | None:
    """Return the names of a log from the names that the index knows, or None if it must be listed.

    Two writers could give two events one number, as a file's name holds the event's id: so a listing that is out of
    date must never be trusted. The caller holds both locks. The directory must have the times of the index's listing,
    and these must not be recent: `signature`, that of the files now, is `UNTRUSTED` then. And the length marker must
    state the same length.
    """
    if signature == UNTRUSTED or signature != ends.signature:
        return None
    if len({name.event_id for name in ends.last}) < len(ends.last) or not _has_marker(events_fd, ends.length):
        return None
    return LogNames.from_ends(ends, list_names)


def _marker(length: int) -> str:
    return f".eventlog-len-{length}.marker"


def _put_marker_aside(events_fd: int, length: int) -> bool:
    """Rename the marker of this length to a temporary name, and return whether it existed."""
    try:
        os.rename(_marker(length), _SPARE_MARKER, src_dir_fd=events_fd, dst_dir_fd=events_fd)
    except FileNotFoundError:
        return False
    return True


def _write_marker(events_fd: int, length: int, *, spare: bool) -> None:
    """Write the marker of this length. If this fails, there is no marker, and agent-server counts the files."""
    with suppress(OSError):
        if spare:
            os.rename(_SPARE_MARKER, _marker(length), src_dir_fd=events_fd, dst_dir_fd=events_fd)
        else:
            os.close(os.open(_marker(length), _MARK, 0o600, dir_fd=events_fd))
