"""A few seconds of `make soak`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.__main__ import soak

pytestmark = pytest.mark.long


def test_a_server_under_mixed_load_and_kills_keeps_what_it_promised(tmp_path: Path) -> None:
    soaked = soak(tmp_path, 8, 1.5)
    assert soaked.wrong == []
    assert soaked.counted["kills"] >= 2
    assert soaked.counted["requests"] > 50
