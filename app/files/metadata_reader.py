"""Reading the metadata of one conversation: meta.json, base_state.json, convstore.json, and both ends of the log."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UnreadableFile
from ..model.conversation import (
    LOOK_BACK,
    ConversationFiles,
    EventTime,
    LogSummary,
    MetaTimes,
    plausible_event_time,
    plausible_meta_times,
)
from ..model.event import STATE_UPDATE, parse_json_object
from ..model.ids import ConversationId, EventName, event_file_name
from ..model.json_splice import RawObject, parse_raw_object
from ..model.text.event_text import preview_text
from ..model.times import find_time_us
from . import layout


@dataclass(frozen=True, slots=True)
class Reader:
    """How the files of a store are read.

    `zone` applies to times without a zone (None: the host's zone). `processes` is the number of reader processes (0: a
    thread instead). `tools` says whether searchable text includes the tools' input and output.
    """

    root: Path
    zone: tzinfo | None
    processes: int = 0
    tools: bool = False


def read_conversation(
    reader: Reader,
    directory: str,
    conversation_id: ConversationId,
    *,
    with_log: bool = True,
    event_count: int | None = None,
) -> ConversationFiles | None:
    """Return everything that a conversation's row needs, or None if the directory is not a conversation.

    `layout.Kind` defines what a conversation is. Without `with_log`, no event is opened, and the summary has only the
    length of the log. With `event_count`, which is that length, events/ is not even listed. Files that cannot be read
    are listed in `problems`.
    """
    try:
        with layout.open_directory(f"{reader.root}/{directory}") as fd:
            return _read(reader, fd, directory, conversation_id, with_log=with_log, event_count=event_count)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        modified_us = _modified_us(reader.root / directory)
        problem = f"the directory cannot be opened ({error.strerror})"
        return ConversationFiles(
            conversation_id, directory, None, 0, None, LogSummary(), modified_us, (problem,), failed=True
        )


def not_writable(directory: str, files: ConversationFiles | None) -> UnreadableFile:
    """Return the error for a conversation that must be repaired before a write."""
    return UnreadableFile(
        f"conversation {directory} cannot be changed: "
        f"{'; '.join(files.problems) if files else 'it has no files'}; "
        f"run `convstore repair {directory}`, which makes all safe repairs",
        failed=files is not None and files.failed,
    )


def list_future_conversations(root: Path, latest_us: int) -> list[ConversationId]:
    """Return the conversations whose meta.json states a later time. Opens each file and skips unreadable ones."""
    found = []
    for directory in layout.list_directories(root)[0]:
        try:
            with layout.open_directory(f"{root}/{directory}") as fd:
                times = plausible_meta_times(parse_json_object(layout.read_file(layout.META, fd)[0]), None)
        except (OSError, UnreadableFile):
            continue
        if max(times.created_us or 0, times.updated_us or 0) > latest_us:
            found.append(layout.conversation_dir(directory).id)
    return found


def _modified_us(path: Path) -> int:
    try:
        return os.lstat(path).st_mtime_ns // 1000
    except OSError:
        return 0


def _modified_ns(fd: int, status: os.stat_result | None) -> int:
    """Return the mtime of a file. If it is missing, return that of events/, or else of the conversation's directory."""
    if status is not None:
        return status.st_mtime_ns
    try:
        return os.stat(layout.EVENTS, dir_fd=fd, follow_symlinks=False).st_mtime_ns
    except OSError:
        return os.fstat(fd).st_mtime_ns


def _read(
    reader: Reader,
    fd: int,
    directory: str,
    conversation_id: ConversationId,
    *,
    with_log: bool,
    event_count: int | None,
) -> ConversationFiles | None:
    problems: list[UnreadableFile] = []
    meta, meta_status = _read_json(fd, layout.META, problems)
    state, state_status = _read_json(fd, layout.STATE, problems)
    names: list[EventName] = []
    try:
        names = layout.list_events(fd) if event_count is None else []
    except UnreadableFile as error:
        problems.append(error)
    if meta_status is None and state_status is None and not layout.holds_conversation(fd):
        return None
    if state is None and not any(str(problem).startswith(layout.STATE) for problem in problems):
        problems.append(UnreadableFile(f"{layout.STATE}: missing"))
    sidecar, _ = _read_json(fd, layout.SIDECAR, problems)
    meta_placed_ns = None if meta_status is None else layout.placed_ns(meta_status)
    meta_times = plausible_meta_times(meta, meta_placed_ns)
    if with_log and event_count is None:
        log = summarize_log(reader, fd, names, meta_times)
    else:
        log = LogSummary(len(names) if event_count is None else event_count)
    return ConversationFiles(
        id=conversation_id,
        directory=directory,
        meta=meta,
        meta_mtime_ns=0 if meta_status is None else meta_status.st_mtime_ns,
        state=state,
        log=log,
        modified_us=_modified_ns(fd, state_status or meta_status) // 1000,
        problems=tuple(str(problem) for problem in problems),
        failed=log.failed or any(problem.failed for problem in problems),
        sidecar=sidecar or {},
        meta_placed_ns=meta_placed_ns,
    )


