"""A little of `make fuzz` in every run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.__main__ import fuzz

pytestmark = pytest.mark.long


def test_every_answer_is_as_documented_and_none_an_unexpected_error(tmp_path: Path) -> None:
    found = fuzz(tmp_path, 2, 1)
    assert found.passed, found.output
    assert found.requests > 300
