"""For any filters together: the list, the count, the sums of facets, and a plain Python filter over the files."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import ConversationStore, Settings
from app.index import conversation_list
from app.model.facets import Facet, FacetKind, parse_facets
from app.model.filters import ConversationFilter, Status
from app.model.ids import ConversationId
from app.model.page import COLUMN_ORDERS, SortOrder
from app.store.follow.watcher import Watcher
from tests.builders import BEGIN, make_id
from tests.properties.plain_filter import (
    KINDS,
    MODELS,
    TAGS,
    WORKSPACES,
    Plain,
    admits,
    make_store,
    micros,
    read_plain,
    sort_key,
)

EXAMPLES = int(os.environ.get("CONVSTORE_TEST_FILTERS", "150"))
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
BY = parse_facets("status,model,workspace,agent_kind,tag,tag:area,tag:nobody,day,month")


@dataclass(frozen=True)
class Filled:
    """An open store, the loop that it runs on, and what a plain reader knows."""

    runner: asyncio.Runner
    store: ConversationStore
    plain: list[Plain]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, _shared_index: str) -> Iterator[Filled]:
    root = tmp_path_factory.mktemp("filters")
    make_store(root)
    plain = [read_plain(path) for path in sorted(root.iterdir())]
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch:
        opened = ConversationStore.open(Settings(store=root, timezone="UTC"))
        patch.setattr(conversation_list, "WALKED", 5)
        store = runner.run(opened.__aenter__())
        runner.run(store.sync())
        runner.run(Watcher(store.context).walk_all())
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
    "workspaces": st.sets(st.sampled_from([*WORKSPACES, "/d", "."]), min_size=1, max_size=3).map(tuple),
    "workspace_under": st.sampled_from([*WORKSPACES, "/a/e\u0301/", "/a/b/c", "/d", "", "C:\\"]),
    "model": st.sampled_from([*MODELS, "", "x/one' --"]),
    "agent_kind": st.sampled_from([*KINDS, "agent"]),
    "parent": IDS,
    "top_level": st.booleans(),
    "orphaned": st.booleans(),
    "forked_from": IDS,
    **{
        f"{name}_{end}_us": TIMES
        for name in ("created_at", "updated_at", "last_event_at", "event_at")
        for end in ("gte", "lt")
    },
    **{f"cost_{end}": COSTS for end in ("gte", "lt")},
    **{f"event_count_{end}": COUNTS for end in ("gte", "lt")},
    "archived": st.sampled_from([True, None]),
    "subagents": st.sampled_from([True, None]),
    "unreadable": st.booleans(),
    "openable": st.booleans(),
    "pinned": st.booleans(),
    "owned": st.booleans(),
    "folded": st.just(True),
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
    if asked.folded:
        tops = {one.id for one in admitted if one.parent is None}
        admitted = [one for one in admitted if one.parent not in tops]
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
    assert {field.name for field in fields(ConversationFilter)} == {
        *ASKED,
        "q",
        "look_in",
    }  # tests/store/read/test_search_beside_a_plain_scan.py holds these two


@pytest.mark.parametrize("name", sorted(ASKED))
@given(data=st.data(), order=st.sampled_from(COLUMN_ORDERS), limit=st.integers(1, 30))
@settings(max_examples=8, deadline=None)
def test_each_filter_is_the_plain_filter(
    filled: Filled, name: str, data: st.DataObject, order: SortOrder, limit: int
) -> None:
    check(filled, data.draw(some_of([name])), order, limit)


@pytest.mark.long
@given(asked=ANY, order=st.sampled_from(COLUMN_ORDERS), limit=st.integers(1, 30))
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_filters_together_are_the_plain_filter(
    filled: Filled, asked: ConversationFilter, order: SortOrder, limit: int
) -> None:
    check(filled, asked, order, limit)
