"""Conversations of every kind, and a plain reader and filter of their files with nothing of the program."""

from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from app.model.filters import ConversationFilter, Status, Tag
from app.model.page import SortOrder
from tests.builders import BEGIN, make_conversation, make_event, make_id

NUMBER = 60
TITLES = [
    None,
    "Fix the parser",
    "fix THE lexer",
    "École à Paris",
    "ecole",
    "100% done_",
    "a",
    "日本語のタイトル",
    "Ünïcode",
]
WORKSPACES = ["/a", "/a/", "/a/b", "/a-b", "/a/e\u0301", "/a/\u00e9/x", "/", "C:\\d", "."]
ABSENT = make_id(999)
"""The id of a parent that is not there."""

MODELS = ["x/one", "x/two"]
KINDS = ["Agent", "ACPAgent"]
AGENTS = [
    *({"kind": "Agent", "llm": {"model": model}, "tools": []} for model in MODELS),
    *({"kind": "ACPAgent", "acp_command": ["acp"], "acp_model": model} for model in (*MODELS, None)),
]
TAGS = [Tag("area", "store"), Tag("area", "api"), Tag("area"), Tag("done", ""), Tag("done"), Tag("nobody")]


@dataclass(frozen=True)
class Plain:
    """What a plain reader of the files knows of a conversation."""

    id: str
    status: str
    title: str | None
    tags: dict[str, str]
    workspace: str
    model: str | None
    agent_kind: str
    parent: str | None
    orphaned: bool
    forked_from: str | None
    created_at: int
    updated_at: int
    last_event_at: int
    cost: float
    event_count: int
    event_times: tuple[int, ...]
    archived: bool
    unreadable: bool
    openable: bool
    pinned: bool
    owned: bool


def make_store(root: Path) -> None:
    """Write conversations of every kind, the same each time."""
    random = Random(5)  # noqa: S311 - made-up data

    def some(values: list[Any]) -> Any:
        return random.choice(values)

    for number in range(NUMBER):
        created = BEGIN - timedelta(days=random.randrange(70), seconds=random.randrange(5))
        tags = random.choice([{}, {"area": "store"}, {"area": "api", "done": ""}, {"done": "x"}])
        events = [
            make_event(i, timestamp=(created + timedelta(seconds=i)).replace(tzinfo=None).isoformat())
            for i in range(some([0, 1, 3]))
        ]
        path = make_conversation(
            root,
            number,
            meta={
                "title": some(TITLES),
                "created_at": created.isoformat(),
                "updated_at": (created + timedelta(hours=some([1, 2, 50]))).isoformat(),
                "parent_conversation_id": some([None, None, make_id(0), make_id(1), ABSENT]),
                "forked_from_conversation_id": some([None, None, make_id(2)]),
            },
            state={
                "agent": some(AGENTS),
                "workspace": {"kind": "LocalWorkspace", "working_dir": some(WORKSPACES)},
                "execution_status": some(list(Status)).value,
                "stats": {"usage_to_metrics": {"a": {"accumulated_cost": some([0.0, 0.25, 1.5])}}},
                "tags": tags,
            },
            events=events,
        )  # fmt: skip
        if number % 5 == 0:
            (path / "convstore.json").write_text(json.dumps({"archived": True, "pinned": number % 2 == 0}))
        if number % 7 == 0:
            lease = {"owner_instance_id": "x", "generation": 1, "expires_at": time.time() + some([-99, 9999])}
            (path / "owner_lease.json").write_text(json.dumps(lease | {"owner_host": "elsewhere", "owner_pid": 1}))
        if number % 11 == 0:
            (path / "base_state.json").write_text("{")


