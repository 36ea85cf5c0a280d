"""Conversations as rows of the list, and as the facts of a conversation's page. The facts need its ConversationInfo."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson
from markupsafe import Markup

from ..index.conversation_list import Family
from ..model.hits import Hit

_WORST_FIRST = ("error", "stuck", "waiting_for_confirmation", "running", "deleting", "paused", "idle", "finished")
_STATUS_SHAPES = {
    "waiting_for_confirmation": ("waiting", "waiting for you"),
    "stuck": ("error", "stuck"),
    "deleting": ("paused", "deleting"),
}


def show_status(status: str) -> tuple[str, str]:
    """Return (the shape, the words) for a status."""
    return _STATUS_SHAPES.get(status, (status, status))


@dataclass(slots=True)
class Children:
    """The children of a row: their number, the shape and words of the worst status, and the cost with theirs."""

    number: int
    shape: str
    status: str
    cost: float | None


@dataclass(slots=True)
class Row:
    """The fields of a conversation that the page shows. `cost` is None if no cost was recorded.

    `prompt_tokens`, `cached_tokens`, `children`, `owner` and `forked_from` are set only on a conversation's own page,
    `hits`, `family` and `marked`, the name with marked matches, only in the list.
    """

    id: str
    title: str
    preview: str
    status: str
    shape: str
    workspace: str
    model: str
    tags: list[tuple[str, str]]
    cost: float | None
    events: int
    errors: int
    tokens: int
    created_at: str
    updated_at: str
    archived: bool
    pinned: bool
    unreadable: str
    parent: str
    prompt_tokens: int = 0
    cached_tokens: int = 0
    children: list[str] = field(default_factory=list)
    owner: str = ""
    forked_from: str = ""
    hits: list[Hit] = field(default_factory=list)
    family: Children | None = None
    marked: Markup | None = None

    @property
    def name(self) -> str:
        """The title, or else the beginning of the user's first message, or else the beginning of the id."""
        return self.title or self.preview or self.id[:8]

    def add_family(self, family: Family) -> None:
        """Set `family` from the children in the index."""
        worst = min(family.statuses, key=lambda one: _WORST_FIRST.index(one) if one in _WORST_FIRST else -1)
        cost = (self.cost or 0.0) + family.cost if family.cost else None
        self.family = Children(family.number, *show_status(worst), cost)


def make_list_row(short: bytes) -> Row:
    """Return the row of a conversation in the view ROW."""
    row: dict[str, Any] = orjson.loads(short)
    shape, words = show_status(row["status"])
    return Row(
        id=row["id"],
        title=(row["title"] or "").strip(),
        preview=row["preview"] or "",
        status=words,
        shape=shape,
        workspace=row["workspace"] or "",
        model=row["model"] or "",
        tags=list(row["tags"].items()),
        cost=row["cost"] if row["cost"] or row["tokens"] else None,
        events=row["event_count"],
        errors=row["error_count"],
        tokens=row["tokens"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        archived=row["archived"],
        pinned=row["pinned"],
        unreadable=row["unreadable"] or "",
        parent=row["parent"] or "",
    )


def make_row(body: bytes) -> Row:
    """Return the row of a ConversationInfo."""
    info: dict[str, Any] = orjson.loads(body)
    agent, workspace = _dict(info.get("agent")), _dict(info.get("workspace"))
    shape, words = show_status(str(info.get("execution_status") or "idle"))
    usages = [one for one in _dict(_dict(info.get("stats")).get("usage_to_metrics")).values() if isinstance(one, dict)]
    tokens = [_dict(usage.get("accumulated_token_usage")) for usage in usages]
    costs = [usage["accumulated_cost"] for usage in usages if isinstance(usage.get("accumulated_cost"), int | float)]
    prompt, completion, cached = (
        sum(_int(one.get(name)) for one in tokens)
        for name in ("prompt_tokens", "completion_tokens", "cache_read_tokens")
    )
    model = info.get("current_model_id") or _dict(agent.get("llm")).get("model") or ""
    return Row(
        id=str(info.get("id")),
        title=str(info.get("title") or "").strip(),
        preview=str(info.get("preview") or ""),
        status=words,
        shape=shape,
        workspace=_text(workspace.get("working_dir")),
        model=_text(model),
        tags=[(str(key), str(value)) for key, value in _dict(info.get("tags")).items()],
        cost=sum(costs) if any(costs) or prompt else None,
        events=_int(info.get("event_count")),
        errors=0,
        tokens=prompt + completion,
        created_at=str(info.get("created_at") or ""),
        updated_at=str(info.get("updated_at") or ""),
        archived=bool(info.get("archived")),
        pinned=bool(info.get("pinned")),
        unreadable=_text(info.get("unreadable")),
        parent=_text(info.get("parent_conversation_id")),
        prompt_tokens=prompt,
        cached_tokens=cached,
        children=[str(one) for name in ("sub_conversation_ids", "subagent_ids") for one in info.get(name) or []],
        owner=_text(info.get("owner")),
        forked_from=_text(info.get("forked_from_conversation_id")),
    )


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
