"""Cost and tokens over time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app import Settings
from tests.builders import make_conversation, make_id, make_state
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


@pytest.mark.parametrize("params", [{"tz": "Nowhere/Else"}, {"by": "minute"}, {"split": "title"}, {"sttus": "error"}])
async def test_a_wrong_parameter_is_refused(client: httpx.AsyncClient, params: dict[str, str]) -> None:
    assert (await client.get(SERIES, params=params)).status_code == 422
