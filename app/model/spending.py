"""What a conversation cost, as base_state.json tells it."""

from __future__ import annotations

import math
from typing import Any

_INT64_MAX = 2**63 - 1


def spent(state: dict[str, Any]) -> tuple[float, int]:
    """Return accumulated cost and prompt plus completion tokens, summed over all uses."""
    stats = state.get("stats")
    usages = stats.get("usage_to_metrics") if isinstance(stats, dict) else None
    cost, tokens = 0.0, 0
    for usage in usages.values() if isinstance(usages, dict) else ():
        if not isinstance(usage, dict):
            continue
        cost += _number(usage.get("accumulated_cost"))
        used = usage.get("accumulated_token_usage")
        if isinstance(used, dict):
            tokens += int(_number(used.get("prompt_tokens"))) + int(_number(used.get("completion_tokens")))
    return (cost if math.isfinite(cost) else 0.0), max(min(tokens, _INT64_MAX), -_INT64_MAX)


def _number(value: object) -> float | int:
    return value if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else 0
