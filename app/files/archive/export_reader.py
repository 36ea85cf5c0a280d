"""Reading the files of a conversation that an export contains. Follows no link and takes no lock."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from datetime import tzinfo
from pathlib import Path
from typing import NamedTuple

import orjson

from ...errors import UnreadableFile
from ...model.archive_format import DEPTH_MAX, ArchiveFile, LeftOutFile, find_path_problem
from ...model.conversation import LOOK_BACK, ConversationFiles, find_unsaved_update_us, plausible_meta_times
from ...model.event import parse_json_object
from ...model.export_masking import redact_file
from ...model.ids import ConversationId, EventName
from ...model.json_splice import parse_raw_object
from ...model.jsonlines import event_path, find_event
from ...model.times import format_us
from .. import layout
from ..layout import LAST_LEASE, LEASE
from ..log.head import find_moved_head, may_be_behind
from ..metadata_reader import Reader, summarize_log

_TOP = (layout.META, layout.STATE, layout.SIDECAR)
_LOOKS = 5
"""The maximum number of attempts to read files that change during the read."""

_PAUSE_S = 0.02
"""On a slow disk, this much time passes between writing an event and writing HEAD."""

_LARGE_BYTES = 1 << 20
_CREDENTIALS = "acp"
"""The directory with a running agent's credentials. agent-server's own downloads omit it too."""


class _Core(NamedTuple):
    """The files that change while a conversation runs, the mtime of base_state.json, and the event files in the log."""

    top: dict[str, bytes | LeftOutFile]
    state_ns: int
    names: list[EventName]


def read_files(
    root: Path,
    directory: str,
    *,
    with_secrets: bool = False,
    as_listed: bool = True,
    zone: tzinfo | None = None,
    on_large: Callable[[], None] = lambda: None,
) -> Iterator[ArchiveFile | LeftOutFile]:
    """Yield a conversation's files in fixed order: meta.json, base_state.json, convstore.json, events, others by name.

    With `as_listed`, meta.json gets the `updated_at` that lists show. `zone` applies to event times without a zone.
    Locks, leases, markers and temporary files are skipped. Secrets are masked unless `with_secrets` is set; then a
    damaged file that may contain a secret is left out. All files describe one moment, also while the conversation is
    being written: HEAD never names an event that is missing. `on_large` is called before a large file is read.

    Raises:
        OSError: the directory cannot be opened.
    """
    with layout.open_directory(root / directory) as fd:
        core = _read_core(fd, on_large)
        if as_listed:
            _set_updated_at(Reader(root, zone), fd, directory, core)
        for name, found in core.top.items():
            yield (
                found
                if isinstance(found, LeftOutFile)
                else _masked(ArchiveFile(name, found), with_secrets=with_secrets)
            )
        seen = set(_TOP)
        if core.names:
            with layout.open_directory(layout.EVENTS, fd) as events_fd:
                for event in core.names:
                    path = event_path(event)
                    seen.add(path)
                    yield _read(path, events_fd, on_large, with_secrets=with_secrets)
        for path, parent_fd in _others(fd, "", seen, with_secrets=with_secrets):
            problem = find_path_problem(path)
            yield (
                LeftOutFile(path.encode("utf-8", "replace").decode(), problem)
                if problem is not None
                else _read(path, parent_fd, on_large, with_secrets=with_secrets)
            )


def _read_core(fd: int, on_large: Callable[[], None]) -> _Core:
    """Read the files until two reads are equal and HEAD is current, at most `_LOOKS` times.

    If HEAD is still behind the log, an append is in progress or its owner died. Then HEAD is moved as the next opening
    would move it. Nobody could do this in the copy, because it has neither the lease nor the files' times.
    """
    core = _look(fd)
    if _has_large_ends(fd, core.names):
        on_large()
    for _ in range(_LOOKS):
        before, core = core, _look(fd)
        if core == before:
            if _find_moved(fd, core) is None:
                return core
            time.sleep(_PAUSE_S)
    state = _find_moved(fd, core)
    if state is not None and may_be_behind(fd, parse_json_object(state)):
        core.top[layout.STATE] = state
    return core


def _has_large_ends(fd: int, names: list[EventName]) -> bool:
    """Whether an event is large that may be read to find HEAD and the times of lists."""
    paths = map(event_path, {*names[:LOOK_BACK], *names[-LOOK_BACK:]})
    try:
        return any(os.stat(path, dir_fd=fd, follow_symlinks=False).st_size > _LARGE_BYTES for path in paths)
    except OSError:
        return False


def _look(fd: int) -> _Core:
    top: dict[str, bytes | LeftOutFile] = {}
    state_ns = 0
    for name in _TOP:
        try:
            top[name], mtime_ns = layout.read_file(name, fd)
        except FileNotFoundError:
            continue
        except UnreadableFile as error:
            top[name] = LeftOutFile(name, str(error))
        else:
            state_ns = mtime_ns if name == layout.STATE else state_ns
    try:
        return _Core(top, state_ns, layout.list_events(fd))
    except UnreadableFile as error:
        return _Core({**top, layout.EVENTS: LeftOutFile(layout.EVENTS, str(error))}, state_ns, [])


def _find_moved(fd: int, core: _Core) -> bytes | None:
    """Return base_state.json with the HEAD that it should name but does not yet, or None if it is current."""
    raw = core.top.get(layout.STATE)
    if isinstance(raw, bytes) and core.names:
        try:
            state = parse_json_object(raw)
            with layout.open_directory(layout.EVENTS, fd) as events_fd:
                moved = find_moved_head(fd, events_fd, state, core.state_ns, core.names)
            if moved is not None:
                return parse_raw_object(raw).with_values({"leaf_event_id": orjson.dumps(moved.event_id)}).raw
        except (OSError, UnreadableFile):
            return None
    return None


def _set_updated_at(reader: Reader, fd: int, directory: str, core: _Core) -> None:
    """Set the `updated_at` that lists show in the copy of meta.json, unless that file is damaged."""
    raw = core.top.get(layout.META)
    if not isinstance(raw, bytes):
        return
    try:
        meta = parse_json_object(raw)
        status = os.stat(layout.META, dir_fd=fd, follow_symlinks=False)
        placed_ns = layout.placed_ns(status)
        log = summarize_log(reader, fd, core.names, plausible_meta_times(meta, placed_ns))
        modified_us = status.st_mtime_ns // 1000
        files = ConversationFiles(
            ConversationId(directory), directory, meta, status.st_mtime_ns, None, log, modified_us,
            meta_placed_ns=placed_ns,
        )  # fmt: skip
        updated_us = None if log.failed else find_unsaved_update_us(files)
        if updated_us is not None:
            kept = parse_raw_object(raw).with_values({"updated_at": orjson.dumps(format_us(updated_us))})
            core.top[layout.META] = kept.raw
    except (OSError, UnreadableFile):
        return


def _read(path: str, parent_fd: int, on_large: Callable[[], None], *, with_secrets: bool) -> ArchiveFile | LeftOutFile:
    name = path.rpartition("/")[2]
    try:
        try:
            raw, _ = layout.read_with_status(name, parent_fd, _LARGE_BYTES)
        except layout.LargeFile:
            on_large()
            raw, _ = layout.read_with_status(name, parent_fd)
    except FileNotFoundError:
        return LeftOutFile(path, "it was deleted during the export")
    except UnreadableFile as error:
        return LeftOutFile(path, str(error))
    return _masked(ArchiveFile(path, raw), with_secrets=with_secrets)


def _masked(file: ArchiveFile, *, with_secrets: bool) -> ArchiveFile | LeftOutFile:
    if with_secrets:
        return file
    try:
        return ArchiveFile(file.name, redact_file(file.name, file.raw))
    except UnreadableFile as error:
        return LeftOutFile(file.name, str(error))


def _others(fd: int, prefix: str, seen: set[str], *, with_secrets: bool) -> Iterator[tuple[str, int]]:
    """Yield (path, descriptor of its directory) for the other regular files below an open directory, sorted by name."""
    for name in sorted(os.listdir(fd)):
        path = prefix + name
        if path in seen or find_event(path) is not None:  # an event that was not seen was appended after the listing
            continue
        try:
            mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            continue
        if stat.S_ISREG(mode) and not is_transient(name):
            yield path, fd
        elif stat.S_ISDIR(mode) and path.count("/") < DEPTH_MAX and (with_secrets or path != _CREDENTIALS):
            with layout.open_directory(name, fd) as inner:
                yield from _others(inner, f"{path}/", seen, with_secrets=with_secrets)


def is_transient(name: str) -> bool:
    """Whether a file with this name is a lock, a lease, a marker or a temporary file, and so never exported."""
    return name.endswith((".tmp", ".lock", ".marker")) or name in (LEASE, LAST_LEASE)
