"""System calls of a running process: which it makes, and making the n-th of one fail or kill it. Needs strace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_match_call = re.compile(r"(\d+)\s+(\w+)\((.*)").match
_ATTACH_S = 20.0


NEW = "new"
"""What a thread is called that an operation starts."""

_CHANGING = frozenset(
    {"link", "linkat", "unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir"}
    | {"utimensat", "fchmod", "fchmodat", "fchown", "symlink", "symlinkat"}
    | {"creat", "write", "pwrite64", "writev", "pwritev", "ftruncate", "fallocate", "copy_file_range", "sendfile"}
)
_OPENING = frozenset({"open", "openat"})


class Point(NamedTuple):
    """The n-th call of a name in a thread, whether it touches the store, and whether it changes what is in it."""

    thread: str
    call: str
    number: int
    on_store: bool
    changes: bool


def is_usable() -> bool:
    """Whether there is an strace that may attach to a process."""
    if not shutil.which("strace"):
        return False
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False)
    return tried.returncode == 0


@contextmanager
def attached(task: int, *options: str) -> Iterator[None]:
    """Have strace watch a thread, or with "-f" the whole process, until the process ends, which the block waits for."""
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(["strace", *options, "-p", str(task)], stderr=said, stdout=subprocess.DEVNULL) as tracer,
    ):
        try:
            _wait_until_attached(tracer, said.fileno())
            yield
            tracer.wait(_ATTACH_S)
        finally:
            tracer.terminate()


def _wait_until_attached(tracer: subprocess.Popen[bytes], said: int) -> None:
    deadline = time.monotonic() + _ATTACH_S
    while b"attached" not in os.pread(said, 4096, 0):
        if tracer.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"strace does not attach: {os.pread(said, 4096, 0)!r}")
        time.sleep(0.002)


def find_points(log: Path, threads: dict[str, str], root: Path) -> list[Point]:
    """Return all calls in the log of `strace -f -y -o`, in their order; a thread that came later is called `NEW`."""
    counts: Counter[tuple[str, str]] = Counter()
    points = []
    for line in log.read_text(errors="replace").splitlines():
        match = _match_call(line)
        if match is None:
            continue
        thread, call = threads.get(match[1], NEW), match[2]
        counts[thread, call] += 1
        changes = call in _CHANGING or (call in _OPENING and ("O_CREAT" in match[3] or "O_TRUNC" in match[3]))
        points.append(Point(thread, call, counts[thread, call], str(root) in match[3], changes))
    return points
