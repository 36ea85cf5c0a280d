"""`convstore usage`."""

from __future__ import annotations

import csv
import sys
import time
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from ..model.costs import Amount, Point
from ..model.periods import Period
from ..store.store import ConversationStore
from .context import SyncDirContextOptions, parse_age
from .filters import AnyArchivedFilterOptions
from .output import print_json, print_table

_BAR = 30
_FULL, _HALF = "█", "▌"
_SHOWN = {Period.HOUR: "%Y-%m-%d %H:00", Period.DAY: "%Y-%m-%d", Period.WEEK: "%Y-%m-%d", Period.MONTH: "%Y-%m"}


class Split(StrEnum):
    """The values by which usage can be split."""

    MODEL = "model"
    WORKSPACE = "workspace"
    STATUS = "status"


def usage_command(
    *,
    by: Annotated[Period, typer.Option(help="The length of a period; a week begins on Monday.")] = Period.DAY,
    split: Annotated[Split | None, typer.Option(help="Also sum up by this value.", show_default=False)] = None,
    last: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Only model calls in this last period, e.g. 30d.", show_default="all"),
    ] = None,
    csv_: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    asked: AnyArchivedFilterOptions,
    context: SyncDirContextOptions,
) -> None:
    """Show cost and tokens over time, by the time of each model call, as agents recorded them. Nothing is estimated.

    Example: convstore usage --by month --split model --store workspace/conversations
    """
    since_us = 0 if last is None else time.time_ns() // 1000 - parse_age(last)
    name = context.settings.timezone
    zone = ZoneInfo(name) if name else datetime.now().astimezone().tzinfo or UTC

    async def work(store: ConversationStore) -> list[Point]:
        chosen = None if split is None else split.value
        return await store.list_usage(asked, by, split=chosen, since_us=since_us, zone=zone)

    points = context.run_synced(work)
    if context.json:
        print_json([_as_json(point) for point in points])
    elif csv_:
        writer = csv.DictWriter(sys.stdout, ["begin", "split", *_as_json_amount(Amount())])
        writer.writeheader()
        writer.writerows(_as_json(point) for point in points)
    else:
        _print(points, by, split)


def _as_json(point: Point) -> dict[str, object]:
    return {"begin": point.begin.isoformat(), "split": point.split, **_as_json_amount(point.amount)}


def _as_json_amount(amount: Amount) -> dict[str, object]:
    return {
        "cost": round(amount.cost, 6),
        "prompt_tokens": amount.prompt,
        "completion_tokens": amount.completion,
        "cached_tokens": amount.cached,
    }


def _print(points: list[Point], by: Period, split: Split | None) -> None:
    most = max((point.amount.cost for point in points), default=0.0)
    rows = []
    before = ""
    for point in points:
        begin = f"{point.begin:{_SHOWN[by]}}"
        shown = [] if split is None else [point.split or "unknown"]
        rows.append(["" if begin == before else begin, *shown, *_format(point.amount), _bar(point.amount.cost, most)])
        before = begin
    total = sum((point.amount for point in points), Amount())
    rows.append(["all", *([] if split is None else [""]), *_format(total), ""])
    splits = [] if split is None else [split.value.upper()]
    print_table((by.value.upper(), *splits, ">COST", ">PROMPT", ">CACHED", ">COMPLETION", ""), rows)


def _format(amount: Amount) -> list[str]:
    return [f"{amount.cost:,.2f}", f"{amount.prompt:,}", f"{amount.cached:,}", f"{amount.completion:,}"]


def _bar(cost: float, most: float) -> str:
    halves = round(2 * _BAR * cost / most) if most else 0
    return _FULL * (halves // 2) + _HALF * (halves % 2)
