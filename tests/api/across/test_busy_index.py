"""While another program holds the index: what is on disk is answered as done, and what is refused was not done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import Settings
from app.files.trash import move_to_trash
from tests.builders import busy_index, details_in, make_conversation, make_event, make_id, names_in
from tests.conftest import serving
from tests.files.archives import good_entries, make_zip

ONE = make_id(1)
NEW = make_id(9)
AT_ONE = f"/api/conversations/{ONE}"
START = {
    "agent": {"llm": {"model": "a/model"}, "tools": []},
    "workspace": {"working_dir": "/home/dev/new"},
    "conversation_id": NEW,
}
WARNING = (
    "saved on disk, but not yet in the index: the index is busy. The index will be updated; do not repeat the request"
)
SOON_S = 2.0

Send = Callable[[httpx.AsyncClient], Any]


@asynccontextmanager
async def busy(root: Path, *, busy_timeout_s: float = 0.2) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(Settings(store=root, busy_timeout_s=busy_timeout_s)) as client:
        yield client


async def listed(client: httpx.AsyncClient) -> set[str]:
    items = (await client.get("/api/conversations/search")).json()["items"]
    return {item["id"].replace("-", "") for item in items}


async def soon(client: httpx.AsyncClient, wanted: set[str]) -> None:
    until = time.monotonic() + SOON_S
    while await listed(client) != wanted:
        assert time.monotonic() < until, f"the list shows {await listed(client)}, not {wanted}"
        await asyncio.sleep(0.02)


async def create(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/api/conversations", json=START)


async def fork(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post(f"{AT_ONE}/fork", json={"id": NEW})


async def restore(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post(f"/api/conversations/{NEW}/restore")


@pytest.mark.parametrize(("send", "status"), [(create, 201), (fork, 201), (restore, 200)])
async def test_what_stands_on_disk_is_answered_as_done_and_listed_soon(root: Path, send: Send, status: int) -> None:
    make_conversation(root)
    if send is restore:
        make_conversation(root, directory=NEW)
        move_to_trash(root, NEW, time.time_ns() // 1000)
    async with busy(root) as client:
        with busy_index(root):
            answer = await send(client)
            assert (answer.status_code, answer.json()["warning"]) == (status, WARNING)
            assert (root / NEW / "meta.json").exists()
            assert await listed(client) == {ONE}
        await soon(client, {ONE, NEW})
        shown = (await client.get(f"/api/conversations/{NEW}")).json()
    body = answer.json()
    del body["warning"]
    assert body == shown


async def test_creating_again_with_the_same_id_finds_the_conversation(root: Path) -> None:
    async with busy(root) as client:
        with busy_index(root):
            first, second = await create(client), await create(client)
        assert (first.status_code, second.status_code, second.json()["warning"]) == (201, 200, WARNING)
        assert first.json() == second.json()
        await soon(client, {NEW})
    assert len([name for name in names_in(root) if not name.startswith(".")]) == 1


async def test_without_a_warning_the_body_has_none(root: Path) -> None:
    make_conversation(root)
    async with busy(root) as client:
        await client.post(f"{AT_ONE}/events", json={"content": [{"type": "text", "text": "hello"}]})
        answers = [
            await create(client),
            await client.post(f"{AT_ONE}/fork", json={}),
            await client.post(f"{AT_ONE}/navigate", json={"event_id": None}),
            await client.post(f"{AT_ONE}/events/batch", json={"events": [make_event(7)]}),
            await client.post("/api/conversations/bulk/archive", json={"ids": [ONE], "archived": False}),
            await client.post("/api/conversations/import", content=make_zip(good_entries(make_id(7)))),
        ]
        successes = [
            await client.post(f"{AT_ONE}/events", json={"content": [{"type": "text", "text": "hello"}]}),
            await client.patch(AT_ONE, json={"title": "New", "archived": True}),
            await client.delete(AT_ONE),
        ]
    assert [answer.is_success for answer in answers] == [True] * len(answers)
    assert '"warning"' not in "".join(answer.text for answer in answers)
    assert [answer.json() for answer in successes] == [{"success": True}] * 3


async def test_an_imported_conversation_is_told_and_listed_soon(root: Path) -> None:
    make_conversation(root)
    async with busy(root) as client:
        with busy_index(root):
            answer = await client.post("/api/conversations/import", content=make_zip(good_entries(NEW)))
            assert (answer.status_code, answer.json()["warning"]) == (200, WARNING)
            assert [item["action"] for item in answer.json()["items"]] == ["import"]
        await soon(client, {ONE, NEW})


async def test_a_bulk_restore_tells_of_each(root: Path) -> None:
    ids = [make_id(number) for number in (1, 2)]
    for number, name in enumerate(ids, 1):
        make_conversation(root, number)
        move_to_trash(root, name, time.time_ns() // 1000)
    make_conversation(root, 3)
    async with busy(root) as client:
        with busy_index(root):
            asked = {"ids": [*ids, make_id(4)]}
            answer = (await client.post("/api/conversations/bulk/restore", json=asked)).json()
            assert answer["done"] == 2
            assert [item.get("warning") for item in answer["items"]] == [WARNING, WARNING, None]
            assert [item["code"] for item in answer["items"]] == [None, None, "not_in_trash"]
        await soon(client, {*ids, make_id(3)})


@pytest.mark.parametrize("query", ["", "?permanent=true"])
async def test_a_deleted_conversation_is_told_and_gone_from_lists_soon(root: Path, query: str) -> None:
    make_conversation(root)
    async with busy(root) as client:
        with busy_index(root):
            answer = await client.delete(f"{AT_ONE}{query}")
            assert (answer.status_code, answer.json()) == (200, {"success": True, "warning": WARNING})
            assert ONE not in names_in(root)
        await soon(client, set())


async def test_changes_of_an_open_conversation_are_told_and_shown_soon(root: Path) -> None:
    make_conversation(root, events=3)
    first = make_event(0)["id"]
    async with busy(root) as client:
        await client.patch(AT_ONE, json={"title": "Before"})
        with busy_index(root):
            changed = await client.patch(AT_ONE, json={"title": "After", "pinned": True})
            tagged = await client.post("/api/conversations/bulk/tag", json={"ids": [ONE], "set": {"a": "b"}})
            moved = await client.post(f"{AT_ONE}/navigate", json={"event_id": first})
            assert changed.json() == {"success": True, "warning": WARNING}
            assert tagged.json()["items"][0]["warning"] == WARNING
            assert moved.json()["warning"] == WARNING
            shown = [moved.json()[name] for name in ("title", "tags", "leaf_event_id", "pinned")]
            assert shown == ["After", {"a": "b"}, first, True]
        until = time.monotonic() + SOON_S
        while True:
            [item] = (await client.get("/api/conversations/search")).json()["items"]
            if [item.get(name) for name in ("title", "tags", "leaf_event_id", "pinned")] == shown:
                break
            assert time.monotonic() < until
            await asyncio.sleep(0.02)


@pytest.mark.long
async def test_what_is_refused_was_not_done(root: Path) -> None:
    path = make_conversation(root)
    async with busy(root) as client:
        with busy_index(root):
            before = {file: file.read_bytes() for file in path.rglob("*.json") if "lease" not in file.name}
            answers = [
                await client.patch(AT_ONE, json={"title": "New"}),
                await client.post(f"{AT_ONE}/events/batch", json={"events": [make_event(7)]}),
                await client.post(f"{AT_ONE}/navigate", json={"event_id": None}),
            ]
            assert [(one.status_code, one.headers["Retry-After"]) for one in answers] == [(503, "1")] * 3
            after = {file: file.read_bytes() for file in path.rglob("*.json") if "lease" not in file.name}
            assert after == before


async def test_a_lease_is_lent_and_its_owner_shown_soon(root: Path) -> None:
    make_conversation(root)
    async with busy(root) as client:
        with busy_index(root):
            answer = await client.post(f"{AT_ONE}/lease", json={"owner": "mine"})
            assert answer.status_code == 200
        until = time.monotonic() + SOON_S
        while (await client.get("/api/conversations/search")).json()["items"][0]["owner"] != "mine":
            assert time.monotonic() < until
            await asyncio.sleep(0.02)


@pytest.mark.long
async def test_those_who_wait_at_once_wait_no_longer_than_one(root: Path) -> None:
    async with busy(root, busy_timeout_s=1.0) as client:
        with busy_index(root):
            began = time.monotonic()
            requests = [client.post("/api/conversations", json=START | {"conversation_id": None}) for _ in range(8)]
            answers = await asyncio.gather(*requests)
            took_s = time.monotonic() - began
            assert [answer.status_code for answer in answers] == [201] * 8
    assert took_s < 7


@pytest.mark.parametrize("path", [f"/events/{make_event(0)['id']}/erase", "bulk"])
async def test_an_erasure_that_is_refused_has_erased_nothing(root: Path, path: str) -> None:
    directory = make_conversation(root)
    async with busy(root) as client:
        with busy_index(root):
            before = details_in(directory)
            erase = "/api/conversations/bulk/erase" if path == "bulk" else f"{AT_ONE}{path}"
            asked = {"ids": [ONE]} if path == "bulk" else None
            answer = await client.post(erase, json=asked)
            assert (answer.status_code, answer.json()["code"]) == (503, "index_busy")
            assert details_in(directory) == before
        assert (await client.post(erase, json=asked)).status_code == 200
