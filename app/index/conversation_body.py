"""The JSON of a ConversationInfo in a list: the stored body and the fields that depend on other rows."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import ColumnElement, ScalarSelect, Select, func, literal_column, select

from app.index.tables import conversation, conversation_info
from app.model.ids import dashed

_NOBODY = b',"owner":null,"sub_conversation_ids":[]}'

_children = conversation.alias("child")


def _sub_conversations() -> ScalarSelect[str]:
    """Return a column with the comma-separated uuids of a row's children, oldest first."""
    ordered = (
        select(_children.c.uuid)
        .where(_children.c.parent == conversation.c.uuid)
        .order_by(_children.c.created_at, _children.c.uuid)
        .correlate(conversation)
        .subquery()
    )
    comma: Any = literal_column("','")
    return select(func.aggregate_strings(ordered.c.uuid, comma)).scalar_subquery()


COLUMNS: tuple[ColumnElement[Any], ...] = (
    conversation_info.c.body,
    conversation.c.owner,
    _sub_conversations().label("children"),
)
"""The arguments of `compose_info_body` as columns, in the same order."""


def select_info(*columns: ColumnElement[Any]) -> Select[*tuple[Any, ...]]:
    """Return a SELECT of these columns of `conversation`, followed by `COLUMNS`."""
    return select(*columns, *COLUMNS).join_from(
        conversation, conversation_info, conversation_info.c.conversation == conversation.c.id
    )


def compose_info_body(body: bytes, owner: str | None, children: str | None) -> bytes:
    """Return a body with `owner` and `sub_conversation_ids` added. `children` are uuids separated by commas."""
    if not (owner or children):
        return body[:-1] + _NOBODY
    ids = [dashed(child) for child in children.split(",")] if children else []
    return body[:-1] + b"," + orjson.dumps({"owner": owner, "sub_conversation_ids": ids})[1:]
