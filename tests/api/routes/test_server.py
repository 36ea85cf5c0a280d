"""Health, readiness, and what the server is."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from app import Settings, __version__
from tests.builders import break_index
from tests.conftest import serving


async def test_the_server_says_what_it_is(client: httpx.AsyncClient) -> None:
    info = (await client.get("/server_info")).json()
    assert (info["title"], info["version"]) == ("convstore", "1.58.2")
    assert (info["convstore_version"], info["sdk_version"]) == (__version__, "1.58.2")
    assert info["usable_tools"] == info["capabilities"] == []
    assert info["conversation_runtime"] == "local"
    assert (await client.get("/alive")).json() == (await client.get("/health")).json() == {"status": "ok"}
    assert (await client.get("/ready")).json() == {"status": "ready"}


async def test_a_server_is_ready(client: httpx.AsyncClient) -> None:
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


async def test_it_is_not_ready_without_its_directory(client: httpx.AsyncClient, root: Path) -> None:
    root.rename(root.with_name("elsewhere"))
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert answer.headers["Retry-After"] == "1"
    root.with_name("elsewhere").rename(root)
    assert (await client.get("/ready")).status_code == 200


async def test_it_is_not_ready_when_the_index_was_deleted(client: httpx.AsyncClient, root: Path) -> None:
    (root / ".convstore" / "index.db").unlink()
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, "index_unusable")
    assert (await client.get("/health")).status_code == 200


async def test_it_is_not_ready_when_the_index_does_not_answer(client: httpx.AsyncClient, root: Path) -> None:
    break_index(root)
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, "index_damaged")


@pytest.mark.parametrize("path", ["/alive", "/health", "/ready", "/server_info"])
async def test_a_health_check_may_be_a_head_request(root: Path, path: str) -> None:
    async with serving(Settings(store=root)) as client:
        del client.headers["X-Session-API-Key"]
        assert (await client.head(path)).status_code == 200
