"""What is measured, and the design's bound for it. Times are ms, rates a second, memory MB (10^6 bytes)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import count, repeat
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from app.index.conversation_list import count_sql
from app.index.dialect import Sql
from tests.bench.bare_reads import PAGE, join_files, query_page
from tests.bench.client import Client, requests_per_second
from tests.bench.measure import Sample, rate_in_turns, take_turns
from tests.bench.server import Server, Store, run_python, serving, serving_bare_reads, serving_floor, wait_until_in_step

FIRST_PATH = "/api/conversations/search?limit=20"
LIST_PATH = "/api/conversations/search?limit=20&sort_order=UPDATED_AT_DESC"
COUNT_PATH = "/api/conversations/count?status=finished"
FACETS_PATH = "/api/conversations/facets"

THREE_FILTERS = {
    "three filters that many pass": f"{FIRST_PATH}&status=finished&status=idle&cost__gte=0.01&top_level=true",
    "three filters that none passes": f"{FIRST_PATH}&workspace=/nowhere&cost__gte=0.01&top_level=true&sort_order=TITLE",
    "a part of a title and two filters": f"{FIRST_PATH}&title__contains=nowhere&cost__gte=0.01&top_level=true",
    "a count under three filters": f"{COUNT_PATH}&cost__gte=0.01&event_count__lt=100",
    "most of all under three filters": f"{FIRST_PATH}&agent_kind=Agent&unreadable=false&tag=area&sort_order=COST",
    "counts by model under three filters": f"{FACETS_PATH}?by=model&agent_kind=Agent&unreadable=false&cost__gte=0.001",
}
ALL_FACETS = f"{FACETS_PATH}?by=status,model,workspace,agent_kind,tag,day,month"

LONG_EVENTS = 10_000
_ALL = ("archived 0",)
_EVENTS_PAGE = 100
_MEMORY_REQUESTS = 200
_CONNECTIONS = 8
_LATER = 1_000_000
"""The first number of questions that were not asked while one client was measured."""


class Effort(NamedTuple):
    """How often things are measured."""

    starts: int
    blocks: int
    each: int
    rounds: int
    round_requests: int
    backfills: int


FULL = Effort(starts=7, blocks=12, each=40, rounds=6, round_requests=2000, backfills=3)
QUICK = Effort(starts=3, blocks=4, each=20, rounds=2, round_requests=400, backfills=1)


class Bound(NamedTuple):
    """A bound of the design, and whether the row keeps it (None: it has none)."""

    text: str
    met: bool | None


NO_BOUND = Bound("", None)

_OF_LIST = "aiosqlite, pydantic_settings, sqlalchemy, typer"
_OF_SERVE = f"{_OF_LIST}, prometheus_client, starlette.applications, uvicorn, watchfiles"
"""The libraries that no process can do without which lists conversations, or serves the list."""


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was measured at the small and the large size, and its floor, at the larger one of the two."""

    name: str
    unit: str
    small: Sample | None = None
    large: Sample | None = None
    floor: Sample | None = None
    bound: Bound = NO_BOUND

    @property
    def growth(self) -> float | None:
        """The large size's median as a multiple of the small one's."""
        return self.large.median / self.small.median if self.small and self.large and self.small.median else None

    @property
    def over_floor(self) -> float | None:
        """The median as a multiple of the floor's."""
        own = self.large or self.small
        return own.median / self.floor.median if own and self.floor else None


