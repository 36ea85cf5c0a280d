"""`/mcp` of a server, asked by the SDK's client: workers, keys, hosts, a base path, and without the SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from app import Settings
from app.mcp import extra
from tests.api.clients import HEADERS, KEY, listening
from tests.builders import make_conversation, make_id, make_message_event
from tests.cli.test_serve import served, wait_until_in_step
from tests.conftest import serving
from tests.mcp.conftest import text_of

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "a-test", "version": "1"},
    },
}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@asynccontextmanager
async def connected(url: str, headers: Mapping[str, str] = HEADERS, **given: Any) -> AsyncIterator[Client]:
    """Connect the SDK's client to a server."""
    async with (
        httpx2.AsyncClient(headers=dict(headers), timeout=60) as http,
        Client(streamable_http_client(url, http_client=http), **given) as client,
    ):
        yield client


async def search(client: Client, query: str) -> str:
    return text_of(await client.call_tool("search_messages", {"query": query}))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_client_searches_and_gets_links_to_this_server(root: Path, mode: str) -> None:
    make_conversation(root, 1, events=[make_message_event(0, "needle")])
    async with listening(root) as host, connected(f"http://{host}/mcp", mode=mode) as client:
        async with asyncio.timeout(60):
            while "1 hit" not in (found := await search(client, "needle")):
                await asyncio.sleep(0.05)
        assert f"http://{host}/c/{make_id(1)}#e0" in found
        assert len((await client.list_tools()).tools) == 6
        [resource] = (await client.list_resources()).resources
        assert "> needle" in str((await client.read_resource(resource.uri)).contents[0])


@pytest.mark.long
def test_any_of_several_workers_answers_any_request(root: Path) -> None:
    make_conversation(root, 1, events=[make_message_event(0, "needle")])

    async def ask(url: str, mode: str) -> list[str]:
        async with connected(f"{url}/mcp", mode=mode) as client:
            return [await search(client, "needle") for _ in range(10)]

    with served(root, "--workers", "2", CONVSTORE_API_KEY=KEY) as server:
        wait_until_in_step(server.url, KEY)
        found = asyncio.run(_gather([ask(server.url, mode) for mode in ("auto", "legacy") * 3]))
    assert {text.partition(",")[0] for texts in found for text in texts} == {"1 hit"}


async def _gather(asked: list[Any]) -> list[list[str]]:
    return list(await asyncio.gather(*asked))


async def test_a_base_path_is_respected(root: Path) -> None:
    make_conversation(root, 1, events=[make_message_event(0, "needle")])
    async with listening(root, base_path="/convstore") as host, connected(f"http://{host}/convstore/mcp") as client:
        async with asyncio.timeout(60):
            while "1 hit" not in (found := await search(client, "needle")):
                await asyncio.sleep(0.05)
    assert f"http://{host}/convstore/c/{make_id(1)}#e0" in found


@pytest.fixture
async def http(root: Path) -> AsyncIterator[httpx.AsyncClient]:
    make_conversation(root)
    async with serving(Settings(store=root, allowed_hosts=["a.example"])) as client:
        client.headers.update(ACCEPT)
        yield client


async def test_a_request_gets_json_at_once_without_a_redirect_or_session(http: httpx.AsyncClient) -> None:
    answer = await http.post("/mcp", json=INITIALIZE)
    assert (answer.status_code, answer.json()["result"]["serverInfo"]["name"]) == (200, "convstore")
    assert answer.headers["content-type"] == "application/json"
    assert "mcp-session-id" not in answer.headers


@pytest.mark.parametrize("key", [None, "another"])
async def test_without_the_key_nothing_is_answered(http: httpx.AsyncClient, key: str | None) -> None:
    del http.headers["X-Session-API-Key"]
    answer = await http.post("/mcp", json=INITIALIZE, headers={"X-Session-API-Key": key} if key else {})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


@pytest.mark.parametrize("header", ["X-Session-API-Key", "Authorization"])
async def test_a_read_only_key_is_enough(root: Path, header: str) -> None:
    make_conversation(root)
    async with serving(Settings.model_validate({"store": root, "read_keys": "read-key-0123456789"})) as client:
        del client.headers["X-Session-API-Key"]
        given = ACCEPT | {header: f"{'Bearer ' if header == 'Authorization' else ''}read-key-0123456789"}
        assert (await client.post("/mcp", json=INITIALIZE, headers=given)).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [("evil.example", 400), ("evil.example:80", 400), ("a.example", 200), ("a.example:8443", 200), ("[::1]:8000", 200)],
)
async def test_only_hosts_of_this_server_are_answered(http: httpx.AsyncClient, host: str, status: int) -> None:
    assert (await http.post("/mcp", json=INITIALIZE, headers={"Host": host})).status_code == status


@pytest.mark.parametrize(("origin", "status"), [("http://evil.example", 403), ("https://a.example", 200)])
async def test_a_page_of_another_origin_is_refused(http: httpx.AsyncClient, origin: str, status: int) -> None:
    assert (await http.post("/mcp", json=INITIALIZE, headers={"Origin": origin})).status_code == status


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
async def test_there_is_no_stream_and_no_session_to_end(http: httpx.AsyncClient, method: str) -> None:
    answer = await http.request(method, "/mcp")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


async def test_without_the_sdk_the_answer_says_what_to_install(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extra, "find_spec", lambda _: None)
    answer = await http.post("/mcp", json=INITIALIZE)
    assert (answer.status_code, answer.json()) == (501, {"detail": extra.MISSING, "code": "needs_extra"})


async def test_a_start_that_fails_is_tried_again_by_the_next_request(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("app.mcp.server.make_server", None)
        assert (await http.post("/mcp", json=INITIALIZE)).status_code == 500
    assert (await http.post("/mcp", json=INITIALIZE)).status_code == 200
