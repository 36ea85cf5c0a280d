"""The short way of `app.api.hot` answers as the FastAPI routes behind it do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from app import Settings
from app.api import conversations
from app.api.app import create_app
from tests.conftest import serving

QUERIES: list[tuple[str, list[tuple[str, str]], int]] = [
    ("search", [], 200),
    ("search", [("limit", "3"), ("sort_order", "UPDATED_AT")], 200),
    ("search", [("limit", "3"), ("limit", "5")], 200),
    ("search", [("status", "finished"), ("unknown", "x"), ("include_skills", "true")], 200),
    ("search", [("limit", "0")], 422),
    ("search", [("limit", "x")], 422),
    ("search", [("limit", "")], 422),
    ("search", [("status", "nope")], 422),
    ("search", [("page_id", "nope")], 400),
    ("search", [("unknown", "x" * 2000)], 200),
    ("count", [("status", "idle")], 200),
    ("count", [("status", "IDLE")], 422),
]


@pytest.fixture
async def short(corpus: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(Settings(store=corpus)) as client:
        yield client


@pytest.fixture
async def long(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setattr(conversations, "HOT_PATHS", {})
    async with serving(Settings(store=corpus)) as client:
        yield client


async def test_both_ways_answer_alike(short: httpx.AsyncClient, long: httpx.AsyncClient) -> None:
    for path, parameters, status in QUERIES:
        one, other = [
            await client.get(f"/api/conversations/{path}?{urlencode(parameters)}") for client in (short, long)
        ]
        assert (one.status_code, one.json(), one.headers["content-type"]) == (
            other.status_code, other.json(), other.headers["content-type"],
        )  # fmt: skip
        assert one.status_code == status


async def test_only_a_get_with_the_key_goes_the_short_way(short: httpx.AsyncClient) -> None:
    assert (await short.post("/api/conversations/search")).status_code == 405
    assert (await short.get("/api/conversations/search", headers={"X-Session-API-Key": "other"})).status_code == 401


def test_the_short_way_is_installed(tmp_path: Path) -> None:
    made = create_app(Settings(store=tmp_path), keys=[])
    assert "HotPaths" in [getattr(middleware.cls, "__name__", "") for middleware in made.user_middleware]
