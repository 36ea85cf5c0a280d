"""The OpenAPI document."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app import Settings
from tests.builders import make_conversation
from tests.conftest import serving


@pytest.fixture
async def client(root: Path) -> AsyncIterator[httpx.AsyncClient]:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        yield client


async def test_the_api_describes_its_key_and_its_routes(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["security"] == [{"key": []}]
    assert document["components"]["securitySchemes"]["key"]["name"] == "X-Session-API-Key"
    assert {
        "/api/conversations/search",
        "/api/conversations/count",
        "/api/conversations/{conversation_id}/events/search",
    } <= document["paths"].keys()
