"""Repair of a conversation's files where only one repair is safe. First, all files are copied into the trash.

A repair holds the lease and both locks, so nobody else writes meanwhile. Other problems are reported and left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from ..errors import ConversationNotFound, ConversationOwned, UnreadableFile
from ..locks import hold_lock
from ..model.conversation import ConversationFiles, fold
from ..model.event import gap_rows, parse_json_object
from ..model.ids import ConversationId, event_file_name
from ..model.json_splice import parse_raw_object
from ..model.salvage import find_whole, is_same_id, rebuild_state, replay_state, salvage
from . import durable, layout, lease, metadata_reader, trash
from .log import event_log
from .log.branches import first_meta
from .log.head import find_head, find_missing_head
from .metadata_reader import Reader

_ALL_KEPT = "its JSON object is undamaged; the bytes around the object are removed"
_REPLACED = "replaced by {}, a complete new version that was not yet renamed when a crash happened"

_match_leftover = re.compile(r"\..+\.tmp").fullmatch


class Mend(NamedTuple):
    """The repair of one file: the problem and the new content. `content` None deletes the file."""

    file: str
    what: str
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Repair:
    """The repairs that were made or planned, the remaining problems, and the name of the copy in the trash, if any."""

    mended: list[Mend]
    left: list[str]
    copy: str | None = None
    warning: str | None = None
    """Set if the index does not show the repair yet. A later sync updates the index."""


@dataclass(frozen=True, slots=True)
class _OpenedFiles:
    """An open conversation directory and the contents that were read."""

    reader: Reader
    fd: int
    events_fd: int | None
    files: ConversationFiles
    names: list[str]


def plan(reader: Reader, directory: str, conversation_id: ConversationId) -> Repair:
    """Return the repairs that `repair` would make.

    Raises:
        ConversationNotFound: there is no such directory, or it is not a conversation.
        ConversationOwned: another owner is alive.
    """
    held = lease.find_holder(reader.root, directory)
    if held is not None:
        raise ConversationOwned(lease.describe_owner(directory, held))
    with _open_files(reader, directory, conversation_id) as opened:
        return _plan(opened)


def repair(reader: Reader, directory: str, conversation_id: ConversationId, instance: str, now_us: int) -> Repair:
    """Make all safe repairs and return them. The lock of `instance` must be held (`liveness.stay_alive`).

    Raises:
        ConversationNotFound: there is no such directory, or it is not a conversation.
        ConversationOwned: another owner is alive.
        LockTimeout: another program kept a lock.
        DiskFull, WriteFailed: some repairs failed; the copy is in the trash.
    """
    claimed = lease.claim(reader.root, directory, instance)
    with _open_files(reader, directory, conversation_id) as opened, ExitStack() as locks:
        if opened.events_fd is not None:
            locks.enter_context(hold_lock(layout.LOG_LOCK, layout.LOG_LOCK_TIMEOUT_S, dir_fd=opened.events_fd))
        locks.enter_context(lease.hold_lease(reader.root, directory, opened.fd, claimed.lease))
        try:
            found = _plan(opened)
            if found.mended:
                found = replace(found, copy=trash.copy_to_trash(reader.root, directory, now_us).name)
            for mend in found.mended:
                _apply(opened, mend)
        finally:
            lease.undo_claim_locked(reader.root, opened.fd, claimed)
        return found


@contextmanager
def _open_files(reader: Reader, directory: str, conversation_id: ConversationId) -> Iterator[_OpenedFiles]:
    with lease.open_to_write(reader.root, directory) as fd, ExitStack() as stack:
        files = metadata_reader.read_conversation(reader, directory, conversation_id)
        if files is None:
            raise ConversationNotFound(f"{directory} holds no conversation")
        try:
            events_fd = stack.enter_context(layout.open_directory(layout.EVENTS, fd))
        except OSError:
            events_fd = None
        yield _OpenedFiles(reader, fd, events_fd, files, layout.list_all(fd))


def _apply(opened: _OpenedFiles, mend: Mend) -> None:
    name = Path(mend.file).name
    fd = opened.fd if mend.file == name or opened.events_fd is None else opened.events_fd
    if mend.content is not None:
        durable.replace(fd, name, mend.content)
        return
    with durable.explain_errors(mend.file):
        durable.remove_if_there(fd, name)
        durable.sync_directory(fd)


def _plan(opened: _OpenedFiles) -> Repair:
    left = [problem for problem in opened.files.problems if "cannot be" in problem or "not a regular" in problem]
    mended: list[Mend] = []
    state = opened.files.state
    if state is None and not _is_refused(layout.STATE, left):
        mended.append(_mend_state(opened))
        state = parse_json_object(mended[0].content or b"")
    elif state is not None:
        mended += _mend_head(opened, state, _read(opened, layout.STATE))
        left += _wrong_state(opened)
    if opened.files.meta is None and not _is_refused(layout.META, left):
        mended.append(_mend_meta(opened, state))
    if any(problem.startswith(layout.SIDECAR) for problem in opened.files.problems):
        mended += [] if _is_refused(layout.SIDECAR, left) else [_mend_sidecar(opened)]
    mended += _leftovers(opened)
    events, torn = _mend_events(opened)
    return Repair(mended + events, left + torn)


def _is_refused(name: str, left: list[str]) -> bool:
    return any(problem.startswith(name) for problem in left)


def _wrong_state(opened: _OpenedFiles) -> list[str]:
    reason = fold(opened.files._replace(problems=(), state=dict(opened.files.state or {}))).unreadable
    return [reason] if reason else []


def _read(opened: _OpenedFiles, name: str, fd: int | None = None) -> bytes:
    try:
        return layout.read_file(name, opened.fd if fd is None else fd)[0]
    except (FileNotFoundError, UnreadableFile):
        return b""


def _find_unfinished(opened: _OpenedFiles, name: str) -> tuple[str, bytes] | None:
    """Return the newest complete temporary file of `name` that a crash left for this conversation, or None."""
    found: list[tuple[int, str, bytes]] = []
    for temporary in opened.names:
        if not (temporary.startswith(f".{name}.") and _match_leftover(temporary)):
            continue
        try:
            raw, mtime_ns = layout.read_file(temporary, opened.fd)
            if is_same_id(parse_json_object(raw), opened.files.id):
                found.append((mtime_ns, temporary, raw))
        except (FileNotFoundError, UnreadableFile):
            continue
    return max(found)[1:] if found else None


def _find_problem(opened: _OpenedFiles, name: str) -> str:
    return next((p.removeprefix(f"{name}: ") for p in opened.files.problems if p.startswith(name)), "missing")


def _mend_state(opened: _OpenedFiles) -> Mend:
    was = _find_problem(opened, layout.STATE)
    whole = _find_unfinished(opened, layout.STATE)
    if whole is not None:
        return Mend(layout.STATE, f"{was}; {_REPLACED.format(whole[0])}", whole[1])
    kept = _find_whole(opened, layout.STATE)
    if kept is not None:
        heads = _mend_head(opened, parse_json_object(kept), kept)
        return Mend(layout.STATE, "; ".join([was, _ALL_KEPT, *(head.what for head in heads)]), _last(kept, heads))
    salvaged = salvage(_read(opened, layout.STATE))
    salvaged = salvaged if is_same_id(salvaged, opened.files.id) else {}
    meta = opened.files.meta or salvage(_read(opened, layout.META))
    logged = replay_state(_events(opened))
    state = rebuild_state(opened.files.id, salvaged=salvaged, logged=logged, meta=meta)
    leaf = None
    if opened.events_fd is not None:
        leaf = find_head(opened.events_fd, salvaged, event_log.list_names(opened.events_fd)).event_id
    state["leaf_event_id"] = leaf
    parts = [f"its {len(salvaged)} undamaged fields"] if salvaged else []
    parts += ["the log", *(["meta.json"] if opened.files.meta else [])]
    agent = "" if "agent" in salvaged or "agent" in logged else "; its agent is not known any more and is a stub"
    return Mend(layout.STATE, f"{was}; made again from {' and '.join(parts)}{agent}", orjson.dumps(state))


def _events(opened: _OpenedFiles) -> Iterator[dict[str, Any]]:
    names = event_log.list_events(opened.reader, opened.files.directory)
    yield from event_log.iter_objects(opened.reader, opened.files.directory, names)


def _mend_meta(opened: _OpenedFiles, state: dict[str, Any] | None) -> Mend:
    was = _find_problem(opened, layout.META)
    whole = _find_unfinished(opened, layout.META)
    if whole is not None:
        return Mend(layout.META, f"{was}; {_REPLACED.format(whole[0])}", whole[1])
    kept_whole = _find_whole(opened, layout.META)
    if kept_whole is not None:
        return Mend(layout.META, f"{was}; {_ALL_KEPT}", kept_whole)
    salvaged = salvage(_read(opened, layout.META))
    salvaged = salvaged if is_same_id(salvaged, opened.files.id) else {}
    made = first_meta(opened.files._replace(state=dict(state or {}), meta=salvaged, problems=()))
    kept = {name: orjson.dumps(value) for name, value in salvaged.items() if value is not None}
    tags = (state or {}).get("tags")
    if isinstance(tags, dict) and tags:
        kept.setdefault("tags", orjson.dumps(tags))
    lost = "" if "title" in salvaged else "; its title is not known any more"
    return Mend(layout.META, f"{was}; made again from the log and base_state.json{lost}", made.with_values(kept).raw)


def _find_whole(opened: _OpenedFiles, name: str) -> bytes | None:
    """Return the JSON object in a file if it belongs to this conversation and only the bytes around it are damaged."""
    whole = find_whole(_read(opened, name))
    return whole if whole is not None and is_same_id(parse_json_object(whole), opened.files.id) else None


def _last(whole: bytes, mends: list[Mend]) -> bytes:
    return next((mend.content for mend in mends if mend.content is not None), whole)


def _mend_sidecar(opened: _OpenedFiles) -> Mend:
    """Keep the complete fields. If there are none, delete the file, which means the same as no flags."""
    kept = salvage(_read(opened, layout.SIDECAR))
    what = f"made again from its {len(kept)} undamaged fields" if kept else "deleted"
    content = orjson.dumps(kept) if kept else None
    return Mend(layout.SIDECAR, f"{_find_problem(opened, layout.SIDECAR)}; {what}", content)


def _mend_head(opened: _OpenedFiles, state: dict[str, Any], raw: bytes) -> list[Mend]:
    """Repair a HEAD that names a missing event or, after a crash, is behind the log."""
    if opened.events_fd is None:
        return []
    known = event_log.list_names(opened.events_fd)
    leaf = state.get("leaf_event_id")
    if isinstance(leaf, str) and leaf not in known:
        head, why = find_head(opened.events_fd, {}, known), f"HEAD was {leaf}, which the log does not have"
    else:
        moved = find_missing_head(opened.fd, opened.events_fd, state, known, same_lease=False)
        if moved is None:
            return []
        head, why = moved, "HEAD was behind the log after a crash"
    kept = parse_raw_object(raw).with_values({"leaf_event_id": orjson.dumps(head.event_id)})
    return [Mend(layout.STATE, f"{why}; it is {head.event_id or 'empty'} now", kept.raw)]


def _leftovers(opened: _OpenedFiles) -> list[Mend]:
    found = [Mend(name, "left by a crash; deleted", None) for name in sorted(opened.names) if _match_leftover(name)]
    if opened.events_fd is None:
        return found
    stale = event_log.list_stale_markers(opened.events_fd, event_log.list_names(opened.events_fd))
    inside = sorted(name for name in layout.list_all(opened.events_fd) if _match_leftover(name))
    found += [Mend(f"{layout.EVENTS}/{name}", "left by a crash; deleted", None) for name in inside]
    wrong = "states a wrong length of the log; deleted, so that agent-server counts the events"
    return found + [Mend(f"{layout.EVENTS}/{name}", wrong, None) for name in stale]


def _mend_events(opened: _OpenedFiles) -> tuple[list[Mend], list[str]]:
    """Return repairs of event files that contain an undamaged event, and the other problems of the log."""
    names = event_log.list_events(opened.reader, opened.files.directory)
    rows = event_log.read_rows(opened.reader, opened.files.directory, names)[0]
    mended: list[Mend] = []
    torn: list[str] = []
    for name, reason in [(row.name, row.unreadable) for row in rows if row.unreadable]:
        file = f"{layout.EVENTS}/{event_file_name(name)}"
        whole = find_whole(_read(opened, event_file_name(name), opened.events_fd))
        if whole is not None and parse_json_object(whole).get("id") == name.event_id:
            mended.append(Mend(file, f"{reason}; {_ALL_KEPT}", whole))
        else:
            torn.append(f"{file}: {reason}")
    return mended, torn + [str(gap.unreadable) for gap in gap_rows(names)]
