"""Periods of a zone."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from app.model.periods import QUARTER_US, Period, Span, begin_of, find_spans


def quarter(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1_000_000) // QUARTER_US


def test_a_day_begins_at_midnight_of_its_zone() -> None:
    quarters = [quarter(f"2026-11-27T{time}Z") for time in ("18:15", "18:29", "18:30", "23:59")]
    india = ZoneInfo("Asia/Kolkata")  # 5 hours and 30 minutes ahead
    assert find_spans(quarters, Period.DAY, india) == [
        Span(datetime(2026, 11, 27, tzinfo=india), quarters[0], quarters[1]),
        Span(datetime(2026, 11, 28, tzinfo=india), quarters[2], quarters[3]),
    ]
    assert [span.begin for span in find_spans(quarters, Period.DAY)] == [datetime(2026, 11, 27, tzinfo=UTC)]


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_a_day_on_which_the_clocks_change_has_all_its_hours(day: str, hours: int) -> None:
    paris = ZoneInfo("Europe/Paris")
    first = int(datetime.fromisoformat(day).replace(tzinfo=paris).timestamp()) // 900
    [span, after] = find_spans(range(first, first + 4 * hours + 1), Period.DAY, paris)
    assert (span.begin.isoformat()[:10], span.first, span.last) == (day, first, first + 4 * hours - 1)
    assert after.first == first + 4 * hours


def test_a_week_begins_on_monday_and_a_month_on_the_first() -> None:
    at = int(datetime(2026, 11, 28, 12, 34, tzinfo=UTC).timestamp())
    assert [begin_of(at, period).isoformat()[:16] for period in Period] == [
        "2026-11-28T12:00",
        "2026-11-28T00:00",
        "2026-11-23T00:00",
        "2026-11-01T00:00",
    ]
