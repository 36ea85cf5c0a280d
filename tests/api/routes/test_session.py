"""Signing in to the page and out of it, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app import Settings
from app.api.sessions import make_code
from tests.builders import make_conversation
from tests.conftest import serving

COUNT = "/api/conversations/count"


@pytest.fixture
async def client(root: Path) -> AsyncIterator[httpx.AsyncClient]:
    make_conversation(root)
    async with serving(Settings(store=root), "the-key") as client:
        del client.headers["X-Session-API-Key"]
        yield client


async def sign_in(client: httpx.AsyncClient, **given: str) -> httpx.Response:
    return await client.post("/api/session", json=given)


async def count(client: httpx.AsyncClient, token: str) -> int:
    return (await client.get(COUNT, headers={"X-Session-API-Key": token})).status_code


async def test_a_code_is_exchanged_for_a_token_once(client: httpx.AsyncClient, root: Path) -> None:
    code = make_code(root / ".convstore")
    first, second = await sign_in(client, code=code), await sign_in(client, code=code)
    assert [first.status_code, second.status_code] == [201, 401]
    assert await count(client, first.json()["token"]) == 200


async def test_the_key_is_exchanged_for_a_token_and_another_is_not(client: httpx.AsyncClient) -> None:
    answer = await sign_in(client, key="the-key")
    assert answer.status_code == 201
    assert await count(client, answer.json()["token"]) == 200
    assert (await sign_in(client, key="another")).json()["detail"] == "this is not a key of this server"


async def test_a_token_makes_no_other_token(client: httpx.AsyncClient) -> None:
    token = (await sign_in(client, key="the-key")).json()["token"]
    assert (await sign_in(client, key=token)).status_code == 401


async def test_signing_out_ends_the_token(client: httpx.AsyncClient) -> None:
    token = (await sign_in(client, key="the-key")).json()["token"]
    out = await client.delete("/api/session", headers={"X-Session-API-Key": token})
    assert out.status_code == 204
    assert await count(client, token) == 401
    assert (await client.delete("/api/session", headers={"X-Session-API-Key": token})).status_code == 401


async def test_the_key_cannot_be_signed_out(client: httpx.AsyncClient) -> None:
    assert (await client.delete("/api/session", headers={"X-Session-API-Key": "the-key"})).status_code == 401
    assert await count(client, "the-key") == 200


async def test_the_shell_and_its_files_need_no_key_and_hold_no_data(client: httpx.AsyncClient) -> None:
    for path in ("/", "/overview", "/trash", "/compare", "/c/anything", "/static/app.js", "/static/app.css"):
        answer = await client.get(path)
        assert answer.status_code == 200, path
        assert "A title" not in answer.text
    for path in ("/ui/list", "/ui/overview", "/ui/trash", COUNT):
        assert (await client.get(path)).status_code == 401, path


async def test_the_shell_has_a_policy_without_inline_code(client: httpx.AsyncClient) -> None:
    answer = await client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe-inline" not in policy
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert "<script>" not in answer.text
    assert "style=" not in answer.text
