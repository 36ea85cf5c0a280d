"""What the bench says of an earlier run."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tests.bench.measure import Sample
from tests.bench.rows import Bound, Row
from tests.bench.table import find_slower, plain, write_evidence, write_json


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


def test_evidence_keeps_the_rows_that_were_not_measured_this_time(tmp_path: Path) -> None:
    document = tmp_path / "evidence.md"
    document.write_text("Before\n\n<!-- bench: begin -->\n<!-- bench: end -->\n\nAfter\n")
    machine = {"cores": "2", "busy": "0.5 before"}
    first = [
        Row("a", "ms", times(1), times(2)),
        Row("b", "1/s", None, times(3), times(6), Bound("≥ 0.9 floors", False)),
    ]
    without_ratio = Row("c", "ms", None, times(1))
    write_evidence(document, machine, [1000, 10000], [plain(row) for row in (*first, without_ratio)])
    write_evidence(document, machine, [10, 20], [plain(Row("a", "ms", times(1), times(3)))])
    assert (
        document.read_text()
        == """Before

<!-- bench: begin -->
| what | A | B | B/A | to floor | wanted | where |
|---|---|---|---|---|---|---|
| a, ms | 1 | 3 | 3 |  |  | 2 cores, load 0.5 before, A 10, B 20 |
| b, 1/s |  | 3 |  | 0.5 | ≥ 0.9 floors: **missed** | 2 cores, load 0.5 before, A 1,000, B 10,000 |
<!-- bench: end -->

After
"""
    )


def test_the_figures_of_the_last_release_can_be_compared_with() -> None:
    earlier = orjson.loads((Path(__file__).parent / "release.json").read_bytes())
    names = {row["name"] for row in earlier["rows"]}
    assert {"list page of 20, to Starlette", "first 100 events of 10,000, to their files"} <= names
    slow = Row("list page of 20, to Starlette", "ms", times(1), times(9), times(1))
    assert find_slower([slow], earlier) == ["list page of 20, to Starlette: to floor 1.52 before, 9 now"]
