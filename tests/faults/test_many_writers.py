"""Sixteen processes write to one store at once; none is told that the index is locked. `make writers`: for a minute."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from tests.conftest import StoreOpener
from tests.faults.aftermath import check_files, check_recovery
from tests.faults.workload import Workload, make_store

pytestmark = pytest.mark.long

SECONDS = float(os.environ.get("CONVSTORE_TEST_WRITING_S", "5"))
PROCESSES = 16
_SLOW_S = 60
"""How much longer a slow disk may take until each has written something."""


def _successful(workload: Workload) -> set[int]:
    return {said["pid"] for said in list(workload.said) if "done" in said}


async def test_no_process_is_told_that_the_index_is_locked(root: Path, open_store: StoreOpener) -> None:
    make_store(root)
    async with open_store(root):
        pass
    with Workload(root, processes=PROCESSES, seed=1) as workload:
        workload.start()
        begun = time.monotonic()
        while not workload.crashes and time.monotonic() < begun + SECONDS + _SLOW_S:
            if time.monotonic() > begun + SECONDS and len(_successful(workload)) == PROCESSES:
                break
            await asyncio.sleep(0.1)
        workload.kill_all()
    assert workload.crashes == [], "a process met an error that no other program explains"
    assert len(_successful(workload)) == PROCESSES
    check_files(workload)
    await check_recovery(root, workload.said)
    check_files(workload)
    print(f"{PROCESSES} processes, {time.monotonic() - begun:.0f} s with the checks; {dict(workload.counted)}")
