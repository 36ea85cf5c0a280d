"""Copying the event rows of a conversation to another one, without reading a file: for forks."""

from __future__ import annotations

from ..model.ids import ConversationId
from . import log_blocks
from .activity import add_activity
from .connections import WriteConnection
from .dialect import Sql
from .messages import MessageText, add_messages

_KEYS_SQL = Sql(
    "SELECT source.id, target.id FROM conversation AS source, conversation AS target"
    " WHERE source.uuid = :source AND target.uuid = :target",
    {},
)
_HERE = "event.conversation = :source AND event.seq BETWEEN :first AND :last AND event.unreadable IS NULL"
_OF_EVENT = "{0}.conversation = event.conversation AND {0}.seq = event.seq AND {0}.event_id = event.event_id"
_COPY_EVENTS_SQL = Sql(
    "INSERT INTO event (conversation, seq, event_id, kind, source, timestamp, tool, number)"  # noqa: S608
    f" SELECT :target, seq, event_id, kind, source, timestamp, tool, number FROM event WHERE {_HERE}"
    " ON CONFLICT DO NOTHING"
    " RETURNING timestamp, event_id, seq, kind, source, tool",
    {},
)
_COPY_EDITS_SQL = Sql(
    "INSERT INTO edit (conversation, seq, event_id, path) SELECT :target, edit.seq, edit.event_id, edit.path"  # noqa: S608
    f" FROM event JOIN edit ON {_OF_EVENT.format('edit')} WHERE {_HERE} ON CONFLICT DO NOTHING",
    {},
)
_TEXTS_SQL = Sql(
    "SELECT message.seq, message.event_id, event.timestamp, message.text, message.tool_text"  # noqa: S608
    f" FROM event JOIN message ON {_OF_EVENT.format('message')} WHERE {_HERE}",
    {},
)


def copy_events(
    index: WriteConnection, source: ConversationId, target: ConversationId, *, first: int, last: int
) -> None:
    """Copy the rows and texts of readable events between two sequence numbers to another conversation. Reads no file.

    Nothing is copied if one of the conversations is not in the index.
    """
    for source_key, key in index.fetch_all(_KEYS_SQL, {"source": source, "target": target}):
        here: dict[str, object] = {"source": source_key, "first": first, "last": last}
        copied = index.fetch_all(_COPY_EVENTS_SQL, here | {"target": key})
        add_activity(index, [(key, time_us) for time_us, *_ in copied])
        log_blocks.add_counts(index, [log_blocks.Counted._make((key, *row[2:], None)) for row in copied])
        index.fetch_all(_COPY_EDITS_SQL, here | {"target": key})
        fresh = {(seq, event_id) for _, event_id, seq, *_ in copied}  # others got their texts with their rows
        add_messages(index, [MessageText(key, *row) for row in index.fetch_all(_TEXTS_SQL, here) if row[:2] in fresh])
