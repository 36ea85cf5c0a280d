"""Staying true: what a sweep costs where nothing changes, a rebuild, and how soon an append from outside is listed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import orjson

from app.files.metadata_reader import Reader
from app.index.sqlite.database import Index
from app.store.context import StoreContext
from app.store.follow.watcher import Watcher
from tests.bench.backfill import Times
from tests.bench.builds import run_times
from tests.bench.client import Client
from tests.bench.measure import Sample
from tests.bench.rows import Bound, Effort, Row
from tests.bench.server import Store, run_python, serving, wait_until_in_step
from tests.builders import make_conversation, make_event, make_id, write_event

_APPENDS = 10
_NUMBER = 10**9
_FOUND_MS = 2000.0
_SETTLE_S = 5.0
_IDLE_S = 15.0
_SHARE_PERCENT = 5.0
_MORE_MB = 20.0


def measure_following(stores: Sequence[Store], own: Sequence[Store], effort: Effort) -> list[Row]:
    """Measure all of it on the small and the large store; only stores of the bench's `own` are appended to."""
    sweeps = [asyncio.run(_sweep(store, effort.backfills)) for store in stores]
    rebuilds = [_rebuild(store) for store in stores]
    idle = [_idle(store, effort.backfills) for store in stores]
    appends = [_append(store) if store in own else None for store in stores]
    found = [sample.max for sample in appends if sample]
    rows = [
        Row("a sweep's closest look at all, unchanged, to its stats", "ms", sweeps[0][0], sweeps[1][0], sweeps[1][1]),
        Row("rebuild, to reading and parsing the same files", "s", rebuilds[0][0], rebuilds[1][0], rebuilds[1][1]),
    ]
    shares, memory = [one[0] for one in idle], [one[1] for one in idle]
    share_bound = Bound(f"≤ {_SHARE_PERCENT:g} %", shares[1].median <= _SHARE_PERCENT)
    memory_bound = Bound(f"at most {_MORE_MB:g} MB more", memory[1].median - memory[0].median <= _MORE_MB)
    rows += [
        Row("one core's share of a server where nothing happens", "%", shares[0], shares[1], None, share_bound),
        Row("memory of a server where nothing happens", "MB", memory[0], memory[1], None, memory_bound),
    ]
    bound = Bound(f"≤ {_FOUND_MS:g} ms", max(found) <= _FOUND_MS) if found else Bound("", None)
    return [*rows, Row("another program's append until it is listed", "ms", appends[0], appends[1], None, bound)]


async def _sweep(store: Store, runs: int) -> tuple[Sample, Sample]:
    """Return the milliseconds of a full walk, and of the bare stats that it consists of."""
    index = Index(store.index, readers=1, busy_timeout_s=5)
    await index.open()
    try:
        looking = Watcher(StoreContext(index, Reader(store.path, None)))
        await looking.walk_all()
        walks, floors = [], []
        for _ in range(runs):
            began = perf_counter()
            changed = await looking.walk_all()
            walks.append((perf_counter() - began) * 1000)
            if changed:
                raise RuntimeError(f"{changed} conversations of {store.path} changed while it was measured")
            began = perf_counter()
            _stat_all(str(store.path))
            floors.append((perf_counter() - began) * 1000)
    finally:
        await index.close()
    return Sample.of(walks), Sample.of(floors)


def _stat_all(root: str) -> None:
    for entry in os.scandir(root):
        for name in ("meta.json", "base_state.json", "convstore.json", "events", "owner_lease.json"):
            try:
                os.lstat(f"{entry.path}/{name}")
            except OSError:
                continue


def _idle(store: Store, runs: int) -> tuple[Sample, Sample]:
    """Return the percents of a core, and the memory, of a server that has nothing to do but to sweep."""
    shares = []
    began = datetime.now(UTC)
    with serving(store, "/api/conversations/count") as server:
        wait_until_in_step(server, began)
        time.sleep(_SETTLE_S)
        for _ in range(runs):
            before_s = server.cpu_s()
            time.sleep(_IDLE_S)
            shares.append((server.cpu_s() - before_s) / _IDLE_S * 100)
        return Sample.of(shares), Sample.of([server.memory_mb()[0]])


def _rebuild(store: Store) -> tuple[Sample, Sample]:
    """Return the seconds of the command, and of a plain program that reads and parses every file in one process."""
    floor: Times = run_times(store, "floor", str(store.conversations))
    report = orjson.loads(run_python(["-m", "app", "index", "rebuild", "--json"], store))
    return Sample.of([report["seconds"]]), Sample.of([floor.metadata_s + floor.events_s])


def _append(store: Store) -> Sample:
    """Return the milliseconds from an append by another program until a list over HTTP has it."""
    times = []
    began = datetime.now(UTC)
    directory = _new_conversation(store.path)
    path = f"/api/conversations?ids={directory.name}"
    with serving(store, path) as server, Client(server.port) as client:
        wait_until_in_step(server, began)
        for number in range(_APPENDS):
            time.sleep(0.37)  # not in step with the server's ticks
            write_event(directory, number, make_event(number))
            written = perf_counter()
            while orjson.loads(client.get(path))[0]["event_count"] <= number:
                time.sleep(0.005)
            times.append((perf_counter() - written) * 1000)
    return Sample.of(times)


def _new_conversation(root: Path) -> Path:
    now = datetime.now(UTC).isoformat()
    assert not (root / make_id(_NUMBER)).exists()
    return make_conversation(root, _NUMBER, meta={"created_at": now, "updated_at": now}, events=0)
