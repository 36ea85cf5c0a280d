"""Times are integer microseconds since 1970 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_us(moment: datetime, zone: tzinfo | None = UTC) -> int:
    """Return microseconds UTC; a naive `moment` is taken to be in `zone` (None: the host's zone)."""
    if moment.tzinfo is None:
        moment = moment.astimezone() if zone is None else moment.replace(tzinfo=zone)
    return (moment - _EPOCH) // _MICROSECOND


def find_time_us(text: object, zone: tzinfo | None = UTC) -> int | None:
    """Return the microseconds of an ISO 8601 text, or None when it is none. For naive texts see `to_us`."""
    if not isinstance(text, str):
        return None
    try:
        return to_us(datetime.fromisoformat(text), zone)
    except (ValueError, OverflowError, OSError):
        return None


def format_us(moment_us: int) -> str:
    """Return the ISO 8601 text, as pydantic writes it: 2026-10-18T04:58:00Z, with six decimals when there are any."""
    return (_EPOCH + timedelta(microseconds=moment_us)).isoformat().replace("+00:00", "Z")
