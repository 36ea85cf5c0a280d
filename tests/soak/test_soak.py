"""A few seconds of `make soak`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.__main__ import soak

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def test_a_server_under_mixed_load_and_kills_keeps_what_it_promised(tmp_path: Path) -> None:
    soaked = soak(tmp_path, 8, 1.5, kills=2, requests=50)
    assert soaked.wrong == []