def _read_json(
    fd: int, name: str, problems: list[UnreadableFile]
) -> tuple[dict[str, Any] | None, os.stat_result | None]:
    """Return the object and its file's status, or (None, ...) after adding a problem to `problems`."""
    status = None
    try:
        raw, status = layout.read_with_status(name, fd)
        return parse_json_object(raw), status
    except FileNotFoundError:
        return None, None
    except UnreadableFile as error:
        problems.append(UnreadableFile(f"{name}: {error}", failed=error.failed))
        return None, status


def find_raw_object(fd: int, name: str) -> RawObject | None:
    """Return the JSON object in a file of an open directory, or None if the file is missing or unreadable."""
    try:
        return parse_raw_object(layout.read_file(name, fd)[0])
    except (FileNotFoundError, UnreadableFile):
        return None


def summarize_log(reader: Reader, fd: int, names: list[EventName], meta: MetaTimes | None) -> LogSummary:
    """Read both ends of a log.

    Read are the last event that is not a ConversationStateUpdateEvent, the first event with a text of a user, and the
    first with a time. The last one is read only if the fold needs it in addition to `meta`; if `meta` is None, always.
    """
    return summarize_ends(reader, fd, names[:LOOK_BACK], names[-LOOK_BACK:], len(names), meta)


def summarize_ends(
    reader: Reader, fd: int, first: Sequence[EventName], last: Sequence[EventName], length: int, meta: MetaTimes | None
) -> LogSummary:
    """Do the same as `summarize_log` with the names of the first and the last `LOOK_BACK` events of a log."""
    if not length:
        return LogSummary()
    first_us = last_us = None
    preview = ""
    last_is_past, last_mtime_ns = True, 0
    since_last = min(length, LOOK_BACK)
    try:
        with layout.open_directory(layout.EVENTS, fd) as events_fd:
            for place, name in enumerate(reversed(last)):
                event = _read_event(reader, events_fd, name)
                if event.time.us is not None and event.kind != STATE_UPDATE:
                    (last_us, last_is_past), last_mtime_ns, since_last = event.time, event.mtime_ns, place
                    break
            needs_first = meta is None or meta.needs_first(last_us)
            for name in first:
                needs_time = needs_first and first_us is None
                if preview and not needs_time:
                    break
                event = _read_event(reader, events_fd, name, holding=b"" if needs_time else _MESSAGE)
                first_us = event.time.us if needs_time else first_us
                preview = preview or event.preview
    except (OSError, UnreadableFile):
        return LogSummary(event_count=length, failed=True)
    return LogSummary(
        length, first_us, last_us, last_mtime_ns, since_last, last_is_past=last_is_past, preview=preview or None
    )


class _End(NamedTuple):
    """An event at either end of a log."""

    time: EventTime
    kind: object = None
    mtime_ns: int = 0
    preview: str = ""


_NO_END = _End(EventTime(None, is_past=True))
_MESSAGE = b"MessageEvent"
"""These bytes are in the file of every message. So a system prompt of 60 kB is not parsed to look for a preview."""


def _read_event(reader: Reader, events_fd: int, name: EventName, *, holding: bytes = b"") -> _End:
    """Read an event. An unreadable one has no time; its event row states the reason.

    An event whose file does not contain the bytes `holding` is not parsed, and has no time either.

    Raises:
        UnreadableFile: the operating system refused; a later read may succeed.
    """
    try:
        raw, status = layout.read_with_status(event_file_name(name), events_fd)
        if holding not in raw:
            return _NO_END
        event = parse_json_object(raw)
    except FileNotFoundError:
        return _NO_END
    except UnreadableFile as error:
        if error.failed:
            raise
        return _NO_END
    told_us = find_time_us(event.get("timestamp"), reader.zone)
    time = plausible_event_time(told_us, status.st_mtime_ns, layout.placed_ns(status))
    return _End(time, event.get("kind"), status.st_mtime_ns, preview_text(event))
