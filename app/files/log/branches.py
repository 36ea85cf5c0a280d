"""Branches of a log: the events that lead to HEAD, and the files of a fork."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import orjson

from ...errors import ConversationNotFound, EventNotFound, UnreadableFile
from ...model.archive_format import ArchiveFile, FileInPieces
from ...model.conversation import ConversationFiles, fold
from ...model.event import parse_json_object
from ...model.ids import ConversationId, EventName, event_file_name
from ...model.json_splice import RawObject, parse_raw_object
from ...model.new_conversation import forked_meta, forked_state
from ...model.times import format_us
from ...model.validation import ROOT
from .. import layout
from ..metadata_reader import Reader
from .event_log import LogNames
from .head import Head, find_head, find_moved_head, may_be_behind

_LOOKS = 5
"""The maximum number of attempts to read files that change during the read."""


@dataclass(frozen=True, slots=True)
class Fork:
    """The requested fork. If `from_event_id` is None, the fork has the whole log and its HEAD."""

    id: ConversationId
    now_us: int
    title: str | None = None
    tags: dict[str, str] | None = None
    reset_metrics: bool = True
    from_event_id: str | None = None


def read_fork(reader: Reader, source: ConversationFiles, fork: Fork) -> Iterator[ArchiveFile | FileInPieces]:
    """Yield the files of a fork: its events, then base_state.json, then meta.json.

    The pieces of a large file must be taken before the next file: several forks at once may copy events of 20 MB.
    base_state.json comes after the events. Otherwise the last event would be newer and look as if a crash had prevented
    the HEAD from moving to it. If the source's HEAD is behind its log (an append is in progress, or crashed), the fork
    gets the correct HEAD.

    Raises:
        ConversationNotFound: the source is missing.
        EventNotFound: there is no such event, or a file of the branch is missing.
        UnreadableFile: base_state.json or meta.json cannot be read.
    """
    try:
        opened = layout.open_directory(reader.root / source.directory)
        fd = opened.__enter__()
    except OSError as error:
        raise ConversationNotFound(f"there is no conversation {source.directory} ({error.strerror})") from error
    try:
        meta = _read_raw(fd, layout.META)[0] if source.meta is not None else _make_meta(source)
        with layout.open_directory(layout.EVENTS, fd) as events_fd:
            state, names, moved = _read_moment(fd, events_fd)
            head = fork.from_event_id
            if head is not None:
                branch = list_branch(events_fd, names, head)
                copied = [(name, EventName(seq, name.event_id)) for seq, name in enumerate(branch)]
            else:
                copied, head = [(name, name) for name in names], moved.event_id if moved else None
            for name, new_name in copied:
                file = event_file_name(name)
                path = f"{layout.EVENTS}/{file if name is new_name else event_file_name(new_name)}"
                try:
                    raw, _ = layout.read_with_status(file, events_fd, layout.PIECE_BYTES)
                except UnreadableFile as error:
                    raise _named(f"{layout.EVENTS}/{file}", error) from error
                except layout.LargeFile:
                    yield FileInPieces(path, _read_pieces(file, events_fd))
                else:
                    yield ArchiveFile(path, raw)
        directory = str(reader.root / fork.id)
        tags = fork.tags or {}
        new_state = forked_state(
            state, fork.id, directory=directory, tags=tags, head=head, reset_metrics=fork.reset_metrics
        )
        yield ArchiveFile(layout.STATE, new_state.raw)
        new_meta = forked_meta(
            meta,
            fork.id,
            source.id,
            title=fork.title,
            tags=tags,
            from_event_id=fork.from_event_id,
            now_us=fork.now_us,
            reset_metrics=fork.reset_metrics,
        )
        yield ArchiveFile(layout.META, new_meta.raw)
    finally:
        opened.__exit__(None, None, None)


def _read_pieces(file: str, events_fd: int) -> Iterator[bytes]:
    with _name_in_errors(f"{layout.EVENTS}/{file}"), closing(layout.read_pieces(file, events_fd)) as pieces:
        yield from pieces


def _read_moment(
    fd: int, events_fd: int, max_bytes: int | None = None
) -> tuple[RawObject, list[EventName], Head | None]:
    """Return base_state.json, the names in the log, and the correct HEAD if the one in base_state.json is behind.

    They are read again if base_state.json changed during the read. Its owner may have released the lease in between,
    and then nothing would show that HEAD was behind.
    """
    for _ in range(_LOOKS):
        state, state_ns = _read_raw(fd, layout.STATE)
        names = layout.list_event_names(events_fd)
        fields = parse_json_object(state.raw)
        behind = may_be_behind(fd, fields)
        moved = find_moved_head(fd, events_fd, fields, state_ns, names, max_bytes) if behind else None
        if _read_raw(fd, layout.STATE)[0].raw == state.raw:
            break
    return state, names, moved


def list_branch(events_fd: int, names: list[EventName], leaf: str) -> list[EventName]:
    """Return the events from the root to `leaf`.

    Raises:
        EventNotFound: the log has no such event, or a parent is missing.
        UnreadableFile: an event of the branch cannot be read.
    """
    return list(_walk_back(events_fd, names, leaf))[::-1]


def find_on_branch(
    reader: Reader, directory: str, wanted: Sequence[EventName], max_bytes: int | None = None
) -> EventName | None:
    """Return the last of these events that is on the branch of HEAD, or None. The events are in log order.

    If the branch cannot be followed, the whole log counts as the branch. Raises LargeFile instead of reading an event
    of more than `max_bytes`.
    """
    try:
        with (
            layout.open_directory(reader.root / directory) as fd,
            layout.open_directory(layout.EVENTS, fd) as events_fd,
        ):
            state, names, moved = _read_moment(fd, events_fd, max_bytes)
            head = moved or find_head(events_fd, parse_json_object(state.raw), LogNames(names), max_bytes)
            if head.event_id is None:
                return None
            branch = takewhile(lambda name: name >= wanted[0], _walk_back(events_fd, names, head.event_id, max_bytes))
            found = frozenset(wanted)
            return next((name for name in branch if name in found), None)
    except (OSError, EventNotFound, UnreadableFile):
        return wanted[-1]


def _walk_back(events_fd: int, names: list[EventName], leaf: str, max_bytes: int | None = None) -> Iterator[EventName]:
    """Yield the events from `leaf` back to the root.

    An event that names no parent follows the event before it in the log. The walk stops at an event that it has already
    visited. Source: openhands-sdk 1.58, event_store.py, `path_to_root`.
    """
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        places.setdefault(name.event_id, place)
    seen: set[str] = set()
    wanted: str | None = leaf
    while wanted is not None and wanted not in seen:
        if wanted not in places:
            raise EventNotFound(f"the log has no event {wanted[:64]!r}, so no branch leads to {leaf[:64]!r}")
        seen.add(wanted)
        place = places[wanted]
        yield names[place]
        wanted = _parent(_read_event(events_fd, names[place], max_bytes), names, place)


def _parent(event: dict[str, Any], names: list[EventName], place: int) -> str | None:
    parent = event.get("parent_id")
    if parent is None and place:
        return names[place - 1].event_id
    return parent if isinstance(parent, str) and parent != ROOT else None


def _read_event(events_fd: int, name: EventName, max_bytes: int | None = None) -> dict[str, Any]:
    file = event_file_name(name)
    try:
        with _name_in_errors(f"{layout.EVENTS}/{file}"):
            return parse_json_object(layout.read_with_status(file, events_fd, max_bytes)[0])
    except FileNotFoundError as error:
        raise EventNotFound(f"event {name.event_id} is gone") from error


@contextmanager
def _name_in_errors(file: str) -> Iterator[None]:
    """Put the file's name in front of an UnreadableFile's reason."""
    try:
        yield
    except UnreadableFile as error:
        raise _named(file, error) from error


def _named(file: str, error: UnreadableFile) -> UnreadableFile:
    return UnreadableFile(f"{file}: {error}", failed=error.failed)


def _read_raw(fd: int, name: str) -> tuple[RawObject, int]:
    """Return a JSON file, and its mtime in nanoseconds, taken before reading."""
    try:
        with _name_in_errors(name):
            raw, mtime_ns = layout.read_file(name, fd)
            return parse_raw_object(raw), mtime_ns
    except FileNotFoundError as error:
        raise UnreadableFile(f"{name}: missing") from error


def _make_meta(source: ConversationFiles) -> RawObject:
    """Return a meta.json for a source without one; the OpenHands CLI never writes one."""
    if any(problem.startswith(layout.META) for problem in source.problems):
        raise UnreadableFile("; ".join(source.problems))
    return first_meta(source)


def first_meta(source: ConversationFiles) -> RawObject:
    """Return a new meta.json for a conversation without one, with the fields that agent-server needs."""
    workspace = (source.state or {}).get("workspace")
    row = fold(source)
    times = {"created_at": format_us(row.created_at), "updated_at": format_us(row.updated_at)}
    return parse_raw_object(orjson.dumps({"id": source.id, "title": None, "tags": {}, "workspace": workspace, **times}))
