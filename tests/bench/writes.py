"""What writing costs, through the library, in this process: beside a file that is written durably and nothing more."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, TypeVar

import orjson

from app import ConversationStore, Settings
from app.files.layout import list_directories
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId
from app.store.write.conversation_writer import ConversationWriter
from tests.bench.bare import BareIndex, bare_append
from tests.bench.client import Client, posts_per_second
from tests.bench.generate import add_long_conversation, make_store
from tests.bench.measure import Sample, rate_in_turns, take_turns
from tests.bench.rows import LIST_PATH, LONG_EVENTS, Effort, Row, bounded
from tests.bench.server import Store, run_python, serving, serving_bare_route, wait_until_in_step

T = TypeVar("T")

_SHORT_EVENTS = 10
_VERY_LONG_EVENTS = 100_000
_RACY_S = 2.1
_EACH = 10
_WRITERS = 8
_TEXT = "Add retry with jitter. " * 20
_EVENT: dict[str, Any] = {
    "source": "user",
    "llm_message": {"role": "user", "content": [{"type": "text", "text": _TEXT}]},
    "kind": "MessageEvent",
}
_EVENT_BYTES = orjson.dumps(_EVENT) + b" " * 150
_MESSAGE = orjson.dumps(_EVENT["llm_message"])
"""The body of a request that appends the same event."""


class Opened:
    """A store that is open in an event loop which runs only while something is measured."""

    def __init__(self, runner: asyncio.Runner, stack: AsyncExitStack, root: Path, **settings: object) -> None:
        self.run: Callable[[Coroutine[Any, Any, Any]], Any] = runner.run
        self._stack = stack
        opening = ConversationStore.open(Settings.model_validate({"store": root, **settings}))
        self.store: ConversationStore = self.run(stack.enter_async_context(opening))
        self.run(self.store.sync())

    def writer(self, one: ConversationId) -> ConversationWriter:
        """Open a conversation for writing, until the store is closed."""
        conversation: ConversationWriter = self.run(self._stack.enter_async_context(self.store.writer(one)))
        return conversation


@contextmanager
def opened_store(root: Path, **settings: object) -> Iterator[Opened]:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            yield Opened(runner, stack, root, **settings)
        finally:
            runner.run(stack.aclose())


def measure_writes(directory: Path, events: int, effort: Effort) -> list[Row]:
    """Measure appends, several writers, deletes and openings, on stores that are made for it under `directory`.

    The longest conversation has this many events.
    """
    directory.mkdir()
    rows = [
        _measure_appends(directory / "small", 3, 2.0, effort),
        _measure_appends(directory / "large", 260, 2.2, effort),
        _measure_appends(directory / "across", 260, None, effort, across=True),
        _measure_bare(directory / "bare", effort),
        *_measure_writers(directory, effort),
        *_measure_over_http(directory, effort),
    ]
    return [*rows, *_measure_whole(directory, effort), *_measure_long(directory / "long", events, effort)]


def _measure_appends(root: Path, state_kb: int, most: float | None, effort: Effort, *, across: bool = False) -> Row:
    short, long = (
        add_long_conversation(root, events, state_kb=state_kb) for events in (_SHORT_EVENTS, _VERY_LONG_EVENTS)
    )
    for one in (short, long):
        _place_head(root / one / "base_state.json", across=across)
    with opened_store(root) as opened:
        calls: dict[str, Callable[[], float]] = {
            "small": partial(append_ms, opened, opened.writer(short)),
            "large": partial(append_ms, opened, opened.writer(long)),
            "floor": partial(_median_ms, _durable_file(root / "floor")),
        }
        times = rate_in_turns(calls, rounds=effort.blocks)
    state = f"{state_kb} kB of state{', HEAD in two sectors' if across else ''}"
    name = f"append at event {_SHORT_EVENTS} and {_VERY_LONG_EVENTS:,}, {state}"
    row = Row(name, "ms", times["small"], times["large"], times["floor"])
    return bounded(row, growth=1.2, over_floor=most)


def _place_head(path: Path, *, across: bool) -> None:
    """Move HEAD's id to where it can be written over, or into two sectors, where it is in 7 of 100 conversations."""
    raw = path.read_bytes()
    at = raw.index(b'"leaf_event_id"') + len(b'"leaf_event_id":')
    path.write_bytes(b"{" + b" " * (((500 if across else 100) - at) % 512) + raw[1:])


