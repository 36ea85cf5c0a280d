"""The days that the list's filter `active` names, and the weeks of its histogram."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from app.model.periods import ActivityPoint
from app.web.list_view import begin_of_weeks, find_span, make_activity, parse_days

TODAY = date(2026, 11, 28)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("today", (TODAY, TODAY)),
        ("2026-11-02", (date(2026, 11, 2), date(2026, 11, 2))),
        ("2026-11-02..2026-11-08", (date(2026, 11, 2), date(2026, 11, 8))),
        ("2026-11-08..2026-11-02", None),
        ("yesterday", None),
        ("", None),
        ("..", None),
        ("9999-12-31", None),
    ],
)
def test_days_are_today_a_day_or_a_range(text: str, days: tuple[date, date] | None) -> None:
    assert parse_days(text, TODAY) == days


def test_a_day_has_the_hours_of_its_zone() -> None:
    begin, end = find_span((date(2026, 10, 25), date(2026, 10, 25)), ZoneInfo("Europe/Berlin"))  # summer time ends
    assert end.astimezone(UTC) - begin.astimezone(UTC) == timedelta(hours=25)


def test_a_bar_is_a_week_and_leads_to_its_days() -> None:
    monday = begin_of_weeks(TODAY) + timedelta(weeks=27)
    assert (monday, begin_of_weeks(TODAY)) == (date(2026, 11, 23), date(2026, 5, 18))
    point = ActivityPoint(datetime(2026, 11, 23, tzinfo=UTC), "", 3, 9)
    shown = make_activity("q=x&active=2026-11-23..2026-11-29&tz=UTC", [point], TODAY, 2)
    bars, today = shown["bars"], shown["today"]
    assert isinstance(bars, list)
    assert [bar.selected for bar in bars] == [False] * 27 + [True]
    assert bars[27][2:5] == (
        41, "2026-11-23 to 2026-11-29: 3 conversations", "/?q=x&active=2026-11-23..2026-11-29",
    )  # fmt: skip
    assert today == ("Today", 2, "/?q=x&active=today", False)
