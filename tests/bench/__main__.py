"""`python -m tests.bench`: make stores, measure, print."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from rich.console import Console

from app.files.layout import list_directories
from tests.bench.administration import measure_administration
from tests.bench.builds import Builds, build_index, build_rows
from tests.bench.following import measure_following
from tests.bench.generate import add_long_conversation, make_store
from tests.bench.rival import may_compare, measure_beside
from tests.bench.rows import FULL, LONG_EVENTS, QUICK, Effort, Row, measure_served, measure_starts
from tests.bench.server import Store
from tests.bench.table import describe_machine, print_machine, print_table, write_json
from tests.bench.writes import measure_writes

_SIZES = "1000,10000"
_QUICK_SIZES = "100,1000"
_PADDED = 500
_QUICK_PADDED = 100
_TALKATIVE = 2000
_MOST_BESIDE = 10_000
_SETTLE_S = 2.5
"""A file that changed within two seconds of its check is not trusted and read again; a store is left alone first."""

_stages = Console(stderr=True, highlight=False)


def main() -> None:
    """Run the benchmarks that the arguments ask for."""
    asked = _arguments().parse_args()
    sizes = [int(size) for size in (asked.sizes or (_QUICK_SIZES if asked.quick else _SIZES)).split(",")]
    if len(sizes) != 2:
        raise SystemExit("--sizes takes two numbers, as in --sizes 1000,10000")
    effort = QUICK if asked.quick else FULL
    console = Console(width=None if Console().is_terminal else 170, highlight=False)
    machine = describe_machine()
    print_machine(console, machine)
    with tempfile.TemporaryDirectory(prefix="convstore-bench-", dir=asked.directory) as name:
        directory = Path(name)
        if asked.writes:
            print_table(console, measure_writes(directory, effort), sizes)
            return
        stores = [_make(directory, "small", sizes[0])]
        stores.append(_given(directory, asked.store) if asked.store else _make(directory, "large", sizes[1]))
        padded = None
        if asked.state_kb:
            count = _QUICK_PADDED if asked.quick else _PADDED
            padded = _make(directory, "padded", count, state_kb=asked.state_kb)
        talkative = _make(directory, "talkative", _QUICK_PADDED if asked.quick else _TALKATIVE, talkative=True)
        time.sleep(_SETTLE_S)
        rows = _measure(directory, stores, padded, talkative, effort)
    sizes = [store.conversations for store in stores]
    print_table(console, rows, sizes)
    if asked.json:
        write_json(asked.json, machine, sizes, rows)


def _measure(directory: Path, stores: list[Store], padded: Store | None, talkative: Store, effort: Effort) -> list[Row]:
    _stages.print("building the indexes")
    small, large = (Builds(store, runs=effort.backfills) for store in stores)
    padded_builds = Builds(padded, runs=effort.backfills) if padded else None
    talkative_builds = Builds(talkative, runs=effort.backfills)
    for store in stores:
        if store.path.is_relative_to(directory):
            add_long_conversation(store.path, LONG_EVENTS)
    time.sleep(_SETTLE_S)
    for store in stores:
        build_index(store)
    _stages.print("starting servers")
    starts = measure_starts(stores, effort)
    _stages.print("asking servers")
    served, memory = measure_served(stores, padded, effort, directory)
    _stages.print("administering")
    administered = measure_administration(stores, directory)
    _stages.print("following")
    own = [store for store in stores if store.path.is_relative_to(directory)]
    followed = measure_following(stores, own, effort)
    stores_beside = [store for store in (*own, padded) if store and store.conversations <= _MOST_BESIDE]
    beside = stores_beside if may_compare() else []
    _stages.print("beside agent-server" if beside else "NOT beside agent-server: OPENHANDS_PYTHON names no Python")
    rivals = measure_beside(beside, effort)
    return [
        *starts,
        *served,
        *build_rows(small, large, padded_builds, talkative_builds),
        *followed,
        *administered,
        *memory,
        *rivals,
    ]


def _make(directory: Path, name: str, count: int, *, state_kb: int = 0, talkative: bool = False) -> Store:
    _stages.print(f"making {count:,} conversations" + (f" with {state_kb} kB of state" if state_kb else ""))
    make_store(directory / name, count, state_kb=state_kb, talkative=talkative)
    return Store(directory / name, directory / f"{name}-index" / "index.db", count, state_kb)


def _given(directory: Path, path: Path) -> Store:
    conversations, _ = list_directories(path)
    return Store(path.absolute(), directory / "large-index" / "index.db", len(conversations))


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--sizes", help=f"the small and the large store, in conversations; default {_SIZES}")
    parser.add_argument("--quick", action="store_true", help=f"sizes {_QUICK_SIZES} and few repetitions: a smoke test")
    parser.add_argument("--writes", action="store_true", help="measure only what writing costs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured to this file")
    parser.add_argument(
        "--state-kb",
        type=int,
        default=260,
        metavar="N",
        help="kB of state of the padded store, 0 for none; default 260",
    )
    parser.add_argument("--store", type=Path, metavar="DIR", help="use this directory, unchanged, as the large store")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="where the temporary directory is made")
    return parser


if __name__ == "__main__":
    main()