def measure_starts(stores: Sequence[Store], effort: Effort) -> list[Row]:
    """Measure how long a server takes to its first answer, and commands; the floor imports the libraries they need."""

    def serve(store: Store) -> float:
        began = perf_counter()
        with serving(store, FIRST_PATH):
            return (perf_counter() - began) * 1000

    def run(store: Store, *arguments: str) -> float:
        began = perf_counter()
        run_python([*arguments], store)
        return (perf_counter() - began) * 1000

    small, large = stores
    calls: dict[str, Callable[[Store], float]] = {
        "serve": serve,
        "list": lambda store: run(store, "-m", "app", "list"),
        "help": lambda store: run(store, "-m", "app", "--help"),
        "libraries of serve": lambda store: run(store, "-c", f"import {_OF_SERVE}"),
        "libraries of list": lambda store: run(store, "-c", f"import {_OF_LIST}"),
    }
    run(small, "-m", "app", "list")
    run(large, "-m", "app", "list")  # which brings the index in step
    times = rate_in_turns(
        {f"{name} {store.conversations}": partial(call, store) for name, call in calls.items() for store in stores},
        rounds=effort.starts,
    )

    def row(name: str, what: str, floor: str | None) -> Row:
        a, b = (times[f"{what} {store.conversations}"] for store in stores)
        return Row(name, "ms", a, b, None if floor is None else times[f"{floor} {large.conversations}"])

    return [
        bounded(row("start to first answer, to its imports", "serve", "libraries of serve"), growth=1.1, at_most=500),
        bounded(row("`convstore list`, to its imports", "list", "libraries of list"), at_most=500),
        bounded(row("`convstore --help`", "help", None), at_most=200),
    ]


def measure_served(stores: Sequence[Store], padded: Store | None, effort: Effort, directory: Path) -> list[Row]:
    """Measure what running servers answer, one server a store, and the servers' memory."""
    began = datetime.now(UTC)
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(store, LIST_PATH)) for store in stores]
        for server in servers:
            wait_until_in_step(server, began)
        memory = _measure_memory(servers)
        clients = [stack.enter_context(Client(server.port)) for server in servers]
        bodies = {name: client.get(LIST_PATH) for name, client in zip(("small", "large"), clients, strict=True)}
        floor = stack.enter_context(serving_floor(bodies, directory))
        queries = [
            stack.enter_context(closing(sqlite3.connect(f"file:{store.index}?mode=ro", uri=True))) for store in stores
        ]
        files = _list_read_files(stores[1], queries[1])
        bare = stack.enter_context(serving_bare_reads(stores[1].index, files, directory))
        rows = _measure_lists(servers, clients, floor, bare, queries, effort)
        rows += _measure_count(clients, queries, effort)
        rows += _measure_filters(clients, effort)
        rows += _measure_files(clients, queries, files, bare, effort)
    if padded:
        rows += _measure_padded_list(padded, effort, directory)
    return rows + memory


def _measure_lists(
    servers: list[Server],
    clients: list[Client],
    floor: Server,
    bare: Server,
    queries: list[sqlite3.Connection],
    effort: Effort,
) -> list[Row]:
    with Client(floor.port) as floor_client, Client(bare.port) as bare_client:
        calls: dict[str, Callable[[], object]] = {
            "small": partial(clients[0].get, LIST_PATH),
            "large": partial(clients[1].get, LIST_PATH),
            "floor": partial(floor_client.get, "/large"),
            "sql": query_page(queries[1]),
            "bare": partial(bare_client.get, "/sql"),
            "new small": never_asked(clients[0], LIST_PATH),
            "new large": never_asked(clients[1], LIST_PATH),
        }
        times = take_turns(calls, blocks=effort.blocks, each=effort.each)
    rates = rate_in_turns(
        {
            name: partial(requests_per_second, port, paths, connections=_CONNECTIONS, requests=effort.round_requests)
            for name, port, paths in (
                ("small", servers[0].port, repeat(LIST_PATH)),
                ("large", servers[1].port, repeat(LIST_PATH)),
                ("floor", floor.port, repeat("/large")),
                ("bare", bare.port, repeat("/sql")),
                ("new small", servers[0].port, _unasked(LIST_PATH, _LATER)),
                ("new large", servers[1].port, _unasked(LIST_PATH, _LATER)),
            )
        },
        rounds=effort.rounds,
    )
    one = Row(f"list page of {PAGE}, to Starlette", "ms", times["small"], times["large"], times["floor"])
    eight = Row(f"the same, {_CONNECTIONS} clients", "1/s", rates["small"], rates["large"], rates["floor"])
    new = Row("the same, never asked before, to its SQL", "ms", times["new small"], times["new large"], times["sql"])
    new_bare = Row("the same, to a bare route with its SQL", "ms", None, times["new large"], times["bare"])
    least = Row("a bare route with its SQL, to its SQL", "ms", None, times["bare"], times["sql"])
    eight_new = Row(
        f"{_CONNECTIONS} clients, never asked before", "1/s", rates["new small"], rates["new large"], rates["bare"]
    )
    return [
        bounded(one, growth=1.2, over_floor=2.0),
        bounded(new, over_floor=4.0),
        new_bare,
        least,
        bounded(eight, under_floor=0.45),
        bounded(eight_new, at_least=3000),
    ]


