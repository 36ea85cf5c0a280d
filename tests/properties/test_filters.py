"""For any filters together: the list, the count, the sums of facets, and a plain Python filter over the files."""

from __future__ import annotations

import asyncio
import json
import os
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import ConversationStore, Settings
from app.index import listing
from app.model.facets import Facet, FacetKind, parse_facets
from app.model.filters import ConversationFilter, Status, Tag
from app.model.ids import ConversationId
from app.model.page import COLUMN_ORDERS, SortOrder
from app.store.sweep import Sweep
from tests.builders import BEGIN, make_conversation, make_event, make_id

NUMBER = 60
EXAMPLES = int(os.environ.get("CONVSTORE_TEST_FILTERS", "150"))
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
PARTS = [
    "fix",
    "THE",
    "École",
    "%",
    "_",
    "a",
    "本",
    "の",
    "é",
    "zzz",
    "' OR 1=1",
    "",
    "fix the parser",
    "\0",
    '"fix"',
    "本語の",
]
WORKSPACES = ["/a", "/b", "/c"]
MODELS = ["x/one", "x/two"]
KINDS = ["Agent", "ACPAgent"]
AGENTS = [
    *({"kind": "Agent", "llm": {"model": model}, "tools": []} for model in MODELS),
    *({"kind": "ACPAgent", "acp_command": ["acp"], "acp_model": model} for model in (*MODELS, None)),
]
TAGS = [Tag("area", "store"), Tag("area", "api"), Tag("area"), Tag("done", ""), Tag("done"), Tag("nobody")]
BY = parse_facets("status,model,workspace,agent_kind,tag,tag:area,tag:nobody,day,month")


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
    forked_from: str | None
    created_at: int
    updated_at: int
    last_event_at: int
    cost: float
    event_count: int
    archived: bool
    unreadable: bool
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
                "parent_conversation_id": some([None, None, make_id(0), make_id(1)]),
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
            (path / "convstore.json").write_text(json.dumps({"archived": True}))
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
        workspace=state.get("workspace", {"working_dir": "."})["working_dir"],
        model=agent["llm"].get("model") if "llm" in agent else agent["acp_model"],
        agent_kind=agent["kind"],
        parent=meta["parent_conversation_id"],
        forked_from=meta["forked_from_conversation_id"],
        created_at=created,
        updated_at=micros(meta["updated_at"]),
        last_event_at=last,
        cost=sum(usage["accumulated_cost"] for usage in spent.values()),
        event_count=len(events),
        archived=own.exists() and json.loads(own.read_bytes())["archived"],
        unreadable=not state,
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
            all(key in one.tags and value in (None, one.tags[key]) for key, value in asked.tags),
            asked.workspace in (None, one.workspace),
            asked.model is None or asked.model == one.model,
            asked.agent_kind in (None, one.agent_kind),
            asked.parent is None or asked.parent == one.parent,
            asked.top_level is None or asked.top_level == (one.parent is None),
            asked.forked_from is None or asked.forked_from == one.forked_from,
            within(one.created_at, asked.created_at_gte_us, asked.created_at_lt_us),
            within(one.updated_at, asked.updated_at_gte_us, asked.updated_at_lt_us),
            within(one.last_event_at, asked.last_event_at_gte_us, asked.last_event_at_lt_us),
            within(one.cost, asked.cost_gte, asked.cost_lt),
            within(one.event_count, asked.event_count_gte, asked.event_count_lt),
            asked.archived in (None, one.archived),
            asked.unreadable in (None, one.unreadable),
            asked.owned in (None, one.owned),
        )
    )


def within(value: float, first: float | None, end: float | None) -> bool:
    return (first is None or value >= first) and (end is None or value < end)


def sort_key(order: SortOrder) -> Callable[[Plain], Any]:
    if order.column == "title_key":
        return lambda one: (plain_fold(one.title or ""), one.id)
    return lambda one: (getattr(one, order.column), one.id)


@dataclass(frozen=True)
class Filled:
    """An open store, the loop that it runs on, and what a plain reader knows."""

    runner: asyncio.Runner
    store: ConversationStore
    plain: list[Plain]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    root = tmp_path_factory.mktemp("filters")
    make_store(root)
    plain = [read_plain(path) for path in sorted(root.iterdir())]
    opened = ConversationStore.open(Settings(store=root, timezone="UTC"))
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "WALKED", 5)
        store = runner.run(opened.__aenter__())
        runner.run(store.sync())
        runner.run(Sweep(store.index, store.reader).walk_all())
        yield Filled(runner, store, plain)
        runner.run(opened.__aexit__(None, None, None))


