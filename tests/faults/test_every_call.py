"""A part of `make faults`: some kills and errors of each way to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.every_call import run
from tests.faults.operations import ALL

pytestmark = pytest.mark.long


def test_a_kill_or_an_error_at_a_system_call_leaves_nothing_half_done(tmp_path: Path) -> None:
    tried, failures = run(tmp_path, ALL, 397)
    assert failures == []
    assert tried["kill"] >= 3
    assert tried["EIO"] >= 3
