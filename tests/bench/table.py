"""Showing what was measured: the machine and the versions first, then a table, then JSON."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
from rich import box
from rich.console import Console
from rich.table import Table

from app import __version__
from tests.bench.measure import Sample
from tests.bench.rows import Row

_TOLERANCE = 0.1
_BEGIN, _END = "<!-- bench: begin -->", "<!-- bench: end -->"
_HEADS = ("| what | A | B | B/A | to floor | wanted | where |", "|---|---|---|---|---|---|---|")
_NAMES = {"over_floor": "to floor", "growth": "B/A", "median": "median"}
_PACKAGES = ("fastapi", "starlette", "uvicorn", "sqlalchemy", "aiosqlite", "orjson")


def describe_machine() -> dict[str, str]:
    """Return what the figures depend on."""
    processors = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in processors if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "busy": f"{os.getloadavg()[0]:.1f} before",
        "processor": model,
        "memory": f"{memory / 1e9:.1f} GB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "convstore": __version__,
        **{name: version(name) for name in _PACKAGES},
    }


def print_machine(console: Console, machine: dict[str, str]) -> None:
    """Print what the figures depend on, in one paragraph."""
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()), highlight=False)


def print_table(console: Console, rows: Sequence[Row], sizes: Sequence[int]) -> None:
    """Print the rows: medians, ratios, and whether the bounds are kept."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in ("unit", f"A: {sizes[0]:,}", f"B: {sizes[1]:,}", "B/A", "floor", "to floor"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("bound", no_wrap=True)
    table.add_column("met", no_wrap=True)
    for row in rows:
        met = {None: "", True: "yes", False: "[bold red]no[/]"}[row.bound.met]
        samples = [_format(sample.median if sample else None) for sample in (row.small, row.large)]
        floor = _format(row.floor.median if row.floor else None)
        ratios = [_format(ratio) for ratio in (row.growth, row.over_floor)]
        table.add_row(row.name, row.unit, *samples, ratios[0], floor, ratios[1], row.bound.text, met)
    console.print(table)
    console.print(
        "Medians. The floor is measured at B's size where there is one: the same bytes from memory by Starlette, the\n"
        "same SQL by sqlite3, reading (for backfills also parsing) the same files and nothing else, a key that\n"
        "toggles one class, or what is named.",
        highlight=False,
    )


def write_json(file: Path, machine: dict[str, str], sizes: Sequence[int], rows: Sequence[Row]) -> None:
    """Write everything: min, median, max and number of every sample."""
    document = {"machine": machine, "sizes": list(sizes), "rows": [plain(row) for row in rows]}
    file.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def write_evidence(
    document: Path, machine: Mapping[str, str], sizes: Sequence[int], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Write the rows that have a ratio or a bound into the table between the markers of a Markdown file.

    `rows` are those of the JSON. A row that the table has is replaced, and others stay, because parts are run apart.
    """
    before, begin, rest = document.read_text().partition(_BEGIN)
    old, end, after = rest.partition(_END)
    if not end:
        raise ValueError(f"{document} has no table between {_BEGIN} and {_END}")
    lines = {line.split(" | ")[0]: line for line in old.splitlines() if line.startswith("| ") and " | " in line}
    lines.pop(_HEADS[0].split(" | ")[0], None)
    told = f"{machine['cores']} cores, load {machine['busy']}, A {sizes[0]:,}, B {sizes[1]:,}"
    for row in rows:
        if row["over_floor"] or row["growth"] or row["bound"]:
            line = _write_line(row, told)
            lines[line.split(" | ")[0]] = line
    table = "\n".join([*_HEADS, *lines.values()])
    document.write_text(f"{before}{begin}\n{table}\n{end}{after}")


def _write_line(row: Mapping[str, Any], told: str) -> str:
    samples = [_format(row[size]["median"] if row[size] else None) for size in ("small", "large")]
    ratios = [_format(row[ratio]) for ratio in ("growth", "over_floor")]
    met = {None: "", True: "", False: ": **missed**"}[row["met"]]
    name = f"{row['name']}, {row['unit']}".removesuffix(", ")
    cells = [name, *samples, *ratios, f"{row['bound'] or ''}{met}", told]
    return f"| {' | '.join(cells)} |"


def find_slower(rows: Sequence[Row], earlier: Mapping[str, Any]) -> list[str]:
    """Return a line for each row that got worse by more than 10 % since an earlier run's JSON.

    A row's ratio is compared where it has one (to the floor, else B/A): it depends less on the machine than a time.
    """
    before = {row["name"]: row for row in earlier["rows"]}
    lines = []
    for row in rows:
        for what in ("over_floor", "growth", "median"):
            old, new = _figure(before.get(row.name, {}), what), _figure(plain(row), what)
            if old and new:
                worse = old / new if row.unit.startswith("1/") else new / old
                if worse > 1 + _TOLERANCE:
                    lines.append(f"{row.name}: {_NAMES[what]} {_format(old)} before, {_format(new)} now")
                break
    return lines


def print_slower(console: Console, slower: Sequence[str]) -> None:
    """Print what `find_slower` returned."""
    title = "Worse by more than 10 % than in the earlier run:" if slower else "Nothing is worse by more than 10 %."
    console.print("\n".join([title, *slower]), highlight=False)


def _figure(row: Mapping[str, Any], what: str) -> float | None:
    if what != "median":
        return row.get(what)
    sample = row.get("large") or row.get("small")
    return sample["median"] if sample else None


def plain(row: Row) -> dict[str, Any]:
    """Return a row as the JSON has it."""
    bound = {"bound": row.bound.text or None, "met": row.bound.met}
    samples: dict[str, Sample | None] = {"small": row.small, "large": row.large, "floor": row.floor}
    figures = {name: asdict(sample) if sample else None for name, sample in samples.items()}
    return {"name": row.name, "unit": row.unit, **figures, "growth": row.growth, "over_floor": row.over_floor, **bound}


def _format(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
