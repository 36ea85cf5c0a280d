"""The cached routes answer as the FastAPI routes behind them do."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from fastapi import Response

from app import ConversationStore, Settings
from app.api import cached_routes
from app.api.routes import lists
from app.index.conversation_list import Page
from tests.api.clients import sync_in_another_process
from tests.builders import make_conversation, make_id
from tests.conftest import serving

SEARCH = "/api/conversations/search"
COUNT = "/api/conversations/count"

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
    ("count", [("status", "idle"), ("status", "finished")], 200),
    ("search", [("status", "idle"), ("status", "finished"), ("sort_order", "TITLE"), ("limit", "7")], 200),
    ("search", [("title__contains", "THE"), ("cost__gte", "0.5"), ("top_level", "true")], 200),
    ("search", [("archived", "any"), ("owned", "false"), ("created_at__gte", "2026-07-01T00:00:00Z")], 200),
    ("count", [("tag", "area"), ("tag", "area:store")], 200),
    ("count", [("tag", "")], 422),
    ("facets", [("by", "status,tag"), ("by", "month"), ("status", "idle"), ("limit", "2")], 200),
    ("facets", [], 422),
    ("facets", [("by", "colour")], 422),
    ("facets", [("by", "status"), ("titel__contains", "x")], 422),
    ("facets", [("by", ",".join(f"tag:{number}" for number in range(21)))], 422),
    ("count", [("cost__lt", "inf")], 422),
    ("count", [("parent_conversation_id", "x")], 422),
    ("count", [("archived", "maybe")], 422),
    ("count", [("event_count__gte", "99999999999999999999")], 422),
    ("count", [("updated_at__lt", "yesterday")], 422),
]


async def test_both_ways_answer_alike(short: httpx.AsyncClient, long: httpx.AsyncClient) -> None:
    for path, parameters, status in QUERIES:
        one, other = [
            await client.get(f"/api/conversations/{path}?{urlencode(parameters)}") for client in (short, long)
        ]
        assert (one.status_code, one.json(), one.headers["content-type"]) == (
            other.status_code, other.json(), other.headers["content-type"],
        )  # fmt: skip
        assert one.status_code == status


def test_a_query_is_validated_once_for_all_pages_of_a_walk() -> None:
    first = cached_routes.parse_query(lists.SearchQuery, b"status=idle&page_id=a&unknown=1&status=error")
    validated = cached_routes._validate.cache_info().misses
    second = cached_routes.parse_query(lists.SearchQuery, b"status=idle&page_id=b&status=error")
    assert cached_routes._validate.cache_info().misses == validated
    assert first.model_dump() == second.model_dump() | {"page_id": "a"}
    assert second == lists.SearchQuery(status=["idle", "error"], page_id="b")


async def test_only_a_get_with_the_key_goes_the_short_way(short: httpx.AsyncClient) -> None:
    assert (await short.post("/api/conversations/search")).status_code == 405
    assert (await short.get("/api/conversations/search", headers={"X-Session-API-Key": "other"})).status_code == 401


async def test_an_answer_is_not_composed_again_until_the_index_changes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_conversation(root, 1)
    asked = []
    plain = ConversationStore.list_conversations

    async def counted(self: ConversationStore, *arguments: Any, **more: Any) -> Page:
        asked.append(more["limit"])
        return await plain(self, *arguments, **more)

    monkeypatch.setattr(ConversationStore, "list_conversations", counted)
    async with serving(Settings(store=root)) as client:
        first = [(await client.get(f"{SEARCH}?limit=5")).json() for _ in range(3)]
        assert (first[0]["items"][0]["title"], first[1:], asked) == ("A title", first[:1] * 2, [5])
        make_conversation(root, 2, meta={"title": "Second"})
        await client.get(f"/api/conversations/{make_id(2)}")
        after = (await client.get(f"{SEARCH}?limit=5")).json()
    assert ({item["title"] for item in after["items"]}, asked) == ({"A title", "Second"}, [5, 5])


async def test_another_process_s_change_is_seen_at_once(root: Path) -> None:
    make_conversation(root, 1)
    async with serving(Settings(store=root)) as client:
        assert (await client.get(COUNT)).json() == 1
        make_conversation(root, 2)
        sync_in_another_process(root)
        assert (await client.get(COUNT)).json() == 2


async def test_a_client_that_has_the_answer_gets_304_until_the_index_changes(root: Path) -> None:
    make_conversation(root, 1)
    async with serving(Settings(store=root)) as client:
        for path in (SEARCH, COUNT):
            first = await client.get(path)
            again = await client.get(path, headers={"If-None-Match": f'"x", W/{first.headers["etag"]}'})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
        make_conversation(root, 2)
        await client.get(f"/api/conversations/{make_id(2)}")
        changed = await client.get(COUNT, headers={"If-None-Match": first.headers["etag"]})
    assert (changed.status_code, changed.json()) == (200, 2)
    assert changed.headers["etag"] != first.headers["etag"]


async def test_an_answer_that_files_decide_is_not_kept(root: Path) -> None:
    make_conversation(root, 1)
    async with serving(Settings(store=root)) as client:
        answer = await client.get(f"{SEARCH}?include_skills=true")
    assert "etag" not in answer.headers


async def test_what_is_kept_is_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_routes, "_ANSWERS_MAX_BYTES", 2000)
    make_conversation(root, 1)
    async with serving(Settings(store=root)) as client:
        bodies = {(await client.get(f"{COUNT}?x={'y' * 900}{number}")).text for number in range(10)}
    assert bodies == {"1"}
    answers = cached_routes._AnswerCache()
    for number in range(10):
        answers.put("1", ("/", b"%d" % number), Response(b"z" * 900))
    assert [key for _, key in answers._answers] == [b"8", b"9"]


async def test_an_answer_for_one_origin_is_not_given_to_another(root: Path) -> None:
    async with serving(Settings(store=root)) as client:
        first = await client.get(COUNT, headers={"Origin": "http://localhost:3000"})
        second = await client.get(COUNT, headers={"Origin": "http://evil.example"})
    assert first.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "access-control-allow-origin" not in second.headers
