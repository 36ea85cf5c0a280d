"""The contents of the overview: totals, hours of work, the costliest conversations, the store's health."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta, timezone
from typing import Any, NamedTuple

from ..model.costs import Amount, Point
from ..model.facets import Facet, FacetKind
from ..model.filters import ConversationFilter, Status
from ..model.page import SortOrder, View
from ..model.periods import Period
from ..settings import Settings
from ..store.admin.findings import Finding, Level
from ..store.admin.usage import StoreUsage
from ..store.read.reader import StoreReader
from .rows import make_list_row

PERIODS = ((7, "7 days"), (30, "30 days"), (90, "90 days"), (0, "All"))

_DAY_US = 86_400_000_000
_COSTLIEST = 8
_COLOURS = 3
_OTHERS = "others"
_DAYS_MAX = 120
_BAR_MAX = 40
_MONTHS_MAX = 12
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


async def make_overview(
    store: StoreReader, settings: Settings, findings: list[Finding], days: int, offset_min: int
) -> dict[str, object]:
    """Return the context of overview.html for the conversations with an event in the last `days` (0: all).

    Cost and tokens are those of the model calls in that time.
    """
    since_us = time.time_ns() // 1000 - days * _DAY_US if days else None
    asked = ConversationFilter(archived=None, last_event_at_gte_us=since_us)
    sums = await store.get_sums(asked)
    statuses = dict((await store.count_facets([Facet(FacetKind.STATUS)], asked)).by["status"].values)
    failed = statuses.get(Status.ERROR, 0) + statuses.get(Status.STUCK, 0)
    costliest = await store.list_conversations(
        replace(asked, cost_gte=0.000001), order=SortOrder.COST_DESC, limit=_COSTLIEST, view=View.ROW
    )
    workspaces = await store.list_workspace_costs(replace(asked, cost_gte=0.000001))
    most = max((one.cost for one in workspaces), default=0)
    zone = timezone(timedelta(minutes=offset_min))
    hours = await store.count_hours(asked, since_us=since_us or 0, offset_min=offset_min)
    days_of_cost = await store.list_usage(asked, Period.DAY, split="model", since_us=since_us or 0, zone=zone)
    amount = _sum(days_of_cost)
    _, deleted = await store.list_trash(0, 0)
    return {
        "days": days,
        "periods": PERIODS,
        "sums": sums,
        "cost": amount.cost if sums.priced else None,
        "tokens": amount.prompt + amount.completion,
        "cached_share": f"{100 * amount.cached // amount.prompt} % cached" if amount.prompt else "",
        "deleted": deleted,
        **(await _compare(store, sums.number, amount.cost, since_us, days) if since_us else {}),
        "running": statuses.get(Status.RUNNING, 0),
        "waiting": statuses.get(Status.WAITING_FOR_CONFIRMATION, 0),
        "failed": failed,
        "failed_share": f"{100 * failed / sums.number:.1f} %" if sums.number else "",
        "costliest": [make_list_row(body) for body in costliest.items],
        "workspaces": [(one, max(1, round(20 * one.cost / most))) for one in workspaces],
        "chart": _make_chart(days_of_cost),
        "cells": _cells({(one.weekday, one.hour): one.events for one in hours}),
        "weekdays": [(name, 20 + 26 * place) for place, name in enumerate(_WEEKDAYS)],
        "findings": sorted(findings, key=lambda one: list(Level).index(one.level), reverse=True),
        "root": str(settings.root),
    }


async def _compare(store: StoreReader, number: int, cost: float, since_us: int, days: int) -> dict[str, str]:
    """Return how the number of conversations and their cost differ from those of the same span before."""
    begin_us = since_us - days * _DAY_US
    active = ConversationFilter(archived=None, event_at_gte_us=begin_us, event_at_lt_us=since_us)
    before = await store.count_conversations(active)
    called = ConversationFilter(archived=None, last_event_at_gte_us=begin_us, created_at_lt_us=since_us)
    usage = _sum(await store.list_usage(called, Period.DAY, since_us=begin_us, until_us=since_us))
    share = round(100 * (cost / usage.cost - 1)) if usage.cost else None
    return {"more": _signed(number - before), "more_cost": "" if share is None else f"{_signed(share)} %"}


def _signed(number: int) -> str:
    return f"{number:+,}".replace("-", "\N{MINUS SIGN}")


def _sum(points: list[Point]) -> Amount:
    return sum((point.amount for point in points), Amount())


def make_disk(found: StoreUsage) -> dict[str, object]:
    """Return the context of disk.html: the disk usage by month, the latest first."""
    most = max((share.usage.disk_bytes for share in found.shares), default=0) or 1
    months = sorted(found.shares, key=lambda share: share.name, reverse=True)[:_MONTHS_MAX]
    return {
        "months": [(share, max(1, round(20 * share.usage.disk_bytes / most))) for share in months],
        "others": [("all conversations", found.conversations.usage), ("trash", found.trash), ("index", found.index)],
    }


class Chart(NamedTuple):
    """Stacked bars of the cost per day. `lines` are (height, label) of the grid; `rows` are the numbers as a table."""

    bars: list[dict[str, Any]]
    lines: list[tuple[str, str]]
    labels: list[tuple[str, str]]
    models: list[str]
    average: float
    rows: list[tuple[str, list[float]]]


def _make_chart(points: list[Point]) -> Chart | None:
    """Return the chart of the cost per day and model. All models but the costliest are summed up as one."""
    sums: defaultdict[str, float] = defaultdict(float)
    for point in points:
        sums[point.split] += point.amount.cost
    models = sorted((model for model in sums if sums[model]), key=lambda model: -sums[model])
    if not models:
        return None
    shown = models[:_COLOURS] if len(models) <= _COLOURS else [*models[: _COLOURS - 1], _OTHERS]
    first, last = points[0].begin.date(), points[-1].begin.date()
    days = [last - timedelta(days=ago) for ago in range(min((last - first).days, _DAYS_MAX - 1), -1, -1)]
    costs: dict[date, dict[str, float]] = {day: dict.fromkeys(shown, 0.0) for day in days}
    for point in points:
        day = costs.get(point.begin.date())
        if day is not None:
            day[point.split if point.split in shown else _OTHERS] += point.amount.cost or 0.0
    grid = _make_grid(max(sum(day.values()) for day in costs.values()) or 1.0)
    most = grid[-1]
    places = 0 if grid[1] >= 1 else max(2, -math.floor(math.log10(grid[1])))
    width = 686 / len(days)
    bars = []
    for place, (date_, day) in enumerate(costs.items()):
        y = 186.0
        for colour, (model, cost) in enumerate(day.items(), 1):
            height = 170 * cost / most
            y -= height
            if cost:
                label = f"{date_:%b} {date_.day}, {model or 'unknown'}: ${cost:,.2f}"
                bars.append(
                    {
                        "colour": colour,
                        "x": f"{36 + place * width:.1f}",
                        "y": f"{y:.1f}",
                        "width": f"{min(max(width - 2, 1), _BAR_MAX):.1f}",
                        "height": f"{height:.1f}",
                        "label": label,
                    }
                )
    step = max(1, len(days) // 5)
    return Chart(
        bars,
        [(f"{186 - 170 * cost / most:.1f}", f"${cost:,.{places}f}") for cost in grid],
        [
            (f"{36 + (place + 0.5) * width:.1f}", f"{days[place]:%b} {days[place].day}")
            for place in range(0, len(days), step)
        ],
        [model or "unknown" for model in shown],
        sum(sum(day.values()) for day in costs.values()) / len(days),
        [(f"{day:%Y-%m-%d}", list(values.values())) for day, values in costs.items() if any(values.values())],
    )


def _make_grid(most: float) -> list[float]:
    """Return round numbers from 0 to at least `most`, at the same distance: 0, 10, 20, 30 for 27."""
    power = 10.0 ** math.floor(math.log10(most / 3))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= most / 3)
    return [step * number for number in range(math.ceil(most / step) + 1)]


def _cells(counted: dict[tuple[int, int], int]) -> list[dict[str, Any]]:
    """Return a cell for each hour of the week, with a shade from 0 to 4 by its share of the busiest hour."""
    most = max(counted.values(), default=0)
    shade: Callable[[int], int] = lambda number: -(-4 * number // most) if most else 0  # noqa: E731
    return [
        {
            "x": f"{36 + 16.1 * hour:.1f}",
            "y": 6 + 26 * weekday,
            "shade": shade(counted.get((weekday, hour), 0)),
            "label": f"{_WEEKDAYS[weekday]} {hour:02}:00: {counted.get((weekday, hour), 0):,} events",
        }
        for weekday in range(7)
        for hour in range(24)
    ]
