"""Periods of a zone, such as days and weeks, and the quarters of an hour of which they consist."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple

QUARTER_US = 900_000_000
"""A quarter of an hour. The offset of every time zone from UTC is a multiple of it."""

LAST_QUARTER = 4 * 10**6
"""Statistics leave out the times of broken clocks: before 1970, and from this quarter on, in the year 2084."""

_QUARTER_S = QUARTER_US // 1_000_000


class Period(StrEnum):
    """The length of the periods of a series. A week begins on Monday."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Span(NamedTuple):
    """The first and the last quarter of a period in which something happened, counted from 1970."""

    begin: datetime
    first: int
    last: int


class ActivityPoint(NamedTuple):
    """The activity in one period, of conversations with one value of the split: a model, a workspace, a status, or "".

    `conversations` is the number of those with an event in the period, `events` the number of these events.
    """

    begin: datetime
    split: str
    conversations: int
    events: int


def begin_of(seconds: int, period: Period, zone: tzinfo = UTC) -> datetime:
    """Return the beginning, in a zone, of the period that contains a second since 1970."""
    at = datetime.fromtimestamp(seconds, zone)
    if period is Period.HOUR:
        return at.replace(minute=0, second=0, microsecond=0)
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    if period is Period.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period is Period.MONTH else day


def find_spans(quarters: Sequence[int], period: Period, zone: tzinfo = UTC) -> list[Span]:
    """Return the spans of the periods that contain these quarters. The quarters are in ascending order."""
    grouped = groupby(quarters, lambda quarter: begin_of(quarter * _QUARTER_S, period, zone))
    spans = []
    for begin, some in grouped:
        inside = list(some)
        spans.append(Span(begin, inside[0], inside[-1]))
    return spans
