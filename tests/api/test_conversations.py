"""Listing, counting and finding conversations over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from app import Settings, __version__
from app.model.ids import dashed
from tests.builders import held_by_another_process, make_conversation, make_id, make_state, write_event
from tests.conftest import serving

SEARCH = "/api/conversations/search"
COUNT = "/api/conversations/count"
SKILLS = [{"name": "a skill", "content": "do it", "trigger": None}]


def created(hour: int) -> str:
    return f"2026-10-{1 + hour // 24:02d}T{hour % 24:02d}:00:00Z"


@pytest.fixture
async def client(root: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Nine conversations: the n-th was made at n o'clock, updated in the reverse order; each third is running."""
    for number in range(1, 10):
        times = {"created_at": created(number), "updated_at": created(100 - number)}
        status = "running" if number % 3 == 0 else "finished"
        make_conversation(root, number, meta=times, state={"execution_status": status})
    async with serving(Settings(store=root)) as client:
        yield client


async def ids(client: httpx.AsyncClient, path: str, **params: Any) -> list[int]:
    """Return the numbers of the conversations of all pages."""
    found: list[int] = []
    while True:
        page = (await client.get(path, params=params)).json()
        found += [int(info["id"].replace("-", "")[-4:], 16) for info in page["items"]]
        if page["next_page_id"] is None:
            return found
        params["page_id"] = page["next_page_id"]


@pytest.mark.parametrize("limit", [1, 2, 3, 8, 9, 100])
@pytest.mark.parametrize(
    ("order", "first", "last"),
    [("CREATED_AT", 1, 9), ("CREATED_AT_DESC", 9, 1), ("UPDATED_AT", 9, 1), ("UPDATED_AT_DESC", 1, 9)],
)
async def test_pages_come_in_the_asked_order(
    client: httpx.AsyncClient, limit: int, order: str, first: int, last: int
) -> None:
    step = 1 if first < last else -1
    assert await ids(client, SEARCH, sort_order=order, limit=limit) == list(range(first, last + step, step))


async def test_the_newest_come_first_unless_asked_otherwise(client: httpx.AsyncClient) -> None:
    assert await ids(client, SEARCH) == [9, 8, 7, 6, 5, 4, 3, 2, 1]


async def test_a_page_is_last_when_it_holds_the_last_row(client: httpx.AsyncClient) -> None:
    assert (await client.get(SEARCH, params={"limit": 9})).json()["next_page_id"] is None
    assert (await client.get(SEARCH, params={"limit": 8})).json()["next_page_id"]


@pytest.mark.parametrize(
    ("status", "expected"), [("running", [9, 6, 3]), ("finished", [8, 7, 5, 4, 2, 1]), ("idle", [])]
)
async def test_a_status_filters_list_and_count(client: httpx.AsyncClient, status: str, expected: list[int]) -> None:
    assert await ids(client, SEARCH, status=status, limit=2) == expected
    assert (await client.get(COUNT, params={"status": status})).json() == len(expected)


