"""Measuring first builds of an index: a process per sync, and its floor before it."""

from __future__ import annotations

import shutil
import time

import orjson

from tests.bench.backfill import Times
from tests.bench.measure import Sample
from tests.bench.rows import Bound, Row
from tests.bench.server import Store, run_python

_FLOOR_CONVERSATIONS = 10_000
_REPEAT_WITHIN_S = 30.0


class Builds:
    """The times of repeated builds of one store's index, and of their floor."""

    def __init__(self, store: Store, *, runs: int) -> None:
        """Build the index `runs` times, the last of which stays; less often when that takes long.

        Everything is read once before, so that the disk is not what is measured.
        """
        self.store = store
        self.builds: list[Times] = []
        self.floors: list[Times] = []
        run_times(store, "floor", str(store.conversations))
        began = time.monotonic()
        while len(self.builds) < runs and (not self.builds or time.monotonic() - began < _REPEAT_WITHIN_S):
            shutil.rmtree(store.index.parent, ignore_errors=True)
            store.index.parent.mkdir(parents=True)
            self.floors.append(run_times(store, "floor", str(_FLOOR_CONVERSATIONS)))
            self.builds.append(build_index(store))


def build_index(store: Store) -> Times:
    """Bring a store's index up to date, building it if there is none."""
    return run_times(store, "sync")


def run_times(store: Store, *arguments: str) -> Times:
    """Run `tests.bench.backfill` on a store in a process of its own."""
    return Times(**orjson.loads(run_python(["-m", "tests.bench.backfill", *arguments], store)))


def build_rows(small: Builds, large: Builds, padded: Builds | None, talkative: Builds) -> list[Row]:
    """Return the rows of both phases, conversations and events a second."""
    measured = (small.builds, large.builds, large.floors)
    rows = [
        _row("metadata backfill", 4000, *([t.conversations_per_s for t in times] for times in measured)),
        _row("event backfill", 25_000, *([t.events_per_s for t in times] for times in measured)),
    ]
    speeds = [[t.events_per_s for t in times] for times in (talkative.builds, [], talkative.floors)]
    rows.append(_row("the same, 500 characters of text a use of a tool", 8000, *speeds))
    if padded:
        speeds = [[t.conversations_per_s for t in times] for times in (padded.builds, [], padded.floors)]
        rows.insert(1, _row(f"the same, {padded.store.state_kb} kB of state", 1300, *speeds))
    return rows


def _row(name: str, at_least: int, small: list[float], large: list[float], floor: list[float]) -> Row:
    """Return a row whose bound is asked at the larger size: of a build of 1,000, half is the start of its processes."""
    a, b = (Sample.of(values) if values else None for values in (small, large))
    judged = b or a
    met = judged is not None and judged.median >= at_least
    return Row(name, "1/s", a, b, Sample.of(floor), Bound(f"≥ {at_least:,} 1/s{' at B' if b else ''}", met))