def _measure_bare(directory: Path, effort: Effort) -> Row:
    """Measure the calls and statements of an append alone, which tells how much of it is convstore's own."""
    one = add_long_conversation(directory, LONG_EVENTS)
    with opened_store(directory) as opened:
        index = opened.store.settings.index_path
    calls = {
        "bare": partial(_median_ms, bare_append(directory / one / "bare", BareIndex(index, _TEXT), _EVENT_BYTES)),
        "floor": partial(_median_ms, _durable_file(directory / "floor")),
    }
    times = rate_in_turns(calls, rounds=effort.blocks)
    return Row("the calls and SQL of an append alone", "ms", times["bare"], None, times["floor"])


def append_ms(opened: Opened, conversation: ConversationWriter) -> float:
    """Return the median of what appends take whoever awaits them, one after the other."""

    async def append() -> float:
        began = perf_counter()
        await conversation.append(_EVENT)
        return (perf_counter() - began) * 1000

    async def several() -> list[float]:
        return [await append() for _ in range(_EACH)]

    times_ms: list[float] = opened.run(several())
    return median(times_ms)


def _median_ms(work: Callable[[], object]) -> float:
    return median(_timed(work) for _ in range(_EACH))


def _durable_file(directory: Path) -> Callable[[], None]:
    """Return a call that writes one more file of an event's size under `directory`, so that a power cut leaves it."""
    directory.mkdir()
    numbers = count()

    def write() -> None:
        path = directory / f"event-{next(numbers):05d}.json"
        with path.with_suffix(".tmp").open("wb", buffering=0) as file:
            file.write(_EVENT_BYTES)
            os.fsync(file.fileno())
        path.with_suffix(".tmp").rename(path)
        descriptor = os.open(directory, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    return write


def _measure_writers(directory: Path, effort: Effort) -> list[Row]:
    """Measure one writer and eight, and eight threads that do nothing but the calls and SQL of appends."""
    root, bare_root = directory / "writers", directory / "bare-writers"
    for one in (root, bare_root):
        make_store(one, _WRITERS)
    with opened_store(bare_root) as opened:
        index = BareIndex(opened.store.settings.index_path, _TEXT)
    bare = [bare_append(bare_root / f"bare-{key}", index, _EVENT_BYTES, key) for key in range(1, _WRITERS + 1)]
    files = [_durable_file(directory / f"writer-floor-{number}") for number in range(_WRITERS)]
    with opened_store(root) as opened, ThreadPoolExecutor(_WRITERS) as threads:
        ids = opened.run(opened.store.list_ids(ConversationFilter()))
        conversations = [opened.writer(one) for one in ids]

        def rate(number: int) -> float:
            began = perf_counter()
            opened.run(_append_at_once(conversations[:number]))
            return number * _EACH / (perf_counter() - began)

        def rate_of_threads(writes: list[Callable[[], None]]) -> float:
            began = perf_counter()
            list(threads.map(lambda write: [write() for _ in range(_EACH)], writes))
            return len(writes) * _EACH / (perf_counter() - began)

        rates = rate_in_turns(
            {
                "one": partial(rate, 1),
                "eight": partial(rate, _WRITERS),
                "bare one": partial(rate_of_threads, bare[:1]),
                "bare eight": partial(rate_of_threads, bare),
                "floor": partial(rate_of_threads, files),
            },
            rounds=effort.rounds,
        )
    name = f"1 writer and {_WRITERS}, to {_WRITERS} threads of files"
    row = Row(f"appends, {name}", "1/s", rates["one"], rates["eight"], rates["floor"])
    alone = Row(f"calls and SQL alone, {name}", "1/s", rates["bare one"], rates["bare eight"], rates["floor"])
    return [bounded(row, under_floor=0.45), alone]


def _measure_over_http(directory: Path, effort: Effort) -> list[Row]:
    """Measure appends over HTTP, beside a bare route that does the calls of an append and one insert."""
    store = Store(directory / "served", directory / "served-index" / "index.db", _WRITERS)
    make_store(store.path, _WRITERS)
    store.index.parent.mkdir()
    began = datetime.now(UTC)
    with serving(store, LIST_PATH) as server, serving_bare_route(directory / "bare-route", _WRITERS) as floor:
        wait_until_in_step(server, began)
        own = [f"/api/conversations/{one}/events" for one in list_directories(store.path)[0]]
        bare = [f"/{number}" for number in range(_WRITERS)]
        requests = effort.round_requests // 4
        with Client(server.port) as client, Client(floor.port) as floor_client:
            calls = {
                "own": partial(client.post, own[0], _MESSAGE),
                "floor": partial(floor_client.post, bare[0], _MESSAGE),
            }
            times = take_turns(calls, blocks=effort.blocks, each=_EACH)
        rates = rate_in_turns(
            {
                "own": partial(posts_per_second, server.port, own, _MESSAGE, requests=requests),
                "floor": partial(posts_per_second, floor.port, bare, _MESSAGE, requests=requests),
            },
            rounds=effort.rounds,
        )
    one = Row("append over HTTP, to a bare route", "ms", times["own"], None, times["floor"])
    eight = Row(f"appends over HTTP, {_WRITERS} clients, to a bare route", "1/s", rates["own"], None, rates["floor"])
    return [bounded(one, over_floor=2.0), bounded(eight, under_floor=0.5)]


async def _append_at_once(conversations: list[ConversationWriter]) -> None:
    async def several(conversation: ConversationWriter) -> None:
        for _ in range(_EACH):
            await conversation.append(_EVENT)

    await asyncio.gather(*map(several, conversations))


def _measure_whole(directory: Path, effort: Effort) -> list[Row]:
    """Measure deleting a conversation, and opening one up to its first append, of few events and of many."""
    root = directory / "whole"
    ids = {"small": add_long_conversation(root, _SHORT_EVENTS), "large": add_long_conversation(root, LONG_EVENTS)}
    third = add_long_conversation(root, 2 * _SHORT_EVENTS)
    with opened_store(root, open_conversations=1) as opened:

        def first_append(one: ConversationId) -> float:
            opened.run(_open_and_append(opened.store, third))  # which closes the other
            return _timed(lambda: opened.run(_open_and_append(opened.store, one)))

        def delete(one: ConversationId) -> float:
            took = _timed(lambda: opened.run(opened.store.delete(one)))
            opened.run(opened.store.restore(one))
            return took

        opens = rate_in_turns({name: partial(first_append, one) for name, one in ids.items()}, rounds=effort.starts)
        deletes = rate_in_turns({name: partial(delete, one) for name, one in ids.items()}, rounds=effort.starts)
    of = f"of {_SHORT_EVENTS} and {LONG_EVENTS:,} events"
    return [
        Row(f"open one {of}, to its first append", "ms", opens["small"], opens["large"]),
        Row(f"delete one {of}", "ms", deletes["small"], deletes["large"]),
    ]


def _measure_long(root: Path, events: int, effort: Effort) -> list[Row]:
    """Measure the first append to long conversations that no other program changed since the index read them."""
    store = Store(root, root / ".convstore" / "index.db", 3)
    sizes = {"small": LONG_EVENTS, "large": events}
    ids = {name: add_long_conversation(root, number) for name, number in sizes.items()}
    other = add_long_conversation(root, _SHORT_EVENTS)
    with opened_store(root):
        pass
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in ids}

    def first_append(name: str) -> float:
        time.sleep(_RACY_S)  # a log that changed just now is listed
        measured[name].append(orjson.loads(run_python(["-m", "tests.bench.first_append", ids[name], other], store)))
        return measured[name][-1]["ms"]

    for name in ids:
        first_append(name)  # which makes the length marker and the lease
    times = rate_in_turns({name: partial(first_append, name) for name in ids}, rounds=effort.starts)
    name = f"first append to {LONG_EVENTS:,} and {events:,} events"

    def row(name: str, unit: str, what: str) -> Row:
        small, large = (Sample.of([one[what] for one in measured[size][2:]]) for size in ids)
        return Row(name, unit, small, large)

    return [
        bounded(Row(name, "ms", times["small"], times["large"]), at_most=100),
        row("its CPU time", "ms", "cpu_ms"),
        bounded(row("its memory", "MB", "mb"), at_most=50),
    ]


async def _open_and_append(store: ConversationStore, one: ConversationId) -> None:
    """Open a conversation for writing and append one event."""
    async with store.writer(one) as conversation:
        await conversation.append(_EVENT)


def _timed(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return (perf_counter() - began) * 1000
