"""What an administrator runs on a whole store: upgrade, backup, export and import, as commands; and their memory."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import orjson

from app.index.sqlite import migrations
from tests.bench.measure import Sample
from tests.bench.rows import Bound, Row
from tests.bench.server import CHECKOUT, Store

_MEASURED = """
import json, os, subprocess, sys, time
began = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), time.perf_counter() - began, used.ru_maxrss * 1024 / 1e6]))
"""
"""A small program that runs a large one: a process's peak is at least that of the one which started it."""

_FLOORS = {
    "db upgrade": "VACUUM INTO",
    "db backup": "VACUUM INTO",
    "export as JSON Lines": "tar",
    "export as zip": "tar -cz",
    "import": "tar -x; sync",
}
_MORE_MB = 20


class Cost(NamedTuple):
    """How long a command took, and the most memory that it had."""

    seconds: float
    memory_mb: float


class _Measured(NamedTuple):
    """Each command on one store, by its name, and its floor's seconds."""

    costs: dict[str, Cost]
    floors: dict[str, float]


def measure_administration(stores: Sequence[Store], directory: Path) -> list[Row]:
    """Measure each command on the small and the large store, and the least that any program would do, on the large."""
    small, large = (_measure(store, directory / "administration") for store in stores)
    rows = []
    for name, cost in large.costs.items():
        a, b, floor = (Sample.of([value]) for value in (small.costs[name].seconds, cost.seconds, large.floors[name]))
        rows.append(Row(f"{name}, to {_FLOORS[name]}", "s", a, b, floor))
    for name, cost in large.costs.items():
        a, b = (Sample.of([value]) for value in (small.costs[name].memory_mb, cost.memory_mb))
        bound = Bound(f"at most {_MORE_MB} MB more", b.median - a.median <= _MORE_MB)
        rows.append(Row(f"{name}: memory", "MB", a, b, None, bound))
    return rows


def _measure(store: Store, directory: Path) -> _Measured:
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "imported").mkdir(parents=True)
    index, archive, backup = directory / "index.db", directory / "all.jsonl", directory / "backup.db"
    with closing(sqlite3.connect(store.index)) as db:
        db.execute("VACUUM INTO ?", (str(index),))
    copy = Store(store.path, index, store.conversations)
    target = Store(directory / "imported", directory / "imported.db", store.conversations)
    costs, floors = {}, {}

    migrations.downgrade(index, migrations.history(index)[-1].id)
    floors["db upgrade"] = _timed(_copy_database, index, directory / "floor.db")
    costs["db upgrade"] = _run(copy, "db", "upgrade")
    costs["db backup"] = _run(copy, "db", "backup", backup)
    floors["db backup"] = _timed(_copy_database, index, directory / "again.db")
    costs["export as JSON Lines"] = _run(store, "export", "--all", "--no-sync", "--format", "jsonl", "-o", archive)
    floors["export as JSON Lines"] = _timed(_tar, "-cf", directory / "floor.tar", "-C", store.path, ".")
    costs["export as zip"] = _run(store, "export", "--all", "--no-sync", "-o", directory / "all.zip")
    floors["export as zip"] = _timed(_tar, "-czf", directory / "floor.tar.gz", "-C", store.path, ".")
    (directory / "untarred").mkdir()
    costs["import"] = _run(target, "import", archive)
    floors["import"] = _timed(_untar, directory / "floor.tar", directory / "untarred")
    shutil.rmtree(directory)
    return _Measured(costs, floors)


def _run(store: Store, *arguments: object) -> Cost:
    command = [sys.executable, "-m", "app", *map(str, arguments)]
    ran = subprocess.run(
        [sys.executable, "-S", "-c", _MEASURED, *command],
        cwd=CHECKOUT,
        env=store.environment(),
        stdout=subprocess.PIPE,
        check=True,
    )
    code, seconds, memory_mb = orjson.loads(ran.stdout)
    if code:
        raise RuntimeError(f"convstore {' '.join(command[3:])} ended with exit code {code}")
    return Cost(seconds, memory_mb)


def _timed(work: Callable[..., None], *arguments: object) -> float:
    began = perf_counter()
    work(*arguments)
    return perf_counter() - began


def _copy_database(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as db:
        db.execute("VACUUM INTO ?", (str(target),))


def _tar(*arguments: object) -> None:
    subprocess.run(["tar", "--hard-dereference", *map(str, arguments)], check=True)


def _untar(archive: Path, target: Path) -> None:
    _tar("-xf", archive, "-C", target)
    os.sync()
