"""The JSON of a conversation in a list: its ConversationInfo, or a short row made only from columns.

A ConversationInfo is the stored body, the fields that it shares with other conversations, and the fields that depend on
other rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from sqlalchemy import ColumnElement, FromClause, ScalarSelect, Select, case, func, literal_column, select

from ..model.conversation import join_bodies
from ..model.ids import ConversationId, dashed
from ..model.page import View
from ..model.times import format_us
from .dialect import as_json_object
from .tables import conversation, conversation_info, conversation_tag, event, shared_info

_NOBODY = b',"owner":null,"sub_conversation_ids":[],"subagent_ids":[]}'

_children = conversation.alias("child")


def _sub_conversations(row: FromClause) -> ScalarSelect[str]:
    """Return a column with the comma-separated uuids of a row's children, oldest first. A sub-agent's ends in *."""
    starred = _children.c.uuid.op("||")(case((_children.c.archived >= literal_column("2"), "*"), else_=""))
    ordered = (
        select(starred.label("uuid"))
        .where(_children.c.parent == row.c.uuid)
        .order_by(_children.c.created_at, _children.c.uuid)
        .correlate(row)
        .subquery()
    )
    comma: Any = literal_column("','")
    return select(func.aggregate_strings(ordered.c.uuid, comma)).scalar_subquery()


def compose_info_body(body: bytes, shared: bytes | None, owner: str | None, children: str | None) -> bytes:
    """Return a body with the `shared` fields and `owner`, `sub_conversation_ids` and `subagent_ids` added.

    `children` are the row's.
    """
    if not (owner or children):
        return b"".join((body[:-1], b",", shared[1:-1], _NOBODY)) if shared else body[:-1] + _NOBODY
    body = join_bodies(body, shared)
    ids = children.split(",") if children else []
    more = {
        "owner": owner,
        "sub_conversation_ids": [dashed(child) for child in ids if not child.endswith("*")],
        "subagent_ids": [dashed(child[:-1]) for child in ids if child.endswith("*")],
    }
    return body[:-1] + b"," + orjson.dumps(more)[1:]


_ERRORS: ColumnElement[bool] = literal_column("event.kind IN ('AgentErrorEvent', 'ConversationErrorEvent')")
"""The condition of the database index `ix_event_errors`, in its own words, so that SQLite uses it."""


def _tags(row: FromClause) -> ColumnElement[str]:
    """Return a column with a row's tags as a JSON object."""
    mine = select().select_from(conversation_tag).where(conversation_tag.c.conversation == row.c.id)
    return as_json_object(conversation_tag.c.key, conversation_tag.c.value, mine)


def _errors(row: FromClause) -> ScalarSelect[int]:
    return (select(func.count()).select_from(event).where(event.c.conversation == row.c.id, _ERRORS)).scalar_subquery()


def _children_count(row: FromClause) -> ScalarSelect[int]:
    return select(func.count()).where(_children.c.parent == row.c.uuid).scalar_subquery()


_ROW_NAMES = (
    "title", "preview", "status", "workspace", "model", "tags", "cost", "tokens", "event_count", "error_count",
    "children", "created_at", "updated_at", "last_event_at", "archived", "pinned", "unreadable", "owner", "parent",
    "forked_from",
)  # fmt: skip


def _row_columns(row: FromClause) -> list[ColumnElement[Any]]:
    more: dict[str, ColumnElement[Any]] = {
        "preview": conversation_info.c.preview,
        "tags": _tags(row),
        "error_count": _errors(row),
        "children": _children_count(row),
        "archived": row.c.archived % literal_column("2"),
    }
    return [(row.c[name] if name not in more else more[name]).label(f"row_{name}") for name in _ROW_NAMES]


def columns_of(view: View, row: FromClause = conversation) -> tuple[ColumnElement[Any], ...]:
    """Return the columns that `composer_of(view)` takes. The first one is null only for a row without a body.

    `row` is the table `conversation`, or a subquery of it.
    """
    if view is View.ROW:
        return (row.c.uuid.label("row_uuid"), *_row_columns(row))
    return (
        conversation_info.c.body,
        shared_info.c.body.label("shared"),
        row.c.owner,
        _sub_conversations(row).label("children"),
    )


def select_view(view: View, *columns: ColumnElement[Any], row: FromClause = conversation) -> Select[*tuple[Any, ...]]:
    """Return a SELECT of these columns of `row`, followed by `columns_of(view, row)`."""
    selected = select(*columns, *columns_of(view, row)).join_from(
        row, conversation_info, conversation_info.c.conversation == row.c.id
    )
    if view is View.ROW:
        return selected
    return selected.join(shared_info, shared_info.c.hash == conversation_info.c.shared, isouter=True)


def composer_of(view: View) -> Callable[..., bytes]:
    """Return the function that makes the JSON of a conversation; its arguments are the values of `columns_of(view)`."""
    return compose_info_body if view is View.FULL else _compose_row


def _compose_row(uuid: str, *values: Any) -> bytes:  # noqa: ANN401
    row = dict(zip(_ROW_NAMES, values, strict=True))
    return orjson.dumps(
        {"id": dashed(ConversationId(uuid))}
        | row
        | {name: format_us(row[name]) for name in ("created_at", "updated_at", "last_event_at")}
        | {name: bool(row[name]) for name in ("archived", "pinned")}
        | {name: row[name] and dashed(ConversationId(row[name])) for name in ("parent", "forked_from")}
        | {"tags": orjson.loads(row["tags"])}
    )
