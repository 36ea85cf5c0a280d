"""The direct routes answer as the FastAPI routes behind them do."""

from __future__ import annotations

from pathlib import Path

import httpx

from app import Settings
from app.files.layout import list_directories
from app.model.ids import dashed
from tests.builders import make_conversation, make_id
from tests.conftest import serving

ONE = f"/api/conversations/{make_id(1)}"
PAGE = f"{ONE}/events/search"


async def test_both_ways_answer_alike(short: httpx.AsyncClient, long: httpx.AsyncClient, corpus: Path) -> None:
    missing = make_id(999)
    some = [name.rpartition("/")[2] for name in list_directories(corpus)[0]]
    paths = [f"/api/conversations/{name}" for name in (*some, dashed(some[0]), some[0].upper(), missing, "x", "")]
    pages = [f"/api/conversations/{name}/events/search" for name in (*some, missing)]
    queries = [
        "limit=3",
        "limit=3&sort_order=TIMESTAMP_DESC",
        "sort_order=x",
        "limit=0",
        "limit=101",
        "limit=",
        "limit=+3",
    ]
    queries += ["page_id=x", "page_id=", "limit=3&limit=4", "unknown=1", "kind=MessageEvent", "body=the", "limit=٣"]
    paths += ["/alive", "/health", "/ready", "/health?x", "/ready?wait=0", "/ready?wait=x", "/ready/"]
    paths += [f"/api/conversations/%7Bconversation_id%7D{rest}" for rest in ("", "/events/search")]
    paths += [*pages, *(f"{pages[0]}?{query}" for query in queries), f"{paths[0]}?include_skills=true", f"{paths[0]}/"]
    for path in paths:
        one, other = [await client.get(path) for client in (short, long)]
        assert (one.status_code, one.content, one.headers.get("content-type"), one.headers.get("retry-after")) == (
            other.status_code, other.content, other.headers.get("content-type"), other.headers.get("retry-after"),
        ), path  # fmt: skip


async def test_the_pages_of_a_log_follow_each_other(root: Path) -> None:
    make_conversation(root, 1)
    async with serving(Settings(store=root)) as client:
        whole = (await client.get(PAGE)).json()["items"]
        first = (await client.get(f"{PAGE}?limit=1")).json()
        second = (await client.get(f"{PAGE}?limit=1&page_id={first['next_page_id']}")).json()
    assert [*first["items"], *second["items"]] == whole[:2]


async def test_metrics_name_the_pattern_of_a_direct_route(root: Path) -> None:
    make_conversation(root, 1)
    async with serving(Settings(store=root)) as client:
        for path in (ONE, PAGE, f"/api/conversations/{make_id(2)}"):
            await client.get(path)
        told = (await client.get("/metrics")).text
    pattern = "/api/conversations/{conversation_id}"
    assert f'convstore_requests_total{{method="GET",route="{pattern}",status="200"}} 1.0' in told
    assert f'convstore_requests_total{{method="GET",route="{pattern}",status="404"}} 1.0' in told
    assert f'convstore_requests_total{{method="GET",route="{pattern}/events/search",status="200"}} 1.0' in told


async def test_only_a_get_with_the_key_goes_the_direct_way(root: Path) -> None:
    make_conversation(root, 1)
    async with serving(Settings(store=root)) as client:
        refused = await client.get(ONE, headers={"X-Session-API-Key": "other"})
        head = await client.head(ONE)
    assert (refused.status_code, head.status_code, head.content) == (401, 200, b"")
