"""`python -m tests.bench`: make stores, measure one part after the other, print."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import orjson
from rich.console import Console

from app.files.layout import list_directories
from tests.bench.administration import measure_administration
from tests.bench.builds import Builds, build_index, build_rows
from tests.bench.copies import measure_copies
from tests.bench.engines import measure_engines
from tests.bench.following import measure_following
from tests.bench.generate import add_long_conversation, make_store
from tests.bench.mcp import measure_mcp
from tests.bench.million import measure_million
from tests.bench.page import measure_page
from tests.bench.rival import measure_beside, missing_rivals
from tests.bench.rows import FULL, LONG_EVENTS, QUICK, Effort, Row, measure_served, measure_starts
from tests.bench.search import measure_search
from tests.bench.server import Store
from tests.bench.table import (
    describe_machine,
    find_slower,
    plain,
    print_machine,
    print_slower,
    print_table,
    write_evidence,
    write_json,
)
from tests.bench.writes import measure_writes
from tests.postgres import any_server, find_lack

_SIZES = "1000,10000"
_QUICK_SIZES = "100,1000"
_PADDED = 500
_QUICK_PADDED = 100
_TALKATIVE = 2000
_MESSAGES = 1_000_000
_QUICK_MESSAGES = 20_000
_EVENTS = 100_000
_MANY = 1_000_000
_QUICK_MANY = 20_000
_MOST_BESIDE = 10_000
_SETTLE_S = 2.5
"""A file that changed within two seconds of its check is not trusted and read again; a store is left alone first."""

_EVIDENCE = Path(__file__).parents[2] / "docs" / "evidence.md"

_stages = Console(stderr=True, highlight=False)


class _Bench:
    """The stores under one directory, each made when a part first needs it, and the parts."""

    def __init__(self, directory: Path, asked: argparse.Namespace, sizes: tuple[int, int]) -> None:
        self._directory = directory
        self._asked = asked
        self._effort: Effort = QUICK if asked.quick else FULL
        self._sizes = sizes

    @property
    def sizes(self) -> list[int]:
        """How many conversations the two stores have."""
        return [store.conversations for store in self._plain] if "_plain" in self.__dict__ else list(self._sizes)

    @cached_property
    def _plain(self) -> list[Store]:
        small = self._make("small", self._sizes[0])
        if self._asked.store:
            conversations, _ = list_directories(self._asked.store)
            index = self._directory / "large-index" / "index.db"
            return [small, Store(self._asked.store.absolute(), index, len(conversations))]
        return [small, self._make("large", self._sizes[1])]

    @cached_property
    def _stores(self) -> list[Store]:
        """The two stores with a long conversation in each that is the bench's own, and their indexes in step."""
        for store in self._own:
            add_long_conversation(store.path, LONG_EVENTS)
        time.sleep(_SETTLE_S)
        for store in self._plain:
            build_index(store)
        return self._plain

    @property
    def _own(self) -> list[Store]:
        return [store for store in self._plain if store.path.is_relative_to(self._directory)]

    @cached_property
    def _padded(self) -> Store | None:
        count, state_kb = _QUICK_PADDED if self._asked.quick else _PADDED, self._asked.state_kb
        return self._make("padded", count, state_kb=state_kb) if state_kb else None

    def _make(self, name: str, count: int, *, state_kb: int = 0, talkative: bool = False) -> Store:
        _stages.print(f"making {count:,} conversations" + (f" with {state_kb} kB of state" if state_kb else ""))
        make_store(self._directory / name, count, state_kb=state_kb, talkative=talkative)
        time.sleep(_SETTLE_S)
        return Store(self._directory / name, self._directory / f"{name}-index" / "index.db", count, state_kb)

    def builds(self) -> list[Row]:
        """Measure first builds, before anything else is done to the stores."""
        small, large = (Builds(store, runs=self._effort.backfills) for store in self._plain)
        padded = Builds(self._padded, runs=self._effort.backfills) if self._padded else None
        talkative = self._make("talkative", _QUICK_PADDED if self._asked.quick else _TALKATIVE, talkative=True)
        return build_rows(small, large, padded, Builds(talkative, runs=self._effort.backfills))

    def starts(self) -> list[Row]:
        """Measure how soon a server answers."""
        return measure_starts(self._stores, self._effort)

    def served(self) -> list[Row]:
        """Measure lists, counts, facets, filters, events, and the servers' memory."""
        if self._padded:
            build_index(self._padded)
        return measure_served(self._stores, self._padded, self._effort, self._directory)

    def writes(self) -> list[Row]:
        """Measure appends, and opening and deleting conversations, on stores of their own."""
        return measure_writes(self._directory / "writes", self._asked.events or _EVENTS, self._effort)

    def copies(self) -> list[Row]:
        """Measure forks and exports of conversations with a tenth of the events of the longest log, and with all."""
        return measure_copies(self._directory, self._asked.events or _EVENTS, self._effort)

    def search(self) -> list[Row]:
        """Measure searches through messages that are made up in an index of their own."""
        messages = self._asked.messages or (_QUICK_MESSAGES if self._asked.quick else _MESSAGES)
        return measure_search(self._directory / "search.db", messages)

    def engines(self) -> list[Row]:
        """Measure an index in PostgreSQL beside one in SQLite, where there is a server; the floor is SQLite."""
        if lack := find_lack():
            _stages.print(f"NOT both databases: {lack}")
            return []
        messages = self._asked.messages or (_QUICK_MESSAGES if self._asked.quick else _MESSAGES)
        with any_server() as url:
            return measure_engines(self._stores, self._directory / "engines", url, messages, self._effort)

    def million(self) -> list[Row]:
        """Measure CPU time with as many conversations, and as many events of one, made of rows; A has a tenth."""
        number = self._asked.many or (_QUICK_MANY if self._asked.quick else _MANY)
        return measure_million(self._directory / "million", number)

    def following(self) -> list[Row]:
        """Measure sweeps, rebuilds, and a server beside which nothing happens."""
        return measure_following(self._stores, self._own, self._effort)

    def page(self) -> list[Row]:
        """Measure the page in a browser, where Chromium is installed."""
        rows = measure_page(self._stores, self._own, self._effort)
        if not rows:
            _stages.print("NOT the page: Chromium is not installed")
        return rows

    def mcp(self) -> list[Row]:
        """Measure `convstore mcp`, where the SDK is installed."""
        rows = measure_mcp(self._stores, self._effort)
        if not rows:
            _stages.print("NOT convstore mcp: the package mcp is not installed")
        return rows

    def administration(self) -> list[Row]:
        """Measure what an administrator runs; at 100,000 conversations this takes most of an hour."""
        return measure_administration(self._stores, self._directory)

    def beside(self) -> list[Row]:
        """Measure other servers on the same stores, where they are installed; agent-server may write to them."""
        for name, variable in missing_rivals().items():
            _stages.print(f"NOT beside {name}: {variable} does not name it; `make rivals` installs it")
        own = [store for store in self._stores if store in self._own]
        padded = [self._padded] if self._padded else []
        return measure_beside([store for store in own + padded if store.conversations <= _MOST_BESIDE], self._effort)


