"""Cost and tokens by hour and model, and their sums over periods."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.model.costs import HOURS_MAX, Amount, Point, sum_periods, usage_json
from app.model.periods import Period

NOON = datetime(2026, 10, 1, 12, 30, tzinfo=UTC).timestamp()
HOUR = int(NOON // 3600)


def usage(*calls: tuple[float, float, str], cost: float | None = None, prompt: int = 0) -> dict[str, Any]:
    """Return the metrics of calls (cost, hours after noon, model), each of 10 prompt and 1 completion tokens."""
    total = sum(call[0] for call in calls) if cost is None else cost
    return {
        "model_name": "a/model",
        "accumulated_cost": total,
        "accumulated_token_usage": {"prompt_tokens": 10 * len(calls) + prompt, "completion_tokens": len(calls)},
        "costs": [{"cost": cost, "model": model, "timestamp": NOON + 3600 * late} for cost, late, model in calls],
        "token_usages": [{"model": model, "prompt_tokens": 10, "completion_tokens": 1} for _, _, model in calls],
    }


def read(*usages: object) -> Any:
    kept = usage_json({"stats": {"usage_to_metrics": {str(place): one for place, one in enumerate(usages)}}})
    return None if kept is None else json.loads(kept)


def test_calls_of_one_hour_and_model_are_one_entry() -> None:
    assert read(usage((0.5, 0, "a"), (0.25, 0.4, "a"), (1, 0, "b"), (2, 1, "a"))) == [
        [HOUR, "a", 0.75, 20, 2, 0],
        [HOUR, "b", 1.0, 10, 1, 0],
        [HOUR + 1, "a", 2.0, 10, 1, 0],
    ]


def test_an_amount_without_a_call_has_no_hour() -> None:
    assert read(usage((0.5, 0, "a"), cost=2.0, prompt=5)) == [
        [HOUR, "a", 0.5, 10, 1, 0],
        [None, "a/model", 1.5, 5, 0, 0],
    ]
    assert read(usage(cost=3.0)) == [[None, "a/model", 3.0, 0, 0, 0]]


def test_several_usages_are_summed() -> None:
    assert read(usage((1, 0, "a")), usage((2, 0, "a"))) == [[HOUR, "a", 3.0, 20, 2, 0]]


@pytest.mark.parametrize(
    "stats",
    [None, 1, {}, {"usage_to_metrics": None}, {"usage_to_metrics": {"a": 1}}, {"usage_to_metrics": {"a": {"costs": 1}}},
     {"usage_to_metrics": {"a": {"costs": [{"cost": "x", "timestamp": "y"}, 1], "accumulated_cost": float("nan")}}}],
)  # fmt: skip
def test_what_is_no_usage_is_none(stats: object) -> None:
    assert usage_json({"stats": stats}) is None


def test_very_many_hours_are_kept_by_day() -> None:
    entries = read(usage(*((1, late, "a") for late in range(HOURS_MAX + 1))))
    assert len(entries) <= 1 + (HOURS_MAX + 1) // 24 + 1
    assert sum(entry[2] for entry in entries) == HOURS_MAX + 1


def test_periods_begin_in_the_zone_that_is_asked_for() -> None:
    late = int(datetime(2026, 10, 31, 23, tzinfo=UTC).timestamp() // 3600)
    one = [(late, "a", Amount(1.0, 2, 3, 4))]
    paris = ZoneInfo("Europe/Paris")
    begins = {
        (period, zone): sum_periods(one, period, zone)[0].begin.isoformat()
        for period in Period
        for zone in (UTC, paris)
    }
    assert begins == {
        (Period.HOUR, UTC): "2026-10-31T23:00:00+00:00",
        (Period.HOUR, paris): "2026-11-01T00:00:00+01:00",
        (Period.DAY, UTC): "2026-10-31T00:00:00+00:00",
        (Period.DAY, paris): "2026-11-01T00:00:00+01:00",
        (Period.WEEK, UTC): "2026-10-26T00:00:00+00:00",
        (Period.WEEK, paris): "2026-10-26T00:00:00+01:00",
        (Period.MONTH, UTC): "2026-10-01T00:00:00+00:00",
        (Period.MONTH, paris): "2026-11-01T00:00:00+01:00",
    }


def test_a_period_sums_its_hours_the_costliest_split_first() -> None:
    rows = [(HOUR, "b", Amount(1.0, 1)), (HOUR + 1, "b", Amount(0.5, 1)), (HOUR, "a", Amount(3.0, 1))]
    day = datetime(2026, 10, 1, tzinfo=UTC)
    assert sum_periods(rows, Period.DAY) == [Point(day, "a", Amount(3.0, 1)), Point(day, "b", Amount(1.5, 2))]
