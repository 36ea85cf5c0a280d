"""HEAD, the event that the next event follows: the HEAD that base_state.json names, and the one it should name.

An append writes HEAD into base_state.json without an fsync of its own, which would take a third of the append. After a
power cut, base_state.json may name an earlier HEAD, and its time may be that of a later write. The log says the same:
each of these events has the previous HEAD as its parent. So the lease has the number of the first event that HEAD may
not know (`Lease.head_from`), durable before this event is written. Everything else that writes HEAD, such as a
navigation, first raises that number to the length of the log, and is durable itself. A release of the lease and, each
second, the maintenance of open conversations make HEAD durable. An agent-server that takes over before that, after a
power cut, does not look at the log: it goes on from a HEAD that is a second old.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Reversible
from typing import Any, NamedTuple

from ...errors import UnreadableFile
from ...model.event import parse_json_object
from ...model.filters import Status
from ...model.ids import SEQ_MAX, EventName, event_file_name
from ...model.validation import is_node, moves_head
from .. import layout, lease
from ..fingerprint import find_fingerprint
from .event_log import LogNames


class Head(NamedTuple):
    """The id of HEAD. None means an empty tree."""

    event_id: str | None


def find_head(events_fd: int, state: Mapping[str, Any], names: LogNames, max_bytes: int | None = None) -> Head:
    """Return HEAD. Raises LargeFile instead of reading an event of more than `max_bytes`.

    In a log without `leaf_event_id`, it is the last node; see openhands-sdk 1.58, state.py.
    """
    leaf = state.get("leaf_event_id")
    if isinstance(leaf, str) and leaf in names:
        return Head(leaf)
    if leaf is None and state.get("head_is_empty"):
        return Head(None)
    return _find_last_node(events_fd, names, max_bytes)


def _find_last_node(events_fd: int, names: LogNames, max_bytes: int | None) -> Head:
    for name in reversed(names):
        event = _read_event(events_fd, name, max_bytes)
        if event is not None and is_node(event):
            return Head(name.event_id)
    return Head(None)


def find_moved_head(
    fd: int,
    events_fd: int,
    state: Mapping[str, Any],
    state_ns: int,
    names: Reversible[EventName],
    max_bytes: int | None = None,
) -> Head | None:
    """Return the HEAD that base_state.json should name but does not yet, or None if it is current.

    An append writes the event first and HEAD afterwards, so HEAD is behind during an append and after a crash. The
    correct HEAD is found along the parent chain, through events that the lease names (`head_from`) and through events
    whose files are newer than base_state.json, which was written at `state_ns`. A navigation writes base_state.json
    later than all events, so it is never undone. Raises LargeFile as `find_head`.
    """
    leaf = state.get("leaf_event_id")
    if not isinstance(leaf, str):
        return None
    held = lease.read_lease(fd)
    head_from = SEQ_MAX + 1 if held is None or held.head_from is None else held.head_from
    newer: list[EventName] = []
    for name in reversed(names):
        if name.event_id == leaf:
            break  # the children of an event come after it in the log
        if name.seq < head_from and _find_mtime_ns(events_fd, name) < state_ns:
            break
        newer.append(name)
    found = leaf
    for name in reversed(newer):
        event = _read_event(events_fd, name, max_bytes)
        if event is not None and moves_head(event) and event.get("parent_id") == found:
            found = name.event_id
    return Head(found) if found != leaf else None


def _find_mtime_ns(events_fd: int, name: EventName) -> int:
    return os.stat(event_file_name(name), dir_fd=events_fd, follow_symlinks=False).st_mtime_ns


def find_missing_head(
    fd: int, events_fd: int, state: Mapping[str, Any], names: LogNames, *, same_lease: bool
) -> Head | None:
    """Return the HEAD that base_state.json lacks because of a crash, or None if HEAD is current.

    The caller holds both locks. With `same_lease`, only events that are newer than the current lease count, such as
    those of another worker of this server.
    """
    newest_ns = os.stat(layout.STATE, dir_fd=fd, follow_symlinks=False).st_mtime_ns
    claimed = find_fingerprint(layout.LAST_LEASE, fd) if same_lease else None
    if claimed is not None:
        newest_ns = max(newest_ns, claimed.mtime_ns)
    return find_moved_head(fd, events_fd, state, newest_ns, names)


def may_be_behind(fd: int, state: Mapping[str, Any]) -> bool:
    """Whether HEAD may be behind the log: the conversation is running, or its owner has not released it or died."""
    owner = lease.read_lease(fd)
    return state.get("execution_status") == Status.RUNNING or (owner is not None and not owner.released)


def _read_event(events_fd: int, name: EventName, max_bytes: int | None) -> dict[str, Any] | None:
    try:
        return parse_json_object(layout.read_with_status(event_file_name(name), events_fd, max_bytes)[0])
    except (FileNotFoundError, UnreadableFile):
        return None
