"""Erasing the texts of one event in its file. The event keeps its number, id, time and parent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..errors import EventNotFound, UnreadableFile
from ..locks import hold_lock
from ..model.erased_event import erase_texts, list_erased_texts
from ..model.event import STATE_UPDATE, parse_json_object
from ..model.ids import EventName, event_file_name
from ..model.validation import dump_event
from . import durable, layout, lease

_META_TEXTS = ("title", "initial_message", "prompt")
_SHARED = frozenset({"SystemPromptEvent", STATE_UPDATE})


def erase_event(root: Path, directory: str, instance: str, event_id: str, *, force: bool = False) -> list[str]:
    """Replace the texts of an event, durably, and return the texts that it had.

    Raises:
        EventNotFound: the conversation has no readable event with this id.
        ConversationOwned: another owner is alive; `force` takes over.
        LockTimeout: another program kept a lock.
        DiskFull, WriteFailed: writing failed; the event is unchanged.
    """
    claimed = lease.claim(root, directory, instance, force=force)
    with (
        lease.open_to_write(root, directory) as fd,
        layout.open_directory(layout.EVENTS, fd) as events_fd,
        hold_lock(layout.LOG_LOCK, layout.LOG_LOCK_TIMEOUT_S, dir_fd=events_fd),
        lease.hold_lease(root, directory, fd, claimed.lease),
    ):
        try:
            name = _find_name(directory, events_fd, event_id)
            event = parse_json_object(layout.read_file(event_file_name(name), events_fd)[0])
            durable.replace(events_fd, event_file_name(name), dump_event(erase_texts(event)))
            return list(list_erased_texts(event))
        except UnreadableFile as error:
            raise EventNotFound(
                f"event {event_id[:64]!r} of conversation {directory} is unreadable: {error}"
            ) from error
        finally:
            lease.undo_claim_locked(root, fd, claimed)


def _find_name(directory: str, events_fd: int, event_id: str) -> EventName:
    for name in layout.list_event_names(events_fd):
        if name.event_id == event_id:
            return name
    raise EventNotFound(f"conversation {directory} has no event {event_id[:64]!r}")


def list_texts(directory: Path) -> Iterator[str]:
    """Yield the texts of all readable events below a directory, those of sub-agents too, and of each meta.json.

    System prompts and states are left out, because many conversations share their texts.
    """
    for file in sorted(directory.rglob("*.json")):
        try:
            found = parse_json_object(file.read_bytes())
        except (OSError, UnreadableFile):
            continue
        if file.name == layout.META:
            yield from (text for name in _META_TEXTS if isinstance(text := found.get(name), str))
        elif file.parent.name == layout.EVENTS and found.get("kind") not in _SHARED:
            yield from list_erased_texts(found)
