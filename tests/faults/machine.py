"""Killing each way to write at every call that changes the disk, failing every call, and looking at what is left.

A run: a fresh copy of the store, a forked process at a barrier, strace on one of its threads, the operation. Then the
store is opened as after a crash. It must look as before or as after the operation, whole, and as after it once that was
acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.child import MAIN
from tests.faults.operations import ID, IN_STEPS, looks
from tests.faults.strace import NEW, Point, attached, find_points

_CHECKOUT = Path(__file__).parents[2]
_KILLED = 9
KILL = "kill"

_LOOKING = frozenset({"read", "pread64", "newfstatat", "statx", "stat", "lstat", "fstat", "getdents64"})
_NAMING = frozenset(
    {"link", "linkat", "unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir"}
    | {"utimensat", "fchmod", "fchmodat"}
)
_CONTENT = frozenset({"openat", "open", "creat", "write", "pwrite64", "writev", "fsync", "fdatasync", "ftruncate"})

CAN_FAIL = {
    "EIO": _LOOKING | _NAMING | _CONTENT,
    "ENOSPC": _NAMING | _CONTENT,
    "EINTR": _CONTENT | {"read", "pread64"},  # Linux does not interrupt the others on a disk
}
"""Which calls a disk makes fail so."""


class Fault(NamedTuple):
    """A point of an operation, and what happens there: a kill, or an error; and how the store looks without it."""

    operation: str
    point: Point
    kind: str
    before: dict[str, Any]
    after: dict[str, Any]


class Failure(NamedTuple):
    """A point after which the store was not as promised."""

    operation: str
    point: Point
    fault: str
    reason: str


class Ran(NamedTuple):
    """How a run ended: the lines that it printed, and the status of its process."""

    said: list[str]
    status: int

    @property
    def done(self) -> bool:
        return "done" in self.said


class Machine:
    """The forking process, the store that every run begins with, and how each operation leaves it."""

    def __init__(self, fresh: Path) -> None:
        """Begin each run with a copy of a store, beside it."""
        self._fresh = fresh
        self._directory = Path(tempfile.mkdtemp(dir=fresh.parent))
        self._runs = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.child", str(fresh)],
            cwd=_CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the forking process."""
        self._process.communicate(timeout=10)

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    @contextmanager
    def _copy(self) -> Iterator[Path]:
        root = self._directory / f"run-{self._runs}"
        self._runs += 1
        shutil.copytree(self._fresh, root)
        try:
            yield root
        finally:
            shutil.rmtree(root)

    def run(
        self, operation: str, root: Path, options: Callable[[dict[str, str]], Sequence[str]], *, retry: bool
    ) -> Ran:
        """Run an operation on a store under strace, whose options are made from the threads' ids and names."""
        self._say(f"{operation}\t{root}\t{'retry' if retry else 'once'}")
        ready = self._hear()
        assert ready.startswith("ready "), ready
        threads = json.loads(ready.removeprefix("ready "))
        *more, task = options(threads)
        with attached(int(task), *more):
            self._say("go")
            said = []
            while not (line := self._hear()).startswith("ended "):
                said.append(line)
        return Ran(said, int(line.removeprefix("ended ")))

    def list_points(self, operation: str) -> tuple[list[Point], dict[str, Any], dict[str, Any]]:
        """Return the calls that an operation makes, and how the store looks before and after it."""
        with self._copy() as root:
            before = look(root)
        with self._copy() as root:
            log = self._directory / "trace"
            names: dict[str, str] = {}

            def options(threads: dict[str, str]) -> Sequence[str]:
                names.update(threads)
                return ("-f", "-y", "-o", str(log), _main_thread(threads))

            ran = self.run(operation, root, options, retry=False)
            assert (ran.said, ran.status) == (["done"], 0), ran
            return find_points(log, names, root), before, look(root)

    def list_faults(self, operation: str) -> list[Fault]:
        """Return all that can happen to an operation where it touches the store."""
        points, before, after = self.list_points(operation)
        points = [point for point in points if point.on_store]
        # A kill at any other call leaves the disk as a kill at the next of these does; the kernel frees all locks.
        kinds = [(point, KILL) for point in points if point.changes or point is points[-1]]
        kinds += [
            (point, error)
            for point in points
            if point.thread != NEW  # each attempt would have such a thread, and fail again
            for error, calls in CAN_FAIL.items()
            if point.call in calls
        ]
        return [Fault(operation, point, kind, before, after) for point, kind in kinds]

    def try_fault(self, fault: Fault) -> Failure | None:
        """Let it happen, and return what is wrong then, or None."""
        operation, point, kind, before, after = fault
        if kind == KILL:
            reason = self._kill(operation, point, before, after)
        else:
            reason = self._fail(operation, point, kind, after)
        return None if reason is None else Failure(operation, point, kind, reason)

    def _kill(self, operation: str, point: Point, before: dict[str, Any], after: dict[str, Any]) -> str | None:
        """Kill an operation at a point and return what is wrong then, or None."""
        with self._copy() as root:
            ran = self.run(operation, root, _inject(point, "signal=SIGKILL"), retry=False)
            if ran.status not in (0, _KILLED):
                return f"ended with status {ran.status}: {ran.said}"
            now = _look_or_tell(root)
        if isinstance(now, str):
            return now
        if now == after or (now == before and not ran.done):
            return None
        if operation in IN_STEPS and not ran.done and _is_between(now, before, after):
            return None
        return f"neither as before nor as after (acknowledged: {ran.done}): {_differences(now, before, after)}"

    def _fail(self, operation: str, point: Point, error: str, after: dict[str, Any]) -> str | None:
        """Have one call fail, try the operation again in the same process, and return what is wrong then, or None."""
        with self._copy() as root:
            ran = self.run(operation, root, _inject(point, f"error={error}"), retry=True)
            if ran.status or not ran.done:
                return f"ended with status {ran.status}: {ran.said}"
            now = _look_or_tell(root)
        if isinstance(now, str):
            return now
        return None if now == after else f"not as after: {_differences(now, after, after)} (said {ran.said})"


