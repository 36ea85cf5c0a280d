"""What answers tell browsers: no page from elsewhere can do anything here, and this one nothing elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re

import httpx
import pytest

from app.api.headers import SECURITY_HEADERS
from app.store.store import ConversationStore
from tests.api.clients import raising
from tests.builders import make_id

STRICT = "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/conversations/search", 200),
        (f"/api/conversations/{make_id(1)}", 200),
        ("/api/conversations/search?limit=x", 422),
        ("/nothing", 404),
        ("/metrics", 200),
        ("/openapi.json", 200),
    ],
)
async def test_data_cannot_be_taken_for_a_page(client: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await client.get(path)
    assert answer.status_code == status
    assert {name: answer.headers.get_list(name) for name in SECURITY_HEADERS} == {
        name: [value] for name, value in SECURITY_HEADERS.items()
    }
    assert SECURITY_HEADERS["Content-Security-Policy"] == STRICT
    assert answer.headers["content-type"].split(";")[0] in ("application/json", "text/plain")


async def test_an_unexpected_error_cannot_either(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConversationStore, "get_status", raising(RuntimeError("<script>")))
    answer = await client.get("/api/index/status")
    assert (answer.status_code, answer.headers.get_list("Content-Security-Policy")) == (500, [STRICT])
    assert "<script>" not in answer.text


async def test_the_page_loads_and_runs_nothing_but_its_own(client: httpx.AsyncClient) -> None:
    del client.headers["X-Session-API-Key"]
    page = await client.get("/docs")
    [policy] = page.headers.get_list("Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert len(loaded) == 3
    for path in loaded:
        assert path.startswith("/docs/")
        assert (await client.get(path)).status_code == 200
    inline = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in inline}
    assert {*rules["script-src"].split()} == {"'self'"} | hashes
    assert "unsafe" not in rules["script-src"]
    assert [rules[name] for name in ("default-src", "frame-ancestors", "base-uri", "form-action")] == ["'none'"] * 4
    assert rules["connect-src"] == "'self'"
    assert "persistAuthorization" not in page.text or '"persistAuthorization": false' in page.text


async def test_the_api_is_described_without_a_key_and_names_where_the_key_goes(client: httpx.AsyncClient) -> None:
    del client.headers["X-Session-API-Key"]
    document = (await client.get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["key"]["in"] == "header"
    unlocked = {
        path
        for path, operations in document["paths"].items()
        for one in operations.values()
        if one.get("security") == []
    }
    assert unlocked == {"/alive", "/health", "/ready", "/server_info"}
