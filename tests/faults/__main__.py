"""`python -m tests.faults`: kill each way to write at every system call, fail every call, and say what was found."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.faults.machine import CAN_FAIL, Failure, Machine
from tests.faults.operations import ALL, settle_clock
from tests.faults.strace import NEW, is_usable


def run(
    directory: Path, operations: Sequence[str], every: int, *, loud: bool = False
) -> tuple[Counter[str], list[Failure]]:
    """Try every n-th fault of these operations; return how many of each kind were tried, and what went wrong."""
    tried: Counter[str] = Counter()
    failures: list[Failure] = []
    machine = Machine(directory)
    try:
        for operation in operations:
            began, before_failures = time.monotonic(), len(failures)
            points, before, after = machine.list_points(operation)
            points = [point for point in points if point.on_store]
            faults = [(point, "kill") for point in points]
            faults += [
                (point, error)
                for point in points
                if point.thread != NEW  # each attempt would have such a thread, and fail again
                for error, calls in CAN_FAIL.items()
                if point.call in calls
            ]
            of_operation: Counter[str] = Counter()
            for point, fault in faults[::every]:
                if fault == "kill":
                    reason = machine.kill(operation, point, before, after)
                else:
                    reason = machine.fail(operation, point, fault, after)
                of_operation[fault] += 1
                if reason is not None:
                    failures.append(Failure(operation, point, fault, reason))
                    if loud:
                        print(f"{failures[-1]}", flush=True)
            tried += of_operation
            if loud:
                told = ", ".join(f"{number} {fault}" for fault, number in of_operation.items())
                found = len(failures) - before_failures
                print(f"{operation:16} {told}; {found} wrong; {time.monotonic() - began:.0f} s", flush=True)
    finally:
        machine.close()
    return tried, failures


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every n-th fault; default all")
    parser.add_argument("--only", action="append", choices=ALL, help="only this operation; repeatable")
    asked = parser.parse_args()
    if not is_usable():
        raise SystemExit("NOT TRIED: strace is missing or may not attach (apt-get install strace, and run as root)")
    settle_clock()
    with tempfile.TemporaryDirectory(prefix="convstore-faults-") as name:
        tried, failures = run(Path(name), asked.only or ALL, asked.every, loud=True)
    kills = tried.pop("kill", 0)
    print(f"{kills} kills and {tried.total()} errors in {len(asked.only or ALL)} operations; {len(failures)} wrong")
    raise SystemExit(1 if failures else 0)


if __name__ == "__main__":
    main()
