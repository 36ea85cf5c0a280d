"""Migrations that are killed: at their statements, and at any time. Prints what stood there afterwards, as JSON.

python -m tests.migrations.killed INDEX TARGET EVERY TIMES

INDEX is copied for each try and migrated to TARGET by a forked process, which is killed: before each EVERY-th statement
it runs, then TIMES times after a random while. Then it is migrated once more, to the end.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from app.index.sqlite import migrations
from app.index.sqlite.migrations import read_revision


def migrate(path: Path, target: str) -> None:
    """Go up or down, whichever leads there."""
    if target == "base" or target < (read_revision(path) or ""):
        migrations.downgrade(path, target)
    else:
        migrations.upgrade(path, target)


def in_child(work: Callable[[], object]) -> int:
    """Run work in a forked process and return that process's id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


def count_statements(path: Path, target: str, kill_at: int | None) -> int:
    """Migrate, counting the statements; killed before the `kill_at`-th."""
    count = 0

    def before(*_: Any) -> None:
        nonlocal count
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", before)
    try:
        migrate(path, target)
    finally:
        event.remove(Engine, "before_cursor_execute", before)
    return count


def content(path: Path) -> str:
    """Return a digest of everything in a database but its epoch, which is random, and check that it is sound."""
    digest = sha256()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        schema_of = db.execute("SELECT type, name, sql, rootpage FROM sqlite_master ORDER BY type, name").fetchall()
        for kind, name, sql, root_page in schema_of:
            digest.update(f"{kind} {name} {sql}\n".encode())
            if kind == "table" and root_page and name != "revision":
                for row in sorted(db.execute(f'SELECT * FROM "{name}"'), key=repr):
                    digest.update(f"{row!r}\n".encode())
    return digest.hexdigest()


def main() -> None:
    """Kill, look, go on, look."""
    index, target, every, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    work = index.with_name("killed")
    work.mkdir()

    def fresh() -> Path:
        shutil.rmtree(work)
        work.mkdir()
        return Path(shutil.copyfile(index, work / "index.db"))

    path = fresh()
    began = time.monotonic()
    statements = count_statements(path, target, None)
    took_s = time.monotonic() - began
    whole = content(path)
    steps = [revision.id for revision in migrations.history(index)]
    results = []

    def look(what: str, killed: bool) -> None:
        between = read_revision(path)
        content(path)
        migrate(path, target)
        results.append({"killed": what, "was_killed": killed, "between": between, "whole": content(path) == whole})

    for number in range(1, statements + 1, every):
        path = fresh()
        child = in_child(partial(count_statements, path, target, number))
        _, status = os.waitpid(child, 0)
        look(f"before statement {number}", os.WIFSIGNALED(status))
    for _ in range(times):
        path = fresh()
        child = in_child(partial(migrate, path, target))
        time.sleep(random.uniform(0, took_s))  # noqa: S311 - any time will do
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        look("at some time", os.WIFSIGNALED(status))
    print(json.dumps({"statements": statements, "steps": steps, "results": results}))


if __name__ == "__main__":
    main()
