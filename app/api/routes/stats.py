"""Statistics: cost and tokens over time."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ...model.costs import Period
from ...model.times import to_us
from ..errors import ErrorBody
from ..params import Moment, Store
from ..query_filters import FilterQuery

router = APIRouter(prefix="/api/stats", tags=["statistics"], responses={422: {"model": ErrorBody}})


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("use the name of a time zone, such as Europe/Paris or UTC") from error
    return name


class SeriesQuery(FilterQuery):
    """The period, split and filters. An unknown parameter is refused, so that a typing error does not go unnoticed."""

    model_config = ConfigDict(extra="forbid")
    repeated: ClassVar[frozenset[str]] = FilterQuery.repeated

    by: Period = Field(default=Period.DAY, description="the length of a period; a week begins on Monday")
    split: Literal["model", "workspace", "status"] | None = Field(default=None, description="also sum up by this value")
    since: Moment | None = Field(default=None, description="only model calls at this time or later")
    tz: Annotated[str, AfterValidator(_known_zone)] = Field(
        default="UTC", max_length=64, description="the time zone in which periods begin"
    )


class SeriesPoint(BaseModel):
    """The cost and tokens of one period and one value of `split`. `cached_tokens` are a part of `prompt_tokens`."""

    begin: str
    split: str
    cost: float
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


class Series(BaseModel):
    """The periods in which a model was called, the earliest first."""

    items: list[SeriesPoint]


@router.get("/series")
async def get_series(store: Store, query: Annotated[SeriesQuery, Query()]) -> Series:
    """Sum up cost and tokens by the time of each model call, as agents recorded them."""
    points = await store.list_usage(
        query.conversation_filter,
        query.by,
        split=query.split,
        since_us=0 if query.since is None else to_us(query.since),
        zone=ZoneInfo(query.tz),
    )
    return Series(
        items=[
            SeriesPoint(
                begin=point.begin.isoformat(),
                split=point.split,
                cost=round(point.amount.cost, 6),
                prompt_tokens=point.amount.prompt,
                completion_tokens=point.amount.completion,
                cached_tokens=point.amount.cached,
            )
            for point in points
        ]
    )
