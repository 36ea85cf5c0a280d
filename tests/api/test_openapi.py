"""The OpenAPI document."""

from __future__ import annotations

import httpx


async def test_the_api_describes_its_key_and_its_routes(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["security"] == [{"key": []}]
    assert document["components"]["securitySchemes"]["key"]["name"] == "X-Session-API-Key"
    assert {
        "/api/conversations/search",
        "/api/conversations/count",
        "/api/conversations/{conversation_id}/events/search",
    } <= document["paths"].keys()
