"""Trying every fault of an operation, in several processes, each with a forking process of its own."""

from __future__ import annotations

import atexit
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import ClassVar

from tests.faults.machine import Failure, Fault, Machine
from tests.faults.operations import make_store, settle_clock

_CHUNK = 4


class _Worker:
    """The machine of a process that the pool started."""

    machine: ClassVar[Machine]

    @classmethod
    def start(cls, fresh: Path) -> None:
        settle_clock()
        cls.machine = Machine(fresh)
        atexit.register(cls.machine.close)

    @classmethod
    def try_fault(cls, fault: Fault) -> Failure | None:
        return cls.machine.try_fault(fault)


def run(
    directory: Path, operations: Sequence[str], every: int, *, workers: int = 1, loud: bool = False
) -> tuple[Counter[str], list[Failure]]:
    """Try every n-th fault of these operations; return how many of each kind were tried, and what went wrong."""
    tried: Counter[str] = Counter()
    failures: list[Failure] = []
    make_store(directory / "fresh", directory / "template.db")
    with _machine(directory / "fresh") as machine, _pool(directory / "fresh", workers) as pool:
        for operation in operations:
            began = time.monotonic()
            faults = machine.list_faults(operation)[::every]
            found = list(
                _tell(
                    pool.map(_Worker.try_fault, faults, chunksize=_CHUNK) if pool else map(machine.try_fault, faults),
                    loud=loud,
                )
            )
            of_operation = Counter(fault.kind for fault in faults)
            tried += of_operation
            failures += found
            if loud:
                told = ", ".join(f"{number} {kind}" for kind, number in of_operation.items())
                print(f"{operation:16} {told}; {len(found)} wrong; {time.monotonic() - began:.0f} s", flush=True)
    return tried, failures


@contextmanager
def _machine(fresh: Path) -> Iterator[Machine]:
    machine = Machine(fresh)
    try:
        yield machine
    finally:
        machine.close()


@contextmanager
def _pool(fresh: Path, workers: int) -> Iterator[ProcessPoolExecutor | None]:
    """Start the workers, if there is to be more than this process."""
    if workers == 1:
        yield None
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _Worker.start, (fresh,)) as pool:
        yield pool


def _tell(results: Iterable[Failure | None], *, loud: bool) -> Iterator[Failure]:
    for failure in results:
        if failure is not None:
            if loud:
                print(f"{failure}", flush=True)
            yield failure
