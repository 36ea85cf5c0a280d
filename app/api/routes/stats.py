"""Statistics over time: cost, tokens, conversations and events."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Literal, TypedDict
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from ...model.periods import Period
from ...model.times import to_us
from ..error_responses import ErrorBody
from ..params import Store
from ..query_filters import FilterQuery, Moment, split_names

router = APIRouter(prefix="/api/stats", tags=["statistics"], responses={422: {"model": ErrorBody}})


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("use the name of a time zone, such as Europe/Paris or UTC") from error
    return name


class Measure(StrEnum):
    """The values of a series."""

    COST = "cost"
    TOKENS = "tokens"
    CONVERSATIONS = "conversations"
    EVENTS = "events"


_OF_CALLS = frozenset({Measure.COST, Measure.TOKENS})
_FIELDS = {Measure.TOKENS: ("prompt_tokens", "completion_tokens", "cached_tokens")}


class SeriesQuery(FilterQuery):
    """The measures, period, split and filters.

    An unknown parameter is refused, so that a typing error does not go unnoticed.
    """

    model_config = ConfigDict(extra="forbid")
    repeated: ClassVar[frozenset[str]] = FilterQuery.repeated | {"measure"}

    measure: Annotated[list[Measure], BeforeValidator(split_names)] = Field(
        default=[Measure.COST, Measure.TOKENS],
        min_length=1,
        description="cost and tokens by the time of each model call; conversations with an event in the period; "
        "events in the period; separate several with commas, or repeat the parameter",
    )
    by: Period = Field(default=Period.DAY, description="the length of a period; a week begins on Monday")
    split: Literal["model", "workspace", "status"] | None = Field(
        default=None,
        description="also sum up by this value; the model of a conversation or event is that of the agent",
    )
    since: Moment | None = Field(
        default=None, description="from this time on, rounded down to an hour for calls and to 15 minutes for events"
    )
    until: Moment | None = Field(default=None, description="before this time, rounded in the same way")
    tz: Annotated[str, AfterValidator(_known_zone)] = Field(
        default="UTC", max_length=64, description="the time zone in which periods begin"
    )


class SeriesPoint(BaseModel):
    """The measures of one period and one value of `split`. `cached_tokens` are a part of `prompt_tokens`.

    A measure that was not asked for is left out. The conversations of several periods do not add up, because one
    conversation may have events in all of them.
    """

    begin: str
    split: str
    cost: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    conversations: int | None = None
    events: int | None = None


class Series(BaseModel):
    """The periods in which something happened, the earliest first."""

    items: list[SeriesPoint]


@router.get("/series", response_model_exclude_none=True)
async def get_series(store: Store, query: Annotated[SeriesQuery, Query()]) -> Series:
    """Sum up cost and tokens, as agents recorded them, or count conversations and events, by period."""
    asked, measures = query.conversation_filter, frozenset(query.measure)
    span: _Span = {
        "split": query.split,
        "since_us": 0 if query.since is None else to_us(query.since),
        "until_us": None if query.until is None else to_us(query.until),
        "zone": ZoneInfo(query.tz),
    }
    points: defaultdict[tuple[datetime, str], dict[str, float]] = defaultdict(dict)
    if measures & _OF_CALLS:
        for begin, split, amount in await store.list_usage(asked, query.by, **span):
            points[begin, split] |= {
                "cost": round(amount.cost, 6),
                "prompt_tokens": amount.prompt,
                "completion_tokens": amount.completion,
                "cached_tokens": amount.cached,
            }
    if measures - _OF_CALLS:
        for begin, split, conversations, events in await store.list_activity(asked, query.by, **span):
            points[begin, split] |= {"conversations": conversations, "events": events}
    names = [name for measure in measures for name in _FIELDS.get(measure, (measure.value,))]
    ordered = sorted(points, key=lambda point: point[0])  # within a period, in the order of the first measure
    return Series(
        items=[
            SeriesPoint(
                begin=begin.isoformat(), split=split, **{name: points[begin, split].get(name, 0) for name in names}
            )
            for begin, split in ordered
        ]
    )


class _Span(TypedDict):
    split: str | None
    since_us: int
    until_us: int | None
    zone: ZoneInfo
