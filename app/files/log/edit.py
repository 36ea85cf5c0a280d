"""An edit of a conversation: what one write changes, its events made ready, and the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ...errors import EventExists, EventNotFound, InvalidEvent
from ...model.conversation import ConversationFiles
from ...model.event import EventFacts, EventRow, event_facts, parse_json_object
from ...model.filters import Status
from ...model.validation import ROOT, check_tags, dump_event, find_tags, moves_head
from ..metadata_reader import Reader
from .event_log import LogNames
from .head import Head

TagEdit = Callable[[Mapping[str, str]], Mapping[str, str]]
"""Takes the tags of a conversation and returns the new tags."""


_NOTHING: Mapping[str, Any] = {}


class Edit(NamedTuple):
    """One write. It appends events, then moves HEAD, then sets fields of the three files.

    `tags` go into two files: meta.json, and base_state.json, from which answers take them.
    """

    events: Sequence[Mapping[str, Any]] = ()
    head: Head | None = None
    state: Mapping[str, Any] = _NOTHING
    meta: Mapping[str, Any] = _NOTHING
    sidecar: Mapping[str, Any] = _NOTHING
    tags: TagEdit | None = None
    made_ids: frozenset[str] = frozenset()
    """The ids of events that were made up for this edit, so that no log has them."""
    known: Mapping[str, int | None] = _NOTHING
    """What the index knows of ids in this edit: the numbers of events, and None for an id that the log lacks."""
    is_message: bool = False
    """Whether an event is a message of the user. It makes a finished or stuck conversation idle, as in agent-server."""

    def list_ids(self) -> list[str]:
        """Return the ids for which the log is searched: of events, parents and HEAD, but not the ids made up for it."""
        named = [event.get(name) for event in self.events for name in ("id", "parent_id")]
        named += [self.head.event_id] if self.head else []
        ids = (one for one in named if isinstance(one, str) and one != ROOT and one not in self.made_ids)
        return list(dict.fromkeys(ids))

    def resolve(self, files: ConversationFiles) -> Edit:
        """Return the edit with the tags and the status that follow from the files. The caller holds the locks.

        Raises:
            InvalidConversation: a tag is invalid.
        """
        if self.is_message and (files.state or {}).get("execution_status") in (Status.FINISHED, Status.STUCK):
            return self._replace(state={**self.state, "execution_status": Status.IDLE.value}, is_message=False)
        if self.tags is None:
            return self
        tags = check_tags(self.tags(find_tags(files)))
        return self._replace(state={**self.state, "tags": tags}, meta={**self.meta, "tags": tags}, tags=None)


class Written(NamedTuple):
    """The result of a write: the rows of the new events, and the files from which the conversation's row is made.

    `reread` means that another program had changed the files before, so the index must read them. `warning` names a
    step that failed after the events were durable; the next opening repeats that step.
    """

    events: list[EventRow]
    files: ConversationFiles
    signature: bytes
    reread: bool = False
    warning: str | None = None

    def with_warning(self, warning: str) -> Written:
        """Return a copy with a further warning."""
        return self._replace(warning="; ".join(filter(None, (self.warning, warning))))


class PreparedEvent(NamedTuple):
    """An event that is ready to be written. `written` is the object in `raw`. `moves`: it becomes the HEAD."""

    event_id: str
    raw: bytes
    facts: EventFacts
    written: dict[str, Any]
    moves: bool


def prepare_events(
    change: Edit, names: LogNames, find_head: Callable[[], Head], reader: Reader, directory: str
) -> list[PreparedEvent]:
    """Return the events of an edit with their parents. `find_head` is called only if there are events.

    Raises:
        EventExists, InvalidEvent, EventNotFound: the edit is invalid.
    """
    seen: set[str] = set()
    head = find_head() if change.events else None
    prepared = []
    for event in change.events:
        event_id, parent = event["id"], event.get("parent_id")
        if event_id in seen or (event_id not in change.made_ids and event_id in names):
            raise EventExists(f"conversation {directory} already has an event {event_id}")
        if parent is not None and parent != ROOT and parent not in seen and parent not in names:
            raise InvalidEvent(f"event {event_id}: its parent {parent} is not an event of this conversation")
        if parent is None:
            parent = head.event_id if head else None
            if parent is None and (len(names) or seen):
                parent = ROOT
        raw = dump_event(with_parent(event, parent))
        written = parse_json_object(raw)
        facts = event_facts(written, reader.zone, tools=reader.tools)
        moves = moves_head(event)
        prepared.append(PreparedEvent(event_id, raw, facts, written, moves))
        seen.add(event_id)
        head = Head(event_id) if moves else head
    if change.head and change.head.event_id is not None and change.head.event_id not in names:
        raise EventNotFound(f"conversation {directory} has no event {change.head.event_id[:64]!r}")
    return prepared


_FIRST_FIELDS = dict.fromkeys(("id", "timestamp", "source", "parent_id"))


def with_parent(event: Mapping[str, Any], parent: str | None) -> Mapping[str, Any]:
    """Return an event with its parent as the fourth field, as in agent-server's files. None adds no parent."""
    if parent is None or event.get("parent_id") == parent:
        return event
    return {**_FIRST_FIELDS, **event, "parent_id": parent}
