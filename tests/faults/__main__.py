"""`python -m tests.faults`: kill each way to write at every call that changes the disk, and fail every call.

The stores are in memory where there is such a directory: all calls are the same there, and nothing waits for a disk.
What a disk loses is for `tests.faults.power`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from tests.faults.every_call import run
from tests.faults.machine import KILL
from tests.faults.operations import ALL, settle_clock
from tests.faults.strace import is_usable

_MEMORY = Path("/dev/shm")  # noqa: S108


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every n-th fault; default all")
    parser.add_argument("--only", action="append", choices=ALL, help="only this operation; repeatable")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="default: one for each processor")
    parser.add_argument("--dir", type=Path, help="where the stores are made; default in memory")
    asked = parser.parse_args()
    if not is_usable():
        raise SystemExit("NOT TRIED: strace is missing or may not attach (apt-get install strace, and run as root)")
    settle_clock()
    parent = asked.dir or (_MEMORY if _MEMORY.is_dir() else None)
    with tempfile.TemporaryDirectory(prefix="convstore-faults-", dir=parent) as name:
        tried, failures = run(Path(name), asked.only or ALL, asked.every, workers=asked.workers, loud=True)
    kills = tried.pop(KILL, 0)
    print(f"{kills} kills and {tried.total()} errors in {len(asked.only or ALL)} operations; {len(failures)} wrong")
    raise SystemExit(1 if failures else 0)


if __name__ == "__main__":
    main()
