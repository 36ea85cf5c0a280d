"""`convstore usage`."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from tests.builders import make_conversation, make_id, make_state
from tests.cli.conftest import Command
from tests.model.test_costs import usage


@pytest.fixture
def spent(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONVSTORE_TIMEZONE", "UTC")
    stats = {"usage_to_metrics": {"agent": usage((0.5, 0, "a/b"), (1.0, 20, "c/d"))}}
    make_conversation(root, state=make_state(make_id(1), stats=stats))
    return root


def test_a_line_and_a_bar_for_each_period(spent: Path, convstore: Command) -> None:
    ran = convstore("usage", spent)
    assert ran.code == 0, ran.err
    assert [line.split() for line in ran.out.splitlines()] == [
        ["DAY", "COST", "PROMPT", "CACHED", "COMPLETION"],
        ["2026-10-01", "0.50", "10", "0", "1", "█" * 15],
        ["2026-10-02", "1.00", "10", "0", "1", "█" * 30],
        ["all", "1.50", "20", "0", "2"],
    ]


def test_split_by_model_as_json_and_csv(spent: Path, convstore: Command) -> None:
    items = convstore("usage", "--by", "month", "--split", "model", "--json", "--store", spent).json
    assert [(one["begin"][:10], one["split"], one["cost"]) for one in items] == [
        ("2026-10-01", "c/d", 1.0),
        ("2026-10-01", "a/b", 0.5),
    ]
    table = convstore("usage", "--by", "month", "--split", "model", "--csv", "--store", spent).out
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["cost"] for row in rows] == ["1.0", "0.5"]
    assert rows[0].keys() == items[0].keys()


def test_an_old_call_is_left_out(spent: Path, convstore: Command) -> None:
    assert convstore("usage", "--last", "1m", "--json", "--store", spent).json == []
    assert convstore("usage", "--last", "soon", "--store", spent).code == 2
