"""Cost, tokens, conversations and events over time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app import Settings
from tests.builders import make_conversation, make_event, make_id, make_state
from tests.conftest import serving
from tests.model.test_costs import usage

SERIES = "/api/stats/series"


@pytest.fixture
async def client(root: Path) -> AsyncIterator[httpx.AsyncClient]:
    one = {"usage_to_metrics": {"agent": usage((0.5, 0, "a/b"), (0.25, 20, "c/d"))}}
    two = {"usage_to_metrics": {"agent": usage(cost=2.0)}}
    make_conversation(root, state=make_state(make_id(1), stats=one))
    make_conversation(root, 2, state=make_state(make_id(2), stats=two, execution_status="error"))
    make_conversation(root, 3)
    async with serving(Settings(store=root, timezone="UTC")) as client:
        yield client


async def costs(client: httpx.AsyncClient, **params: str) -> list[tuple[str, str, float]]:
    answer = await client.get(SERIES, params=params)
    assert answer.status_code == 200, answer.text
    return [(point["begin"][:13], point["split"], point["cost"]) for point in answer.json()["items"]]


async def test_costs_count_at_the_time_of_their_call(client: httpx.AsyncClient) -> None:
    assert await costs(client) == [("2026-10-01T00", "", 2.5), ("2026-10-02T00", "", 0.25)]
    assert await costs(client, by="month") == [("2026-10-01T00", "", 2.75)]
    assert await costs(client, since="2026-10-02T00:00:00Z") == [("2026-10-02T00", "", 0.25)]
    assert (await costs(client, by="hour"))[0] == ("2026-10-01T12", "", 2.5)


async def test_a_series_is_split_and_filtered(client: httpx.AsyncClient) -> None:
    assert await costs(client, split="model", by="month") == [
        ("2026-10-01T00", "a/model", 2.0),
        ("2026-10-01T00", "a/b", 0.5),
        ("2026-10-01T00", "c/d", 0.25),
    ]
    assert await costs(client, split="status", by="month", status="error") == [("2026-10-01T00", "error", 2.0)]


@pytest.mark.parametrize(
    "params", [{"tz": "Nowhere/Else"}, {"by": "minute"}, {"split": "title"}, {"sttus": "error"}, {"measure": "time"}]
)
async def test_a_wrong_parameter_is_refused(client: httpx.AsyncClient, params: dict[str, str]) -> None:
    assert (await client.get(SERIES, params=params)).status_code == 422


async def test_conversations_and_events_count_by_day_over_midnight_of_a_zone(root: Path) -> None:
    times = ["2026-11-27T22:59:00", "2026-11-27T23:01:00", "2026-11-28T10:00:00"]
    make_conversation(root, events=[make_event(seq, timestamp=time) for seq, time in enumerate(times)])
    make_conversation(root, 2, events=[make_event(0, timestamp="2026-11-28T22:00:00")])
    asked = {"measure": "conversations,events", "tz": "Europe/Paris"}
    async with serving(Settings(store=root, timezone="UTC")) as client:
        answer = (await client.get(SERIES, params=asked)).json()
        since = (await client.get(SERIES, params=asked | {"since": "2026-11-28T00:00:00+01:00"})).json()
        until = (await client.get(SERIES, params=asked | {"until": "2026-11-28T00:00:00+01:00"})).json()
        listed = [
            (await client.get("/api/conversations/count", params=params)).json()
            for params in (
                {"event_at__gte": "2026-11-28T00:00:00+01:00", "event_at__lt": "2026-11-29T00:00:00+01:00"},
                {"event_at__gte": "2026-11-27T00:00:00+01:00", "event_at__lt": "2026-11-28T00:00:00+01:00"},
                {"event_at__gte": "2026-11-29T00:00:00+01:00"},
                {"event_at__lt": "2026-11-27T00:00:00+01:00"},
            )
        ]
    days = [
        {"begin": "2026-11-27T00:00:00+01:00", "split": "", "conversations": 1, "events": 1},
        {"begin": "2026-11-28T00:00:00+01:00", "split": "", "conversations": 2, "events": 3},
    ]
    assert (answer["items"], since["items"], until["items"]) == (days, days[1:], days[:1])
    assert listed == [2, 1, 0, 0]


async def test_all_measures_together_are_one_item_a_period(client: httpx.AsyncClient) -> None:
    answer = await client.get(SERIES, params={"measure": "cost,events", "split": "status", "by": "month"})
    assert answer.json()["items"] == [
        {"begin": "2026-10-01T00:00:00+00:00", "split": "error", "cost": 2.0, "events": 2},
        {"begin": "2026-10-01T00:00:00+00:00", "split": "finished", "cost": 0.75, "events": 4},
    ]


async def test_a_span_of_events_consists_of_full_quarters_of_an_hour(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/conversations/count", params={"event_at__gte": "2026-11-28T00:00:01Z"})
    assert answer.status_code == 422
    assert "full quarter of an hour" in answer.text
