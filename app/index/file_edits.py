"""The events that changed a file, of all conversations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    and_,
    bindparam,
    select,
)

from ..model.filters import ConversationFilter
from ..model.ids import ConversationId, dashed
from ..model.times import format_us
from . import filter_sql
from .connections import ReadConnection
from .dialect import Sql, compiled, is_any_of
from .tables import conversation, conversation_info, edit, event

_ANY_CONVERSATION = ConversationFilter(archived=None, subagents=None)


@lru_cache(maxsize=64)
def _edits_sql(names: tuple[str, ...]) -> Sql:
    """Return the statement for the latest edits of files, in conversations under these conditions."""
    key = ("conversation", "seq", "event_id")
    return compiled(
        select(
            conversation.c.uuid,
            conversation.c.title,
            conversation_info.c.preview,
            edit.c.seq,
            edit.c.event_id,
            event.c.timestamp,
            edit.c.path,
        )
        .join_from(edit, event, and_(*(edit.c[name] == event.c[name] for name in key)))
        .join(conversation, conversation.c.id == edit.c.conversation)
        .join(conversation_info, conversation_info.c.conversation == edit.c.conversation, isouter=True)
        .where(is_any_of(edit.c.path, "paths"), *filter_sql.clauses(names, filter_sql.unindexed))
        .order_by(event.c.timestamp.desc().nulls_last(), edit.c.conversation.desc(), edit.c.seq.desc())
        .limit(bindparam("row_limit"))
    )


class Edit(NamedTuple):
    """An event that changed a file, with what lists show of its conversation."""

    conversation_id: ConversationId
    title: str | None
    preview: str | None
    seq: int
    event_id: str
    time_us: int | None
    path: str

    def as_json(self) -> dict[str, Any]:
        """Return the JSON that the API answers. `link` is an address of the page."""
        fields = self._asdict()
        time_us = fields.pop("time_us")
        return fields | {
            "conversation_id": dashed(self.conversation_id),
            "timestamp": None if time_us is None else format_us(time_us),
            "link": f"/c/{self.conversation_id}#e{self.seq}",
        }


async def list_edits(
    index: ReadConnection, paths: Sequence[str], limit: int, asked: ConversationFilter = _ANY_CONVERSATION
) -> list[Edit]:
    """Return the events that changed a file that is called by one of these paths, the latest first.

    Only those of conversations that match the filter.
    """
    names, values = filter_sql.compile_filter(asked)
    values |= {"paths": orjson.dumps(list(paths)).decode(), "row_limit": limit}
    rows = await index.fetch_all(_edits_sql(names), values)
    return [Edit(*row) for row in rows]
