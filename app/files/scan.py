"""Reading one conversation's metadata: meta.json, base_state.json, convstore.json, and the ends of its log."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Any

from app.errors import UnreadableFile
from app.files import layout
from app.model.conversation import LOOK_BACK, ConversationFiles, LogSummary
from app.model.event import STATE_UPDATE, parse_json_object
from app.model.ids import ConversationId, EventName, event_file_name
from app.model.times import find_time_us


@dataclass(slots=True)
class Reader:
    """How a store is read.

    `zone` is that of times which carry none (None: the host's), `processes` how many may read at once (0: a thread),
    `tools` whether what tools were given and answered counts as text. All that is open of a store has the same one, in
    which `app.store.deriving` sets `zone` and `tools` to those of the index.
    """

    root: Path
    zone: tzinfo | None
    processes: int = 0
    tools: bool = False


def read_conversation(
    reader: Reader, directory: str, conversation_id: ConversationId, *, with_log: bool = True
) -> ConversationFiles | None:
    """Read what a conversation's row needs. Returns None when the directory holds no conversation (any more).

    Without `with_log` no event is opened, and of its log only the length is told.
    What holds one is defined in `layout.Kind`. What cannot be read is told in `problems`.
    """
    try:
        with layout.open_directory(f"{reader.root}/{directory}") as fd:
            return _read(reader, fd, directory, conversation_id, with_log=with_log)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        modified_us = _modified_us(reader.root / directory)
        problem = f"the directory cannot be opened ({error.strerror})"
        return ConversationFiles(
            conversation_id, directory, None, 0, None, LogSummary(), modified_us, (problem,), failed=True
        )


def unwritable(directory: str, files: ConversationFiles | None) -> UnreadableFile:
    """Return the error for a conversation that cannot be written to until its files are mended."""
    return UnreadableFile(
        f"conversation {directory} cannot be written to: "
        f"{'; '.join(files.problems) if files else 'it has no files'}; "
        f"`convstore repair {directory}` mends what has one safe answer",
        failed=files is not None and files.failed,
    )


def _modified_us(path: Path) -> int:
    try:
        return os.lstat(path).st_mtime_ns // 1000
    except OSError:
        return 0


def _modified_ns(fd: int) -> int:
    """Return the time of events/, which the signature covers; without one, that of the directory it would be in."""
    try:
        return os.stat(layout.EVENTS, dir_fd=fd, follow_symlinks=False).st_mtime_ns
    except OSError:
        return os.fstat(fd).st_mtime_ns


def _read(
    reader: Reader, fd: int, directory: str, conversation_id: ConversationId, *, with_log: bool
) -> ConversationFiles | None:
    problems: list[UnreadableFile] = []
    meta, meta_mtime_ns = _read_json(fd, layout.META, problems)
    state, state_mtime_ns = _read_json(fd, layout.STATE, problems)
    names: list[EventName] = []
    try:
        names = layout.list_events(fd)
    except UnreadableFile as error:
        problems.append(error)
    if meta_mtime_ns is None and state_mtime_ns is None and not layout.holds_conversation(fd):
        return None
    if state is None and not any(str(problem).startswith(layout.STATE) for problem in problems):
        problems.append(UnreadableFile(f"{layout.STATE}: missing"))
    own, _ = _read_json(fd, layout.OWN, problems)
    log = summarise(reader, fd, names, first_too=not tells_creation(meta)) if with_log else LogSummary(len(names))
    return ConversationFiles(
        id=conversation_id,
        directory=directory,
        meta=meta,
        meta_mtime_ns=meta_mtime_ns or 0,
        state=state,
        log=log,
        modified_us=next(ns for ns in (state_mtime_ns, meta_mtime_ns, _modified_ns(fd)) if ns is not None) // 1000,
        problems=tuple(str(problem) for problem in problems),
        failed=log.failed or any(problem.failed for problem in problems),
        own=own or {},
    )


def _read_json(fd: int, name: str, problems: list[UnreadableFile]) -> tuple[dict[str, Any] | None, int | None]:
    """Return the object and its file's mtime (None: it cannot be read); a problem is appended to `problems`."""
    mtime_ns = None
    try:
        raw, mtime_ns = layout.read_file(name, fd)
        return parse_json_object(raw), mtime_ns
    except FileNotFoundError:
        return None, None
    except UnreadableFile as error:
        problems.append(UnreadableFile(f"{name}: {error}", failed=error.failed))
        return None, mtime_ns


def tells_creation(meta: dict[str, Any] | None) -> bool:
    """Whether a meta.json says when the conversation was created; if not, the log's first time does."""
    return meta is not None and find_time_us(meta.get("created_at")) is not None


def summarise(reader: Reader, fd: int, names: list[EventName], *, first_too: bool) -> LogSummary:
    """Look at the ends of a log: the last event that is no ConversationStateUpdateEvent, and the first with a time."""
    if not names:
        return LogSummary()
    first_us = last_us = None
    last_mtime_ns = 0
    since_last = min(len(names), LOOK_BACK)
    try:
        with layout.open_directory(layout.EVENTS, fd) as events_fd:
            for place, name in enumerate(names[: -LOOK_BACK - 1 : -1]):
                event, mtime_ns = _read_event(events_fd, name)
                found_us = find_time_us(event.get("timestamp"), reader.zone)
                if found_us is not None and event.get("kind") != STATE_UPDATE:
                    last_us, last_mtime_ns, since_last = found_us, mtime_ns, place
                    break
            for name in names[:LOOK_BACK] if first_too else ():
                first_us = find_time_us(_read_event(events_fd, name)[0].get("timestamp"), reader.zone)
                if first_us is not None:
                    break
    except (OSError, UnreadableFile):
        return LogSummary(event_count=len(names), failed=True)
    return LogSummary(len(names), first_us, last_us, last_mtime_ns, since_last)


def _read_event(events_fd: int, name: EventName) -> tuple[dict[str, Any], int]:
    """Return an event and its file's mtime; nothing for one that cannot be read, which the event rows report.

    Raises:
        UnreadableFile: the operating system refused, which may pass.
    """
    try:
        raw, mtime_ns = layout.read_file(event_file_name(name), events_fd)
        return parse_json_object(raw), mtime_ns
    except FileNotFoundError:
        return {}, 0
    except UnreadableFile as error:
        if error.failed:
            raise
        return {}, 0