_PARTS: dict[str, Callable[[_Bench], list[Row]]] = {
    "builds": _Bench.builds,
    "starts": _Bench.starts,
    "served": _Bench.served,
    "writes": _Bench.writes,
    "copies": _Bench.copies,
    "search": _Bench.search,
    "engines": _Bench.engines,
    "million": _Bench.million,
    "following": _Bench.following,
    "page": _Bench.page,
    "mcp": _Bench.mcp,
    "administration": _Bench.administration,
    "beside": _Bench.beside,
}


def main() -> None:
    """Run the parts that the arguments ask for; what was measured before an interruption is printed, too."""
    parser = _arguments()
    asked = parser.parse_args()
    parts = asked.parts.split(",")
    if unknown := [part for part in parts if part not in _PARTS]:
        parser.error(f"--parts: {', '.join(unknown)} is none of {', '.join(_PARTS)}")
    small, _, large = (asked.sizes or (_QUICK_SIZES if asked.quick else _SIZES)).partition(",")
    if not (small.isdecimal() and large.isdecimal()):
        parser.error("--sizes takes two numbers, as in --sizes 1000,10000")
    earlier = orjson.loads(asked.against.read_bytes()) if asked.against else None
    console = Console(width=None if Console().is_terminal else 170, highlight=False)
    machine = describe_machine()
    print_machine(console, machine)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="convstore-bench-", dir=asked.directory) as name:
        bench = _Bench(Path(name), asked, (int(small), int(large)))
        try:
            for part, measure in _PARTS.items():
                if part in parts:
                    _stages.print(f"measuring: {part}")
                    rows += measure(bench)
        finally:
            print_table(console, rows, bench.sizes)
            if asked.json:
                write_json(asked.json, machine, bench.sizes, rows)
            if asked.evidence:
                write_evidence(_EVIDENCE, machine, bench.sizes, [plain(row) for row in rows])
            if earlier:
                print_slower(console, find_slower(rows, earlier))


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--sizes", help=f"the small and the large store, in conversations; default {_SIZES}")
    parser.add_argument("--quick", action="store_true", help=f"sizes {_QUICK_SIZES} and few repetitions: a smoke test")
    parser.add_argument("--parts", default=",".join(_PARTS), help="what to measure; default %(default)s")
    parser.add_argument("--messages", type=int, metavar="N", help=f"how many are searched; default {_MESSAGES:,}")
    parser.add_argument("--events", type=int, metavar="N", help=f"of the longest log of writes; default {_EVENTS:,}")
    parser.add_argument("--many", type=int, metavar="N", help=f"rows of the part million; default {_MANY:,}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured to this file")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        help="an earlier run's JSON, such as tests/bench/release.json; say what became worse by more than 10 %%",
    )
    parser.add_argument("--evidence", action="store_true", help="write the ratios into docs/evidence.md")
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