def _measure_count(clients: list[Client], queries: list[sqlite3.Connection], effort: Effort) -> list[Row]:
    calls: dict[str, Callable[[], object]] = {
        "small": never_asked(clients[0], COUNT_PATH),
        "large": never_asked(clients[1], COUNT_PATH),
        "sql": _query(queries[1], count_sql(("status", *_ALL)), {"status": "finished"}),
    }
    times = take_turns(calls, blocks=effort.blocks, each=effort.each)
    return [Row("count with a status, to its SQL", "ms", times["small"], times["large"], times["sql"])]


def _measure_filters(clients: list[Client], effort: Effort) -> list[Row]:
    rows = []
    for name, path in {**THREE_FILTERS, "all seven facets": ALL_FACETS}.items():
        calls = {size: never_asked(client, path) for size, client in zip(("small", "large"), clients, strict=True)}
        times = take_turns(calls, blocks=effort.blocks, each=effort.each)
        row = Row(name, "ms", times["small"], times["large"])
        rows.append(bounded(row, at_most=50.0) if name in THREE_FILTERS else row)
    return rows


def _find_longest(connection: sqlite3.Connection) -> tuple[str, str, int]:
    """Return id, directory and number of events of the longest conversation."""
    longest = "SELECT uuid, directory, event_count FROM conversation ORDER BY event_count DESC LIMIT 1"
    uuid, directory, event_count = connection.execute(longest).fetchone()
    return uuid, directory, event_count


def _find_first(connection: sqlite3.Connection) -> tuple[str, str]:
    """Return id and directory of a conversation with few events."""
    uuid, directory = connection.execute(
        "SELECT uuid, directory FROM conversation WHERE event_count < 100 ORDER BY uuid LIMIT 1"
    ).fetchone()
    return uuid, directory


def _list_read_files(store: Store, connection: sqlite3.Connection) -> dict[str, list[Path]]:
    """Return the files of a conversation, and those of the first events of the longest one."""
    one = store.path / _find_first(connection)[1]
    events = (store.path / _find_longest(connection)[1] / "events").glob("event-*.json")
    return {"conversation": [one / "meta.json", one / "base_state.json"], "events": sorted(events)[:_EVENTS_PAGE]}


def _measure_files(
    clients: list[Client],
    queries: list[sqlite3.Connection],
    files: Mapping[str, Sequence[Path]],
    bare: Server,
    effort: Effort,
) -> list[Row]:
    """Measure answers for which files are looked at or read: a conversation, and a page of events."""
    calls: dict[str, Callable[[], object]] = {}
    for size, client, query in zip(("small", "large"), clients, queries, strict=True):
        calls[f"conversation {size}"] = partial(client.get, f"/api/conversations/{_find_first(query)[0]}")
        uuid, _, event_count = _find_longest(query)
        if event_count >= LONG_EVENTS:
            calls[f"events {size}"] = partial(
                client.get, f"/api/conversations/{uuid}/events/search?limit={_EVENTS_PAGE}"
            )
    with Client(bare.port) as bare_client:
        for name, paths in files.items():
            calls[f"{name} bare"] = partial(bare_client.get, f"/{name}")
            calls[f"{name} files"] = partial(join_files, [str(path) for path in paths])
        times = take_turns(calls, blocks=effort.blocks, each=effort.each)

    def row(told: str, name: str, floor: str) -> Row:
        return Row(told, "ms", times.get(f"{name} small"), times.get(f"{name} large"), times[f"{name} {floor}"])

    events = f"first {_EVENTS_PAGE} events of {LONG_EVENTS:,}"
    return [
        bounded(row(f"{events}, to their files", "events", "files"), over_floor=3.0, at_most=10.0),
        bounded(row(f"{events}, to a bare route", "events", "bare"), over_floor=3.0),
        row("a conversation, to its files", "conversation", "files"),
        bounded(row("a conversation, to a bare route", "conversation", "bare"), over_floor=3.0),
    ]


