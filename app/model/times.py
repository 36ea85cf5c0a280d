"""Times are integers: microseconds since 1970 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

AHEAD_MAX_US = 86_400_000_000
"""A time may be one day ahead of the clock, because times without a zone may come from a zone hours ahead."""


def to_us(moment: datetime, zone: tzinfo | None = UTC) -> int:
    """Return microseconds UTC. A `moment` without a zone is in `zone` (None: the host's zone)."""
    if moment.tzinfo is None:
        moment = _localised(moment) if zone is None else moment.replace(tzinfo=zone)
    return (moment - _EPOCH) // _MICROSECOND


def _localised(moment: datetime) -> datetime:
    """Return a time in the host's zone as an aware one. Times at the limits of the calendar are read as UTC."""
    try:
        return moment.astimezone()
    except (ValueError, OverflowError, OSError):
        return moment.replace(tzinfo=UTC)


_FIRST_US = to_us(datetime.min.replace(tzinfo=UTC))
_LAST_US = to_us(datetime.max.replace(tzinfo=UTC))


def find_time_us(text: object, zone: tzinfo | None = UTC) -> int | None:
    """Return the microseconds of an ISO 8601 text, or None if it is invalid or outside the years 1 to 9999 UTC.

    A time without a zone is in `zone`, as in `to_us`.
    """
    if not isinstance(text, str):
        return None
    return _parse_known_us(text, zone) if zone is UTC else _parse_us(text, zone)


def _parse_us(text: str, zone: tzinfo | None) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
        moment_us = (moment - _EPOCH) // _MICROSECOND if moment.tzinfo else to_us(moment, zone)
    except ValueError:
        return None
    return moment_us if _FIRST_US <= moment_us <= _LAST_US else None


_parse_known_us = lru_cache(maxsize=256)(_parse_us)
"""Remembers the times of conversations, which are needed again for each of their events."""


@lru_cache(maxsize=256)
def format_us(moment_us: int) -> str:
    """Return ISO 8601 text as pydantic writes it: 2026-10-18T04:58:00Z, with six decimals if there are any."""
    return (_EPOCH + timedelta(microseconds=moment_us)).isoformat().replace("+00:00", "Z")
