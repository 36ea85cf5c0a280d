"""What the bench says of an earlier run."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tests.bench.measure import Sample
from tests.bench.rows import Row
from tests.bench.table import find_slower, write_json


def times(ms: float) -> Sample:
    return Sample.of([ms])


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (Row("a", "ms", times(1), times(2), times(1)), Row("a", "ms", times(9), times(9), times(4.4)), []),
        (
            Row("a", "ms", times(1), times(2), times(1)),
            Row("a", "ms", times(1), times(2), times(0.9)),
            ["a: to floor 2 before, 2.22 now"],
        ),
        (Row("a", "ms", times(2), times(2)), Row("a", "ms", times(2), times(3)), ["a: B/A 1 before, 1.5 now"]),
        (Row("a", "ms", None, times(2)), Row("a", "ms", None, times(2.1)), []),
        (Row("a", "1/s", None, times(3)), Row("a", "1/s", None, times(2)), ["a: median 3 before, 2 now"]),
        (Row("a", "1/CPU s", None, times(3)), Row("a", "1/CPU s", None, times(9)), []),
        (
            Row("a", "1/s", times(1), times(6), times(10)),
            Row("a", "1/s", times(1), times(3), times(10)),
            ["a: to floor 0.6 before, 0.3 now"],
        ),
        (Row("a", "ms", None, times(2)), Row("another", "ms", None, times(9)), []),
    ],
)
def test_what_became_worse_by_a_tenth_is_named(tmp_path: Path, before: Row, now: Row, told: list[str]) -> None:
    write_json(tmp_path / "before.json", {}, [1, 2], [before])
    assert find_slower([now], orjson.loads((tmp_path / "before.json").read_bytes())) == told