def _measure_padded_list(store: Store, effort: Effort, directory: Path) -> list[Row]:
    began = datetime.now(UTC)
    with ExitStack() as stack:
        server = stack.enter_context(serving(store, LIST_PATH))
        wait_until_in_step(server, began)
        client = stack.enter_context(Client(server.port))
        floor = stack.enter_context(serving_floor({"padded": client.get(LIST_PATH)}, directory))
        floor_client = stack.enter_context(Client(floor.port))
        calls = {"padded": partial(client.get, LIST_PATH), "floor": partial(floor_client.get, "/padded")}
        times = take_turns(calls, blocks=effort.blocks, each=effort.each)
    row = Row(f"list page of {PAGE}, {store.state_kb} kB of state", "ms", times["padded"], None, times["floor"])
    return [bounded(row, over_floor=2.5)]


def _measure_memory(servers: list[Server]) -> list[Row]:
    measured = []
    for server in servers:
        with Client(server.port) as client:
            for _ in range(_MEMORY_REQUESTS):
                client.get(LIST_PATH)
        measured.append([Sample.of([value]) for value in server.memory_mb()])
    (small, small_peak), (large, large_peak) = measured
    bound = Bound("at most 20 MB more", large.median - small.median <= 20)
    peak_bound = Bound("at most 20 MB more", large_peak.median - small_peak.median <= 20)
    return [
        Row(f"memory after start and {_MEMORY_REQUESTS} lists", "MB", small, large, None, bound),
        Row("its peak", "MB", small_peak, large_peak, None, peak_bound),
    ]


def bounded(
    row: Row,
    *,
    growth: float | None = None,
    over_floor: float | None = None,
    under_floor: float | None = None,
    at_most: float | None = None,
    at_least: float | None = None,
) -> Row:
    """Return a row with the bounds given, of which all must hold."""
    texts, met = [], []
    worst = max((sample.median for sample in (row.small, row.large) if sample), default=0.0)
    if growth is not None and row.growth is not None:
        texts.append(f"B/A ≤ {growth:g}")
        met.append(row.growth <= growth)
    if over_floor is not None and row.over_floor is not None:
        texts.append(f"≤ {over_floor:g} floors")
        met.append(row.over_floor <= over_floor)
    if under_floor is not None and row.over_floor is not None:
        texts.append(f"≥ {under_floor:g} floors")
        met.append(row.over_floor >= under_floor)
    if at_most is not None:
        texts.append(f"≤ {at_most:g} {row.unit}")
        met.append(worst <= at_most)
    if at_least is not None:
        texts.append(f"≥ {at_least:g} {row.unit}")
        met.append(min((sample.median for sample in (row.small, row.large) if sample), default=0.0) >= at_least)
    return Row(row.name, row.unit, row.small, row.large, row.floor, Bound(", ".join(texts), all(met)))


def spelled(path: str, number: int) -> str:
    """Return a path that asks the same with another text. Facets take no parameter that there is not."""
    return f"{path}&{'limit' if path.startswith(FACETS_PATH) else 'unknown'}={100 + number}"


def never_asked(client: Client, path: str) -> Callable[[], object]:
    """Return a call that gets `path` as a question that no answer is kept for."""
    paths = _unasked(path)
    return lambda: client.get(next(paths))


def _unasked(path: str, first: int = 0) -> Iterator[str]:
    """Yield `path` in other words each time, without end, so that no answer is kept for any of them."""
    return (spelled(path, number) for number in count(first))


def _query(connection: sqlite3.Connection, sql: Sql, parameters: Mapping[str, object]) -> Callable[[], object]:
    bound = sql.bind(parameters)
    return lambda: connection.execute(sql.text, bound).fetchall()
