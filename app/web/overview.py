"""The contents of the overview: totals, hours of work, the costliest conversations, the store's health."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from app import __version__
from app.model.facets import Facet, FacetKind
from app.model.filters import ConversationFilter, Status
from app.model.page import SortOrder
from app.settings import Settings
from app.store.admin.doctor import Level, examine_store
from app.store.read.reader import StoreReader
from app.web.rows import make_row

PERIODS = ((7, "7 days"), (30, "30 days"), (90, "90 days"), (0, "All"))

_DAY_US = 86_400_000_000
_COSTLIEST = 5
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


async def make_overview(store: StoreReader, settings: Settings, days: int, offset_min: int) -> dict[str, object]:
    """Return the context of overview.html for the conversations with an event in the last `days`; 0: all."""
    since_us = time.time_ns() // 1000 - days * _DAY_US if days else None
    asked = ConversationFilter(archived=None, last_event_at_gte_us=since_us)
    sums = await store.get_sums(asked)
    statuses = dict((await store.count_facets([Facet(FacetKind.STATUS)], asked)).by["status"].values)
    failed = statuses.get(Status.ERROR, 0) + statuses.get(Status.STUCK, 0)
    costliest = await store.list_conversations(
        replace(asked, cost_gte=0.000001), order=SortOrder.COST_DESC, limit=_COSTLIEST
    )
    workspaces = await store.list_workspace_costs(replace(asked, cost_gte=0.000001))
    most = max((one.cost for one in workspaces), default=0)
    hours = await store.count_hours(asked, since_us=since_us or 0, offset_s=60 * offset_min)
    findings = [finding async for finding in examine_store(settings, __version__, sample=20)]
    return {
        "days": days,
        "periods": PERIODS,
        "sums": sums,
        "running": statuses.get(Status.RUNNING, 0),
        "waiting": statuses.get(Status.WAITING_FOR_CONFIRMATION, 0),
        "failed": failed,
        "failed_share": f"{100 * failed / sums.number:.1f} %" if sums.number else "",
        "costliest": [make_row(body) for body in costliest.items],
        "workspaces": [(one, max(1, round(20 * one.cost / most))) for one in workspaces],
        "cells": _cells({(one.weekday, one.hour): one.events for one in hours}),
        "weekdays": [(name, 20 + 26 * place) for place, name in enumerate(_WEEKDAYS)],
        "findings": sorted(findings, key=lambda one: list(Level).index(one.level), reverse=True),
        "root": str(settings.root),
    }


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