def read_plain(path: Path) -> Plain:
    """Read a conversation with nothing of the program."""
    meta = json.loads((path / "meta.json").read_bytes())
    try:
        state = json.loads((path / "base_state.json").read_bytes())
    except ValueError:
        state = {}
    own = path / "convstore.json"
    lease = path / "owner_lease.json"
    events = [json.loads(event.read_bytes()) for event in sorted((path / "events").iterdir())]
    created = micros(meta["created_at"])
    last = max((micros(event["timestamp"]) for event in events), default=created)
    agent = state.get("agent", {"kind": "Agent", "llm": {}})
    spent = state.get("stats", {"usage_to_metrics": {}})["usage_to_metrics"]
    return Plain(
        id=path.name,
        status=state.get("execution_status", "error"),
        title=meta["title"],
        tags=state.get("tags", meta["tags"]),
        workspace=plain_path(state.get("workspace", {"working_dir": "."})["working_dir"]),
        model=agent["llm"].get("model") if "llm" in agent else agent["acp_model"],
        agent_kind=agent["kind"],
        parent=meta["parent_conversation_id"],
        orphaned=meta["parent_conversation_id"] == ABSENT,
        forked_from=meta["forked_from_conversation_id"],
        created_at=created,
        updated_at=micros(meta["updated_at"]),
        last_event_at=last,
        cost=sum(usage["accumulated_cost"] for usage in spent.values()),
        event_count=len(events),
        event_times=tuple(micros(event["timestamp"]) for event in events),
        archived=own.exists() and json.loads(own.read_bytes())["archived"],
        unreadable=not state,
        openable=bool(state),
        pinned=own.exists() and json.loads(own.read_bytes()).get("pinned", False),
        owned=lease.exists() and json.loads(lease.read_bytes())["expires_at"] > time.time(),
    )


def micros(text: str) -> int:
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def plain_fold(title: str) -> str:
    letters = unicodedata.normalize("NFKD", title.replace("\0", " ").casefold())
    return "".join(letter for letter in letters if unicodedata.combining(letter) != 230)


def admits(one: Plain, asked: ConversationFilter) -> bool:
    """Whether a filter admits a conversation."""
    part = plain_fold(asked.title_contains or "")
    return all(
        (
            not asked.statuses or one.status in [status.value for status in asked.statuses],
            not part or (one.title is not None and part in plain_fold(one.title)),
            all(tag.is_one_of(one.tags) for tag in asked.tags),
            not asked.workspaces or one.workspace in map(plain_path, asked.workspaces),
            asked.workspace_under is None or is_under(one.workspace, plain_path(asked.workspace_under)),
            asked.orphaned is None or asked.orphaned == one.orphaned,
            asked.model is None or asked.model == one.model,
            asked.agent_kind in (None, one.agent_kind),
            asked.parent is None or asked.parent == one.parent,
            asked.top_level is None or asked.top_level == (one.parent is None),
            asked.forked_from is None or asked.forked_from == one.forked_from,
            within(one.created_at, asked.created_at_gte_us, asked.created_at_lt_us),
            within(one.updated_at, asked.updated_at_gte_us, asked.updated_at_lt_us),
            within(one.last_event_at, asked.last_event_at_gte_us, asked.last_event_at_lt_us),
            (asked.event_at_gte_us, asked.event_at_lt_us) == (None, None)
            or any(within(time, asked.event_at_gte_us, asked.event_at_lt_us) for time in one.event_times),
            within(one.cost, asked.cost_gte, asked.cost_lt),
            within(one.event_count, asked.event_count_gte, asked.event_count_lt),
            asked.archived in (None, one.archived),
            asked.unreadable in (None, one.unreadable),
            asked.openable in (None, one.openable),
            asked.pinned in (None, one.pinned),
            asked.subagents is not True,  # there are none
            asked.owned in (None, one.owned),
        )
    )


def plain_path(path: str) -> str:
    path = unicodedata.normalize("NFC", path)
    return path.rstrip("/") or path[:1]


def is_under(path: str, directory: str) -> bool:
    separator = "\\" if directory.startswith("C:") else "/"
    return path == directory or path.startswith(directory.rstrip(separator) + separator)


def within(value: float, first: float | None, end: float | None) -> bool:
    return (first is None or value >= first) and (end is None or value < end)


def sort_key(order: SortOrder) -> Callable[[Plain], Any]:
    if order.column == "title_key":
        return lambda one: (plain_fold(one.title or ""), one.id)
    return lambda one: (getattr(one, order.column), one.id)