async def test_unknown_parameters_are_ignored(client: httpx.AsyncClient) -> None:
    assert await ids(client, SEARCH, colour="x", cache="1") == [9, 8, 7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize("time", ["2026-10-01T09:30+02:00", "2026-10-01T09:30:00.5+0200", "2026-10-01 07:30"])
async def test_a_zone_may_be_typed_as_it_is(client: httpx.AsyncClient, time: str) -> None:
    answer = await client.get(f"{COUNT}?created_at__gte={time}")  # the plus not escaped, so a space to a server
    assert (answer.status_code, answer.text) == (200, "2")
    one = f"/api/conversations/{make_id(1)}/events/count"
    assert (await client.get(f"{one}?timestamp__gte={time}")).status_code == 200


async def test_a_store_without_conversations_is_an_empty_list(root: Path) -> None:
    async with serving(Settings(store=root)) as client:
        assert (await client.get(SEARCH)).json() == {"items": [], "next_page_id": None}
        assert (await client.get(COUNT)).json() == 0


async def test_several_are_found_in_the_order_asked_with_null_for_the_missing(client: httpx.AsyncClient) -> None:
    asked = [make_id(3), dashed(make_id(1)), make_id(77), make_id(3)]
    found = (await client.get("/api/conversations", params={"ids": asked})).json()
    assert [info and info["id"] for info in found] == [dashed(make_id(3)), dashed(make_id(1)), None, dashed(make_id(3))]


@pytest.mark.parametrize("spell", [str, dashed, str.upper])
async def test_an_id_is_read_with_and_without_dashes(client: httpx.AsyncClient, spell: Any) -> None:
    info = (await client.get(f"/api/conversations/{spell(make_id(9))}")).json()
    assert info["id"] == dashed(make_id(9))


async def test_a_conversation_is_the_same_in_list_and_alone(client: httpx.AsyncClient) -> None:
    listed = (await client.get(SEARCH, params={"limit": 1})).json()["items"]
    alone = (await client.get(f"/api/conversations/{make_id(9)}")).json()
    several = (await client.get("/api/conversations", params={"ids": make_id(9)})).json()
    assert listed == several == [alone]


async def test_a_parent_lists_its_children_by_age(root: Path) -> None:
    for number, hour in ((1, 1), (2, 5), (3, 4)):
        parent = make_id(1) if number > 1 else None
        make_conversation(root, number, meta={"created_at": created(hour), "parent_conversation_id": parent})
    async with serving(Settings(store=root)) as client:
        infos = {info["id"]: info for info in (await client.get(SEARCH)).json()["items"]}
        alone = (await client.get(f"/api/conversations/{make_id(1)}")).json()
    one, two, three = (dashed(make_id(number)) for number in (1, 2, 3))
    assert [infos[i]["sub_conversation_ids"] for i in (one, two, three)] == [[three, two], [], []]
    assert [infos[i]["parent_conversation_id"] for i in (one, two, three)] == [None, one, one]
    assert alone == infos[one]


async def test_skills_come_only_when_asked_for(root: Path) -> None:
    agent = {"kind": "Agent", "llm": {"model": "m"}, "tools": [], "agent_context": {"skills": SKILLS}}
    make_conversation(root, state={"agent": agent})
    one = f"/api/conversations/{make_id(1)}"
    async with serving(Settings(store=root)) as client:
        for path, pick in ((SEARCH, "items"), (f"/api/conversations?ids={make_id(1)}", None), (one, None)):
            for include, expected in ((False, []), (True, SKILLS)):
                url = httpx.URL(path).copy_merge_params({"include_skills": str(include)})
                body = (await client.get(url)).json()
                info = body[pick][0] if pick else body[0] if isinstance(body, list) else body
                assert info["agent"]["agent_context"]["skills"] == expected, url


async def test_a_change_on_disk_is_seen_when_a_conversation_is_opened(client: httpx.AsyncClient, root: Path) -> None:
    state = root / make_id(1) / "base_state.json"
    fresh = state.with_name("fresh")
    fresh.write_bytes(orjson.dumps(make_state(make_id(1), execution_status="paused")))
    fresh.replace(state)
    info = (await client.get(f"/api/conversations/{make_id(1)}")).json()
    assert info["execution_status"] == "paused"
    assert (await client.get(COUNT, params={"status": "paused"})).json() == 1


async def test_a_new_directory_is_found_when_it_is_opened(client: httpx.AsyncClient, root: Path) -> None:
    make_conversation(root, 50, events=3)
    assert (await client.get(f"/api/conversations/{make_id(50)}")).json()["title"] == "A title"
    assert (await client.get(f"/api/conversations/{make_id(50)}/events/count")).json() == 3
    assert (await client.get(COUNT)).json() == 10


async def test_a_directory_that_is_gone_is_404_when_it_is_opened(client: httpx.AsyncClient, root: Path) -> None:
    (root / make_id(1)).rename(root / "elsewhere")
    assert (await client.get(f"/api/conversations/{make_id(1)}")).status_code == 404
    assert (await client.get(COUNT)).json() == 8


@pytest.mark.parametrize("directory", [make_id(2748).upper(), dashed(make_id(2748)).upper()])
async def test_a_directory_named_in_capitals_is_opened_after_a_change(root: Path, directory: str) -> None:
    path = make_conversation(root, 2748, directory=directory)
    async with serving(Settings(store=root)) as client:
        write_event(path, 2)
        assert (await client.get(f"/api/conversations/{make_id(2748)}/events/count")).json() == 3


async def test_a_link_to_a_directory_is_no_conversation(root: Path, tmp_path: Path) -> None:
    make_conversation(tmp_path, 1)
    (root / make_id(1)).symlink_to(tmp_path / make_id(1))
    async with serving(Settings(store=root)) as client:
        assert (await client.get(COUNT)).json() == 0
        assert (await client.get(f"/api/conversations/{make_id(1)}")).status_code == 404


async def test_the_index_says_what_it_holds(client: httpx.AsyncClient, root: Path) -> None:
    (make_conversation(root, 60) / "base_state.json").unlink()
    await client.get(f"/api/conversations/{make_id(60)}")
    status = (await client.get("/api/index/status")).json()
    assert (status["phase"], status["conversations"], status["unreadable"], status["dirty"]) == ("idle", 10, 1, 0)
    assert (status["last_error"], len(status["epoch"])) == (None, 16)


async def test_the_index_is_brought_in_step_when_asked(client: httpx.AsyncClient, root: Path) -> None:
    with held_by_another_process(root / ".convstore" / "sync.lock"):
        refused = await client.post("/api/index/sync")
        assert (refused.status_code, refused.json()["code"], refused.headers["Retry-After"]) == (
            503,
            "sync_running",
            "1",
        )
    make_conversation(root, 61)
    found = (await client.post("/api/index/sync")).json()
    assert (found["conversations"], found["removed"], found["unreadable"], found["duplicates"]) == (10, 0, 0, [])
    assert (await client.get(COUNT)).json() == 10


async def test_the_server_says_what_it_is(client: httpx.AsyncClient) -> None:
    info = (await client.get("/server_info")).json()
    assert (info["title"], info["version"]) == ("convstore", __version__)
    assert (await client.get("/alive")).json() == (await client.get("/health")).json() == {"status": "ok"}
    assert (await client.get("/ready")).json() == {"status": "ready"}


async def test_the_api_describes_its_key_and_its_routes(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["security"] == [{"key": []}]
    assert document["components"]["securitySchemes"]["key"]["name"] == "X-Session-API-Key"
    assert {SEARCH, COUNT, "/api/conversations/{conversation_id}/events/search"} <= document["paths"].keys()
