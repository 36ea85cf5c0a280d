"""The JSON of a ConversationInfo in a list: the stored body and the fields that depend on other rows."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import ColumnElement, ScalarSelect, Select, case, func, literal_column, select

from app.index.tables import conversation, conversation_info
from app.model.ids import dashed

_NOBODY = b',"owner":null,"sub_conversation_ids":[],"subagent_ids":[]}'

_children = conversation.alias("child")


def _sub_conversations() -> ScalarSelect[str]:
    """Return a column with the comma-separated uuids of a row's children, oldest first. A sub-agent's ends in *."""
    starred = _children.c.uuid.op("||")(case((_children.c.archived >= literal_column("2"), "*"), else_=""))
    ordered = (
        select(starred.label("uuid"))
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
    """Return a body with `owner`, `sub_conversation_ids` and `subagent_ids` added; `children` are the row's."""
    if not (owner or children):
        return body[:-1] + _NOBODY
    ids = children.split(",") if children else []
    more = {
        "owner": owner,
        "sub_conversation_ids": [dashed(child) for child in ids if not child.endswith("*")],
        "subagent_ids": [dashed(child[:-1]) for child in ids if child.endswith("*")],
    }
    return body[:-1] + b"," + orjson.dumps(more)[1:]
