from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model.times import find_time_us, format_us, to_us

NOON_US = 1_790_856_000_000_000
"""2026-10-01T12:00:00Z."""

HOUR_US = 3_600_000_000


@pytest.fixture
def host_in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2026-10-01T12:00:00Z", UTC, NOON_US),
        ("2026-10-01T12:00:00+00:00", None, NOON_US),
        ("2026-10-01T14:00:00+02:00", None, NOON_US),
        ("2026-10-01T12:00:00.000001Z", UTC, NOON_US + 1),
        ("2026-10-01T12:00:00", UTC, NOON_US),
        ("2026-10-01 12:00:00", UTC, NOON_US),
        ("2026-10-01T12:00:00", ZoneInfo("Europe/Paris"), NOON_US - 2 * HOUR_US),
        ("2026-10-01T12:00:00Z", ZoneInfo("Europe/Paris"), NOON_US),
        ("1970-01-01T00:00:00Z", UTC, 0),
        ("1969-12-31T23:59:59.999999Z", UTC, -1),
    ],
)
def test_a_time_is_microseconds_utc(text: str, zone: tzinfo | None, expected: int) -> None:
    assert find_time_us(text, zone) == expected


@pytest.mark.usefixtures("host_in_tokyo")
def test_a_naive_time_without_a_zone_is_the_host_s() -> None:
    assert find_time_us("2026-10-01T12:00:00", None) == NOON_US - 9 * HOUR_US
    assert to_us(datetime(2026, 10, 1, 12), None) == NOON_US - 9 * HOUR_US  # noqa: DTZ001


@pytest.mark.parametrize(
    "value", [None, 0, 1.5, "", "yesterday", "2026-13-01T00:00:00Z", [], {}, True, "2026-10-01T25:00:00"]
)
def test_what_is_no_time_is_none(value: object) -> None:
    assert find_time_us(value) is None


@pytest.mark.parametrize("zone", [None, UTC, ZoneInfo("Asia/Tokyo"), ZoneInfo("America/New_York")])
@pytest.mark.parametrize("text", ["0001-01-01T00:00:00", "9999-12-31T23:59:59.999999"])
def test_the_first_and_last_times_never_raise(text: str, zone: tzinfo | None) -> None:
    assert find_time_us(text, zone) is None or format_us(find_time_us(text, UTC) or 0)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_is_found_can_be_written(text: str) -> None:
    found = find_time_us(text)
    assert found is None or format_us(found)


@given(st.datetimes(timezones=st.just(UTC)))
def test_writing_and_reading_give_the_time_again(moment: datetime) -> None:
    assert find_time_us(format_us(to_us(moment))) == to_us(moment)


@pytest.mark.parametrize(
    ("moment_us", "expected"),
    [
        (NOON_US, "2026-10-01T12:00:00Z"),
        (NOON_US + 500_000, "2026-10-01T12:00:00.500000Z"),
        (0, "1970-01-01T00:00:00Z"),
    ],
)
def test_a_time_is_written_as_pydantic_writes_it(moment_us: int, expected: str) -> None:
    assert format_us(moment_us) == expected
