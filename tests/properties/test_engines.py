"""SQLite and PostgreSQL answer alike: the same pages, counts, facets and hits for any filter and question."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import ConversationStore, Settings
from app.model.facets import parse_facets
from app.model.filters import ConversationFilter, LookIn
from app.model.hits import HitPage
from app.model.page import SortOrder, View
from app.model.periods import Period
from tests.builders import make_conversation, make_message_event
from tests.postgres import new_schema
from tests.properties.plain_filter import make_store

pytestmark = [pytest.mark.long, pytest.mark.postgres]

EXAMPLES = int(os.environ.get("CONVSTORE_TEST_ENGINES", "100"))
BY = parse_facets("status,model,workspace,agent_kind,tag,tag:area,day,month")
TEXTS = [
    "fix the parser of the HTTPServer, please",
    "the parser is fixed; parse_http2 fails in /src/app/parser.py:12",
    "C++ and C# and .NET are not c",
    "日本語の本 and Ünïcode, ÉCOLE",
    "it's a \\ backslash and a 'quote' \0 and a NUL",
    "🙂 an emoji " + "the " * 250 + "end of it",  # PostgreSQL keeps 256 places of a word
    "",
]
PIECES = [
    "fix", "the", "parser", "HTTPServer", "http", "par", "C++", "c#", "c", "本", "日本", "école", "it's", "nothing",
    '"the parser"', '"the end"', "-the", "-parser", "OR", "🙂", ":*", "&", "|", "!", "<->", "(", "\0", "\\", "'",
    '"', "end",
]  # fmt: skip
QUESTIONS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map(" ".join)
TEXT_FILTERS: dict[str, Any] = {
    "archived": st.sampled_from([None, True, False]),
    "title_contains": st.sampled_from(["fix", "%", "_d", "a", "\\", "École", "の", None]),
    "top_level": st.sampled_from([None, True]),
    "folded": st.booleans(),
    "look_in": st.sampled_from(LookIn),
}


@dataclass(frozen=True)
class Both:
    """A store that is open twice: with an index in SQLite, and with one in PostgreSQL."""

    runner: asyncio.Runner
    stores: tuple[ConversationStore, ConversationStore]

    def ask(self, work: Any) -> list[Any]:
        return [self.runner.run(work(store)) for store in self.stores]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Iterator[Both]:
    root = tmp_path_factory.mktemp("engines")
    make_store(root)
    for number, text in enumerate(TEXTS):
        events = [make_message_event(seq, said) for seq, said in enumerate([text, "and " + text, TEXTS[0]])]
        make_conversation(root, 100 + number, events=events, meta={"title": text[:60] or None})
    with ExitStack() as stack, asyncio.Runner() as runner:
        schema = stack.enter_context(new_schema(postgres_url))
        places: list[dict[str, Any]] = [{}, {"index_url": postgres_url, "index_schema": schema}]
        opened = [ConversationStore.open(Settings(store=root, timezone="UTC", **place)) for place in places]
        stores = [runner.run(one.__aenter__()) for one in opened]
        for store in stores:
            runner.run(store.sync())
        yield Both(runner, (stores[0], stores[1]))
        for one in opened:
            runner.run(one.__aexit__(None, None, None))


async def walk(store: ConversationStore, asked: ConversationFilter, order: SortOrder, view: View) -> list[bytes]:
    items, page_id = [], None
    while True:
        page = await store.list_conversations(asked, order=order, page_id=page_id, limit=7, view=view)
        items += page.items
        page_id = page.next_page_id
        if page_id is None:
            return items


async def hits(store: ConversationStore, asked: ConversationFilter) -> list[HitPage]:
    pages: list[HitPage] = []
    page_id = None
    while True:
        page = await store.search_messages(asked.q or "", replace(asked, q=None), page_id=page_id, limit=5)
        pages.append(page._replace(next_page_id=None))
        page_id = page.next_page_id
        if page_id is None:
            return pages


def check(both: Both, asked: ConversationFilter, order: SortOrder, view: View) -> None:
    one, other = both.ask(lambda store: walk(store, asked, order, view))
    assert one == other
    one, other = both.ask(lambda store: store.count_facets(BY, asked, limit=5, amounts=True))
    assert one == other
    one, other = both.ask(lambda store: store.count_conversations(asked))
    assert one == other
    if asked.q:
        one, other = both.ask(lambda store: hits(store, asked))
        assert one == other


@given(question=QUESTIONS, given_=st.fixed_dictionaries(TEXT_FILTERS), view=st.sampled_from(View))
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_question_has_the_same_hits(both: Both, question: str, given_: dict[str, Any], view: View) -> None:
    check(both, ConversationFilter(q=question, **given_), SortOrder.RELEVANCE, view)


@pytest.mark.parametrize("order", [order for order in SortOrder if order is not SortOrder.RELEVANCE])
def test_pages_are_the_same_in_every_order(both: Both, order: SortOrder) -> None:
    for view in View:
        check(both, ConversationFilter(archived=None), order, view)


@pytest.mark.parametrize("view", View)
def test_changes_are_the_same(both: Both, view: View) -> None:
    async def changes(store: ConversationStore) -> list[tuple[str, bytes | None]]:
        page = await store.list_changes(None, limit=1000, view=view)
        return sorted((one.id, one.info) for one in page.items)

    one, other = both.ask(changes)
    assert one == other


def test_outlines_and_counts_of_events_are_the_same(both: Both) -> None:
    [ids, _] = both.ask(lambda store: store.list_ids(ConversationFilter(archived=None)))
    for one in ids:
        outline, other = both.ask(lambda store, one=one: store.get_outline(one))
        assert outline == other
        number, other = both.ask(lambda store, one=one: store.count_events(one))
        assert number == other


@pytest.mark.parametrize("split", [None, "model", "workspace", "status"])
def test_statistics_are_the_same(both: Both, split: str | None) -> None:
    asked = ConversationFilter(archived=None)
    for work in (
        lambda store: store.get_sums(asked),
        lambda store: store.list_workspace_costs(asked),
        lambda store: store.list_usage(asked, Period.DAY, split=split),
        lambda store: store.list_activity(asked, Period.MONTH, split=split),
        lambda store: store.count_hours(asked, offset_min=60),
    ):
        one, other = both.ask(work)
        assert one == other
