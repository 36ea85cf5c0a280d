"""Four processes write to shared conversations and are killed at random; `make faults` does it 1,000 times."""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path

import pytest

from tests.conftest import StoreOpener
from tests.faults.aftermath import check_files, check_recovery
from tests.faults.workload import Workload, make_store

pytestmark = pytest.mark.long

KILLS = int(os.environ.get("CONVSTORE_TEST_WRITER_KILLS", "50"))
_EACH = 12
_STORES = ceil(KILLS / 500)
"""Each check compares a whole store, so that many kills go to several stores."""


@pytest.mark.parametrize("number", range(_STORES))
async def test_killed_writers_lose_nothing_that_was_acknowledged(
    root: Path, open_store: StoreOpener, number: int
) -> None:
    kills = KILLS * (number + 1) // _STORES - KILLS * number // _STORES
    make_store(root)
    async with open_store(root):
        pass
    read = 0
    with Workload(root, seed=KILLS + number) as workload:
        for begin in range(0, kills, _EACH):
            before = len(workload.said)
            workload.storm(min(_EACH, kills - begin))
            assert workload.crashes == []
            check_files(workload)
            read += len(await check_recovery(root, workload.said[before:]))
            check_files(workload)
    assert min(workload.counted[kind] for kind in ("append", "rename", "fork", "delete", "restore")) > 0
    assert read > 0
    print(f"{kills} kills; {dict(workload.counted)}; {read} conversations read again after them")
