"""The cost and tokens of a conversation by hour and model, and their sums over periods.

Source of the fields: openhands-sdk 1.58, llm/utils/metrics.py: `costs` and `token_usages` have an entry for each call.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple

import orjson

from .periods import Period, begin_of

HOURS_MAX = 500
"""The maximum number of entries of a conversation. If it has more, they are summed up by day."""

_MODEL_MAX = 200
_HOUR_MAX = 10**6
_INT64_MAX = 2**63 - 1


class Amount(NamedTuple):
    """Dollars and tokens. `cached` tokens are a part of the `prompt` tokens."""

    cost: float = 0.0
    prompt: int = 0
    completion: int = 0
    cached: int = 0

    def __add__(self, other: object) -> Amount:
        """Return the sum of two amounts."""
        if not isinstance(other, Amount):
            return NotImplemented
        return Amount(
            self.cost + other.cost,
            self.prompt + other.prompt,
            self.completion + other.completion,
            self.cached + other.cached,
        )

    def above(self, other: Amount) -> Amount:
        """Return this amount minus another one. A negative difference becomes 0."""
        return Amount(
            max(self.cost - other.cost, 0.0),
            max(self.prompt - other.prompt, 0),
            max(self.completion - other.completion, 0),
            max(self.cached - other.cached, 0),
        )


def usage_json(state: Mapping[str, Any]) -> str | None:
    """Return `[[hour, model, cost, prompt, completion, cached], ...]` from base_state.json, or None if it has no usage.

    An hour is counted from 1970 in UTC; null stands for calls whose time is not recorded.
    """
    amounts: defaultdict[tuple[int | None, str], Amount] = defaultdict(Amount)
    stats = state.get("stats")
    usages = stats.get("usage_to_metrics") if isinstance(stats, dict) else None
    for usage in usages.values() if isinstance(usages, dict) else ():
        if isinstance(usage, dict):
            for key, amount in _calls(usage):
                amounts[key] += amount
    if len(amounts) > HOURS_MAX:
        amounts = _by_day(amounts)
    rows = [
        [hour, model, round(amount.cost, 6), *(min(number, _INT64_MAX) for number in amount[1:])]
        for (hour, model), amount in amounts.items()
        if any(amount)
    ]
    rows.sort(key=lambda row: (row[0] is None, row[0] or 0, row[1]))
    return orjson.dumps(rows).decode() if rows else None


def _calls(usage: dict[str, Any]) -> Iterable[tuple[tuple[int | None, str], Amount]]:
    """Yield the calls of one usage with their hour and model. Then yield what its total has beyond these calls."""
    costs, tokens = _dicts(usage.get("costs")), _dicts(usage.get("token_usages"))
    model = _name(usage.get("model_name"))
    paired = tokens if len(tokens) == len(costs) else [{}] * len(costs)
    told = Amount()
    for cost, used in zip(costs, paired, strict=True):
        amount = _tokens(used)._replace(cost=_number(cost.get("cost")))
        told += amount
        yield (_hour(cost.get("timestamp")), _name(cost.get("model")) or model), amount
    total = _tokens(usage.get("accumulated_token_usage"))._replace(cost=_number(usage.get("accumulated_cost")))
    rest = total.above(told)
    if rest.cost > 1e-6 or any(rest[1:]):
        yield (None, model), rest


def _by_day(
    amounts: Mapping[tuple[int | None, str], Amount],
) -> defaultdict[tuple[int | None, str], Amount]:
    days: defaultdict[tuple[int | None, str], Amount] = defaultdict(Amount)
    for (hour, model), amount in amounts.items():
        days[None if hour is None else hour // 24 * 24, model] += amount
    return days


def _tokens(used: object) -> Amount:
    used = used if isinstance(used, dict) else {}
    names = ("prompt_tokens", "completion_tokens", "cache_read_tokens")
    return Amount(0.0, *(int(_number(used.get(name))) for name in names))


def _hour(timestamp: object) -> int | None:
    hour = _number(timestamp) // 3600
    return int(hour) if 0 < hour < _HOUR_MAX else None


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return 0.0
    return max(float(value), 0.0)


def _name(value: object) -> str:
    return value[:_MODEL_MAX] if isinstance(value, str) else ""


def _dicts(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def find_growth(before: str | None, now: str | None, since_hour: int) -> dict[str, Amount]:
    """Return by how much the usage of each model grew between two results of `usage_json`.

    If there was no usage `before`, only the calls from the hour `since_hour` on count. So a conversation that is
    imported, restored or indexed for the first time does not add its old calls.
    """
    known = _by_model(before, None)
    return {
        model: grown
        for model, amount in _by_model(now, since_hour if before is None else None).items()
        if any(grown := amount.above(known[model]))
    }


def _by_model(usage: str | None, since_hour: int | None) -> defaultdict[str, Amount]:
    amounts: defaultdict[str, Amount] = defaultdict(Amount)
    for hour, model, *amount in orjson.loads(usage or b"[]"):
        if since_hour is None or (hour is not None and hour >= since_hour):
            amounts[model] += Amount(*amount)
    return amounts


class Point(NamedTuple):
    """The amount of one period and one value of the split: a model, a workspace, a status, or ""."""

    begin: datetime
    split: str
    amount: Amount


def sum_periods(rows: Iterable[tuple[int, str, Amount]], period: Period, zone: tzinfo = UTC) -> list[Point]:
    """Sum up amounts by period and split. The earliest period comes first; within a period, the costliest split."""
    sums: defaultdict[tuple[datetime, str], Amount] = defaultdict(Amount)
    for hour, split, amount in rows:
        sums[begin_of(3600 * hour, period, zone), split] += amount
    points = [Point(begin, split, amount) for (begin, split), amount in sums.items()]
    return sorted(points, key=lambda point: (point.begin, -point.amount.cost, point.split))