def look(root: Path) -> dict[str, Any]:
    """Return how a store looks once it was opened again."""
    return asyncio.run(looks(root))


def _look_or_tell(root: Path) -> dict[str, Any] | str:
    try:
        return look(root)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is wrong
        return f"{type(error).__name__}: {error}"


def _main_thread(threads: dict[str, str]) -> str:
    return next(task for task, name in threads.items() if name == MAIN)


def _inject(point: Point, fault: str) -> Callable[[dict[str, str]], Sequence[str]]:
    def options(threads: dict[str, str]) -> Sequence[str]:
        task = next((task for task, name in threads.items() if name == point.thread), None)
        which = ("-f", _main_thread(threads)) if task is None else (task,)
        rule = f"inject={point.call}:{fault}:when={point.number}"
        return (*which[:-1], "-o", os.devnull, "-e", f"trace={point.call}", "-e", rule, which[-1])

    return options


def _is_between(now: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether the log holds some first ones of the new events and everything else is as before or as after."""
    key = next(one for one in after if one.replace("-", "") == ID)
    events, first, last = (shown[key]["events"] for shown in (now, before, after))
    others = all(now[one] == before[one] for one in before if one != key)
    return others and set(now) == set(before) and len(first) <= len(events) and events == last[: len(events)]


def _differences(now: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> str:
    if set(now) not in (set(before), set(after)):
        return f"conversations {sorted(now)}"
    found = []
    for one, shown in now.items():
        for name in shown:
            known = [others.get(one, {}).get(name) for others in (before, after)]
            if shown[name] not in known:
                found.append(f"{name}: {str(shown[name])[:300]}")
    return "; ".join(found) or "a mixture of both"
