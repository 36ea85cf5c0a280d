"""Copying the event rows of a conversation to another one, without reading a file: for forks.

All of it is done by the database: a row that goes through Python costs several times as much.
"""

from __future__ import annotations

from ..model.ids import ConversationId
from . import log_blocks, messages
from .activity import count_more
from .connections import WriteConnection
from .dialect import Sql

_KEYS_SQL = Sql(
    "SELECT source.id, target.id FROM conversation AS source, conversation AS target"
    " WHERE source.uuid = :source AND target.uuid = :target",
    {},
)
_HAS_EVENTS_SQL = Sql(
    "SELECT 1 FROM event WHERE conversation = :target AND seq BETWEEN :first AND :last LIMIT 1",
    {},
)
_COPY_EVENTS_SQL = Sql(
    "INSERT INTO event (conversation, seq, event_id, kind, source, timestamp, tool, number)"
    " SELECT :target, seq, event_id, kind, source, timestamp, tool, number FROM event"
    " WHERE conversation = :source AND seq BETWEEN :first AND :last AND unreadable IS NULL",
    {},
)
_COPY_EDITS_SQL = Sql(
    "INSERT INTO edit (conversation, seq, event_id, path) SELECT :target, seq, event_id, path FROM edit"
    " WHERE conversation = :source AND seq BETWEEN :first AND :last AND EXISTS (SELECT 1 FROM event"
    " WHERE event.conversation = :target AND event.seq = edit.seq AND event.event_id = edit.event_id)",
    {},
)


def copy_events(
    index: WriteConnection, source: ConversationId, target: ConversationId, *, first: int, last: int
) -> None:
    """Copy the rows and texts of readable events between two sequence numbers to another conversation. Reads no file.

    Nothing is copied if one of the conversations is not in the index, or if the other one has rows there already. The
    caller reads the files of the events that then have no row.
    """
    for source_key, key in index.fetch_all(_KEYS_SQL, {"source": source, "target": target}):
        part: dict[str, object] = {"source": source_key, "target": key, "first": first, "last": last}
        if index.fetch_all(_HAS_EVENTS_SQL, part) or not messages.have_room(index, source_key, key, first, last):
            continue
        index.fetch_all(_COPY_EVENTS_SQL, part)
        index.fetch_all(_COPY_EDITS_SQL, part)
        messages.copy_messages(index, source_key, key, first, last)
        count_more(index, key, first, last)
        log_blocks.copy_counts(index, source_key, key, first, last)