NOON_US = micros(BEGIN.isoformat())
TIMES = st.sampled_from([NOON_US - days * 86_400_000_000 for days in (-1, 5, 20, 35, 50, 80)])
IDS = st.sampled_from([ConversationId(make_id(number)) for number in (0, 1, 2, 3)])
COSTS, COUNTS = st.sampled_from([0.0, 0.25, 0.3, 2.0]), st.sampled_from([0, 1, 2, 4])
ASKED: dict[str, st.SearchStrategy[Any]] = {
    "statuses": st.sets(st.sampled_from(Status), min_size=1, max_size=4).map(tuple),
    "title_contains": st.sampled_from(PARTS),
    "tags": st.lists(st.sampled_from(TAGS), min_size=1, max_size=3).map(tuple),
    "workspace": st.sampled_from([*WORKSPACES, "/d", "."]),
    "model": st.sampled_from([*MODELS, "", "x/one' --"]),
    "agent_kind": st.sampled_from([*KINDS, "agent"]),
    "parent": IDS,
    "top_level": st.booleans(),
    "forked_from": IDS,
    **{f"{name}_{end}_us": TIMES for name in ("created_at", "updated_at", "last_event_at") for end in ("gte", "lt")},
    **{f"cost_{end}": COSTS for end in ("gte", "lt")},
    **{f"event_count_{end}": COUNTS for end in ("gte", "lt")},
    "archived": st.sampled_from([True, None]),
    "unreadable": st.booleans(),
    "owned": st.booleans(),
}


def some_of(names: list[str]) -> st.SearchStrategy[ConversationFilter]:
    return st.fixed_dictionaries({name: ASKED[name] for name in names}).map(lambda given: ConversationFilter(**given))


ANY = st.lists(st.sampled_from(sorted(ASKED)), max_size=4, unique=True).flatmap(some_of)


async def list_all(store: ConversationStore, asked: ConversationFilter, order: SortOrder, limit: int) -> list[str]:
    ids: list[str] = []
    page_id = None
    while True:
        page = await store.list_conversations(asked, order=order, page_id=page_id, limit=limit)
        ids += [orjson.loads(body)["id"].replace("-", "") for body in page.items]
        page_id = page.next_page_id
        if page_id is None:
            return ids


def plain_counts(facet: Facet, admitted: list[Plain]) -> Counter[str | None]:
    if facet == Facet(FacetKind.TAG):
        return Counter(key for one in admitted for key in (one.tags or [None]))
    if facet.tag_key is not None:
        return Counter(one.tags.get(facet.tag_key) for one in admitted)
    if facet.kind in (FacetKind.DAY, FacetKind.MONTH):
        width = 10 if facet.kind is FacetKind.DAY else 7
        return Counter(datetime.fromtimestamp(one.created_at / 1e6, UTC).isoformat()[:width] for one in admitted)
    return Counter(getattr(one, facet.kind) for one in admitted)


def check(filled: Filled, asked: ConversationFilter, order: SortOrder, limit: int) -> None:
    store = filled.store
    admitted = [one for one in filled.plain if admits(one, asked)]
    wanted = [one.id for one in sorted(admitted, key=sort_key(order), reverse=order.descending)]
    assert filled.runner.run(list_all(store, asked, order, limit)) == wanted
    assert filled.runner.run(store.count_conversations(asked)) == len(wanted)
    assert filled.runner.run(store.list_ids(asked)) == sorted(wanted)
    found = filled.runner.run(store.count_facets(BY, asked, limit=limit))
    assert (found.count, list(found.by)) == (len(wanted), [facet.name for facet in BY])
    for facet in BY:
        counts, plain = found.by[facet.name], plain_counts(facet, admitted)
        missing = plain.pop(None, 0)
        biggest = sorted(plain.items(), key=lambda pair: (-pair[1], pair[0]))
        assert counts.values == biggest[:limit]
        assert (counts.null, counts.other) == (missing, sum(number for _, number in biggest[limit:]))
        if facet != Facet(FacetKind.TAG):
            assert sum(number for _, number in counts.values) + counts.null + counts.other == len(wanted)


def test_no_filter_is_forgotten_here() -> None:
    assert {field.name for field in fields(ConversationFilter)} == {*ASKED, "q"}  # tests/api/test_search.py holds q


@pytest.mark.parametrize("name", sorted(ASKED))
@given(data=st.data(), order=st.sampled_from(COLUMN_ORDERS), limit=st.integers(1, 30))
@settings(max_examples=8, deadline=None)
def test_each_filter_is_the_plain_filter(
    filled: Filled, name: str, data: st.DataObject, order: SortOrder, limit: int
) -> None:
    check(filled, data.draw(some_of([name])), order, limit)


@given(asked=ANY, order=st.sampled_from(COLUMN_ORDERS), limit=st.integers(1, 30))
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_filters_together_are_the_plain_filter(
    filled: Filled, asked: ConversationFilter, order: SortOrder, limit: int
) -> None:
    check(filled, asked, order, limit)
