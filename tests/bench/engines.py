"""Both databases of the index, side by side: an index in PostgreSQL beside one in SQLite of the same conversations.

In each row, A and B are PostgreSQL's figures, and the floor is SQLite's at B's size.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import repeat
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson
import psycopg

from app import Settings
from app.index.conversation_list import ListShape, ordered_sql
from app.index.dialect import Sql
from app.index.engine import Index
from app.index.facet_counts import facets_sql
from app.index.messages import parameters_of
from app.index.opening import make_index
from app.index.postgres.adapters import set_up
from app.index.postgres.statements import translate
from app.index.search import matches_sql, search_messages
from app.model.facets import parse_facets
from app.model.filters import ConversationFilter, LookIn
from app.model.page import SortOrder
from app.model.text.ranking import RANKED
from app.model.text.tokenizer import parse_question
from tests.bench.client import Client, requests_per_second
from tests.bench.generate import add_long_conversation
from tests.bench.measure import Sample, rate_in_turns, take_turns
from tests.bench.rows import (
    ALL_FACETS,
    COUNT_PATH,
    LIST_PATH,
    LONG_EVENTS,
    THREE_FILTERS,
    Bound,
    Effort,
    Row,
    bounded,
    never_asked,
)
from tests.bench.search import QUESTIONS, fill
from tests.bench.server import Store, serving, wait_until_in_step
from tests.bench.writes import append_ms, opened_store
from tests.builders import make_conversation
from tests.faults.hosts import running
from tests.postgres import new_schema

_SHORT_EVENTS = 10
_TIMES = 9
_RARE_MS, _ANY_MS = 60, 200
_CLIENTS = 8
_HAND_OVERS = 10
_HAND_OVER_MS = 300
_UNCOUNTED = 2
_STATE = Sql("SELECT epoch || '.' || revision FROM revision", {})
_WORDS_INDEX = "ix_message_words_words"


def measure_engines(stores: Sequence[Store], directory: Path, url: str, messages: int, effort: Effort) -> list[Row]:
    """Measure lists, counts, facets, filters, appends and searches with an index in the PostgreSQL server at `url`."""
    directory.mkdir()
    return [
        *_measure_served(stores, url, effort),
        _measure_appends(directory, url, effort),
        asyncio.run(_measure_hand_overs(directory / "hosts", url, effort)),
        *asyncio.run(_measure_searches(directory / "search.db", url, messages)),
    ]


def _measure_served(stores: Sequence[Store], url: str, effort: Effort) -> list[Row]:
    began = datetime.now(UTC)
    with ExitStack() as stack:
        schemas = [stack.enter_context(new_schema(url)) for _ in stores]
        places = [replace(store, server=url, schema=one) for store, one in zip(stores, schemas, strict=True)]
        servers = [stack.enter_context(serving(one, LIST_PATH)) for one in [*places, stores[1]]]
        for server in servers:
            wait_until_in_step(server, began)
        _analyze(url, schemas)
        clients = [stack.enter_context(Client(server.port)) for server in servers]

        def compare(name: str, path: str, *, most: float, growth: float | None = None, again: bool = False) -> Row:
            asks: list[Callable[[], object]] = [
                partial(one.get, path) if again else never_asked(one, path) for one in clients
            ]
            names = ("small", "large", "floor")
            times = take_turns(dict(zip(names, asks, strict=True)), blocks=effort.blocks, each=effort.each)
            row = Row(name, "ms", times["small"], times["large"], times["floor"])
            return bounded(row, growth=growth, over_floor=most)

        rows = [
            compare("list page of 20", LIST_PATH, most=1.8, growth=1.2),
            compare("the same, asked before", LIST_PATH, most=1.8, again=True),
            compare("count with a status", COUNT_PATH, most=2),
            *(compare(name, path, most=2) for name, path in THREE_FILTERS.items()),
            compare("all seven facets", ALL_FACETS, most=2),
        ]
        rows.insert(1, _compare_second_pages(clients, effort))
        rows += _compare_bare(places, stores[1], effort)
        rates = rate_in_turns(
            {
                name: partial(
                    requests_per_second,
                    server.port,
                    repeat(LIST_PATH),
                    connections=_CLIENTS,
                    requests=effort.round_requests,
                )
                for name, server in zip(("small", "large", "floor"), servers, strict=True)
            },
            rounds=effort.rounds,
        )
        rows.append(Row(f"list page, {_CLIENTS} clients", "1/s", rates["small"], rates["large"], rates["floor"]))
    return rows


def _compare_second_pages(clients: Sequence[Client], effort: Effort) -> Row:
    """Compare the pages that a token leads to."""
    asks: dict[str, Callable[[], object]] = {}
    for name, client in zip(("small", "large", "floor"), clients, strict=True):
        token = orjson.loads(client.get(LIST_PATH))["next_page_id"]
        asks[name] = never_asked(client, f"{LIST_PATH}&page_id={token}")
    times = take_turns(asks, blocks=effort.blocks, each=effort.each)
    return bounded(Row("its next page", "ms", times["small"], times["large"], times["floor"]), over_floor=1.8)


def _compare_bare(places: Sequence[Store], sqlite: Store, effort: Effort) -> list[Row]:
    """Compare the statements of a page, of all facets, and of the state that each answer asks for, by drivers alone."""
    page = ordered_sql(ListShape(SortOrder.UPDATED_AT_DESC, ("archived 0",)))
    kinds = tuple((one.kind, False) for one in parse_facets(ALL_FACETS.partition("=")[2]))
    facets = facets_sql(kinds, ("archived 0",))
    keys: dict[str, object] = {f"facet_key_{place}": None for place in range(len(kinds))}
    rows = []
    for name, sql, given in (
        ("the page's SQL alone", page, {"row_limit": 21}),
        ("the facets' SQL alone", facets, keys | {"facet_limit": 21}),
        ("the state's SQL alone", _STATE, {}),
    ):
        translated = translate(sql)
        text, parameters = translated.limited_text(given), translated.bind(given)
        with ExitStack() as stack:
            calls: dict[str, Callable[[], object]] = {}
            for size, place in zip(("small", "large"), places, strict=True):
                options = f"-csearch_path={place.schema}"
                asked = stack.enter_context(psycopg.connect(place.server, autocommit=True, options=options))
                calls[size] = partial(_fetch, asked, text, parameters)
            database = stack.enter_context(closing(sqlite3.connect(f"file:{sqlite.index}?mode=ro", uri=True)))
            calls["floor"] = partial(_fetch_here, database, sql.text, sql.bind(given))
            times = take_turns(calls, blocks=effort.blocks, each=effort.each)
        rows.append(Row(f"{name}, by psycopg and sqlite3", "ms", times["small"], times["large"], times["floor"]))
    return rows


def _fetch(connection: psycopg.Connection[Any], text: str, parameters: dict[str, object]) -> object:
    return connection.execute(text, parameters, binary=True).fetchall()


def _fetch_here(connection: sqlite3.Connection, text: str, parameters: dict[str, object]) -> object:
    return connection.execute(text, parameters).fetchall()


def _analyze(url: str, schemas: Sequence[str]) -> None:
    """Let the planner know the tables now, as it does by itself a minute after a first build."""
    with psycopg.connect(url, autocommit=True) as connection:
        for schema in schemas:
            connection.execute(f'SET search_path TO "{schema}"')
            for (table,) in connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = %s", (schema,)
            ).fetchall():
                connection.execute(f'VACUUM (ANALYZE) "{table}"')


def _measure_appends(directory: Path, url: str, effort: Effort) -> Row:
    """Compare appends to a conversation of few events and to a long one."""
    roots = {name: directory / name for name in ("postgres", "sqlite")}
    ids = {
        name: [add_long_conversation(root, events) for events in (_SHORT_EVENTS, LONG_EVENTS)]
        for name, root in roots.items()
    }
    with ExitStack() as stack:
        place = {"index_url": url, "index_schema": stack.enter_context(new_schema(url))}
        postgres = stack.enter_context(opened_store(roots["postgres"], **place))
        sqlite = stack.enter_context(opened_store(roots["sqlite"]))
        short, long = (postgres.writer(one) for one in ids["postgres"])
        calls: dict[str, Callable[[], float]] = {
            "small": partial(append_ms, postgres, short),
            "large": partial(append_ms, postgres, long),
            "floor": partial(append_ms, sqlite, sqlite.writer(ids["sqlite"][1])),
        }
        times = rate_in_turns(calls, rounds=effort.blocks)
    name = f"append at event {_SHORT_EVENTS} and {LONG_EVENTS:,}"
    return bounded(Row(name, "ms", times["small"], times["large"], times["floor"]), over_floor=2)


async def _measure_hand_overs(directory: Path, url: str, effort: Effort) -> Row:
    """Compare writes to one host with writes that reach two hosts in turn, which hand the conversation over."""
    make_conversation(directory / "conversations", 1)
    times: dict[int, list[float]] = {1: [], 2: []}
    with new_schema(url) as schema:
        async with running(["one", "two"], directory / "conversations", url, schema) as hosts:
            for number, taken in times.items():
                for turn in range(_UNCOUNTED + effort.blocks * _HAND_OVERS):
                    began = perf_counter()
                    answer = await hosts[turn % number].append(1, "a text")
                    answer.raise_for_status()
                    taken.append((perf_counter() - began) * 1000)
    one, both = (Sample.of(taken[_UNCOUNTED:]) for taken in times.values())
    bound = Bound(f"slowest ≤ {_HAND_OVER_MS} ms", both.max <= _HAND_OVER_MS)
    return Row("a write to one host; to two in turn", "ms", one, both, None, bound)


async def _measure_searches(path: Path, url: str, messages: int) -> list[Row]:
    """Compare searches through the same messages."""
    with ExitStack() as stack:
        schema = stack.enter_context(new_schema(url))
        places = [{"index_url": url, "index_schema": schema}, {"index_url": f"sqlite:///{path}"}]
        postgres, sqlite = (
            make_index(Settings.model_validate({"store": path.parent, **place}), readers=1) for place in places
        )
        rates = []
        for index in (postgres, sqlite):
            await index.make_ready(5)
            rates.append(await _fill(index, messages, url if index is postgres else "", schema))
        try:
            rows = []
            for name, (question, _) in QUESTIONS.items():
                rows.append(await _compare_searches(postgres, sqlite, f"20 best of {messages:,}: {name}", question))
                rows.append(_compare_matches(url, schema, path, question))
        finally:
            await postgres.close()
            await sqlite.close()
    speeds = [Sample.of([rate]) for rate in rates]
    return [*rows, Row("messages written and indexed", "1/s", None, speeds[0], speeds[1])]


async def _fill(index: Index, messages: int, url: str, schema: str) -> float:
    """Write the messages and return how many a second. PostgreSQL indexes the words at the end, which takes less."""
    if not url:
        return await fill(index, messages)
    began = perf_counter()
    with psycopg.connect(url, autocommit=True, options=f"-csearch_path={schema}") as connection:
        connection.execute(f"DROP INDEX {_WORDS_INDEX}")
        await fill(index, messages)
        connection.execute(f"CREATE INDEX {_WORDS_INDEX} ON message_words USING gin (words)")
    rate = messages / (perf_counter() - began)
    _analyze(url, [schema])
    return rate


def _compare_matches(url: str, schema: str, path: Path, question: str) -> Row:
    """Compare the statements that find the matches and their texts, by drivers alone."""
    found = matches_sql(("archived 0",))
    given = {**parameters_of(parse_question(question), LookIn.SAID), "newest": 2**62, "oldest": 0, "most": RANKED + 1}
    gathered, walked = (translate(sql) for sql in (found.gathered, found.walked))
    with (
        closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database,
        psycopg.connect(url, autocommit=True, options=f"-csearch_path={schema}") as connection,
    ):
        connection.execute("SET jit = off")
        set_up(connection.adapters)
        number = len(database.execute(found.gathered.text, found.gathered.bind(given)).fetchall())
        chosen = walked if number > RANKED else gathered
        text, parameters = chosen.limited_text(given), chosen.bind(given)
        calls: dict[str, Callable[[], object]] = {
            "large": partial(_fetch, connection, text, parameters),
            "floor": partial(_fetch_here, database, found.gathered.text, found.gathered.bind(given)),
        }
        times = take_turns(calls, blocks=_TIMES, each=1)
    return Row("its SQL alone, by psycopg and sqlite3", "ms", None, times["large"], times["floor"])


async def _compare_searches(postgres: Index, sqlite: Index, name: str, question: str) -> Row:
    times: dict[Index, list[float]] = {postgres: [], sqlite: []}
    for _ in range(_TIMES):
        for index, taken in times.items():
            began = perf_counter()
            async with index.read() as connection:
                await search_messages(connection, ConversationFilter(q=question), None, 20)
            taken.append((perf_counter() - began) * 1000)
    row = Row(name, "ms", None, Sample.of(times[postgres]), Sample.of(times[sqlite]))
    return bounded(row, at_most=_RARE_MS if name.endswith("1 of 1,000") else _ANY_MS)
