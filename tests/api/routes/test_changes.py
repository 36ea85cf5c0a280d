"""The change feed: what changed, what was deleted, and waiting for more."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import ConversationStore, Settings
from app.index import state
from app.index.connections import ReadConnection
from app.model.ids import dashed
from app.store.follow.rebuild import rebuild
from tests.api.clients import http_client, listening, read_stream, sync_in_another_process
from tests.builders import index_path, make_conversation, make_id, make_meta
from tests.conftest import PACKAGE, serving

CHANGES = "/api/changes"


@pytest.fixture
async def client(root: Path) -> AsyncIterator[httpx.AsyncClient]:
    for number in (1, 2):
        make_conversation(root, number)
    async with serving(Settings(store=root)) as client:
        yield client


async def changes(client: httpx.AsyncClient, **asked: Any) -> tuple[dict[str, Any], str]:
    """Return what an answer says of each conversation, and the token to go on with."""
    answer = await client.get(CHANGES, params=asked)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    said = {item["id"]: item["conversation"] and item["conversation"]["title"] for item in body["items"]}
    assert len(said) == len(body["items"])
    return said, body["next"]


async def sync(root: Path) -> None:
    async with ConversationStore.open(Settings(store=root)) as store:
        await store.sync(allow_empty=True)


ONE, TWO, THREE = (dashed(make_id(number)) for number in (1, 2, 3))


async def test_it_begins_with_everything_and_goes_on_with_what_changed(root: Path, client: httpx.AsyncClient) -> None:
    said, token = await changes(client)
    assert said == {ONE: "A title", TWO: "A title"}
    assert (await changes(client, since=token))[0] == {}
    (root / make_id(1) / "meta.json").write_text(json.dumps(make_meta(make_id(1), title="Changed")))
    shutil.rmtree(root / make_id(2))
    make_conversation(root, 3)
    await sync(root)
    said, token = await changes(client, since=token)
    assert said == {ONE: "Changed", TWO: None, THREE: "A title"}
    assert (await changes(client, since=token))[0] == {}


async def test_an_item_is_what_a_list_says(root: Path, client: httpx.AsyncClient) -> None:
    make_conversation(root, 3, meta={"parent_conversation_id": make_id(1)})
    await sync(root)
    listed = {item["id"]: item for item in (await client.get("/api/conversations/search")).json()["items"]}
    items = (await client.get(CHANGES)).json()["items"]
    assert {item["id"]: item["conversation"] for item in items} == listed
    assert listed[ONE]["sub_conversation_ids"] == [THREE]


async def test_it_is_cut_into_pages_also_within_one_revision(client: httpx.AsyncClient) -> None:
    first = (await client.get(CHANGES, params={"limit": 1})).json()
    second = (await client.get(CHANGES, params={"limit": 1, "since": first["next"]})).json()
    assert [first["more"], second["more"]] == [True, False]
    assert [item["id"] for item in first["items"] + second["items"]] == [ONE, TWO]


async def test_now_leaves_out_what_is_there(root: Path, client: httpx.AsyncClient) -> None:
    said, token = await changes(client, since="now")
    make_conversation(root, 3)
    await sync(root)
    assert (said, (await changes(client, since=token))[0]) == ({}, {THREE: "A title"})


async def test_a_request_may_wait_for_a_change_of_another_process(root: Path, client: httpx.AsyncClient) -> None:
    _, token = await changes(client)
    waiting = asyncio.create_task(changes(client, since=token, wait=30))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    make_conversation(root, 3)
    sync_in_another_process(root)
    said, _ = await asyncio.wait_for(waiting, 10)
    assert said == {THREE: "A title"}


async def test_waiting_in_vain_gives_the_same_token(client: httpx.AsyncClient) -> None:
    _, token = await changes(client)
    assert await changes(client, since=token, wait=1) == ({}, token)


@pytest.mark.parametrize("token", ["nonsense", "", "0123456789abcdef.1.x", "0123456789abcdef.-1.all"])
async def test_what_is_no_token_is_400(client: httpx.AsyncClient, token: str) -> None:
    answer = await client.get(CHANGES, params={"since": token})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_page_token")


async def test_a_token_of_another_build_is_410(root: Path, client: httpx.AsyncClient) -> None:
    _, token = await changes(client)
    await rebuild(Settings(store=root), lambda *_: None)
    for path, more in ((CHANGES, {}), (CHANGES, {"wait": "5"}), (f"{CHANGES}/stream", {})):
        answer = await client.get(path, params={"since": token, **more})
        assert (answer.status_code, answer.json()["code"]) == (410, "changes_gone"), path


async def test_a_token_from_before_forgotten_deletions_is_410(
    root: Path, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.index.change_feed.DELETIONS_KEPT", 1)
    _, old = await changes(client)
    for number in (1, 2):
        make_conversation(root, 3 + number)
        await sync(root)
        shutil.rmtree(root / make_id(3 + number))
        await sync(root)
    answer = await client.get(CHANGES, params={"since": old})
    assert (answer.status_code, answer.json()["code"]) == (410, "changes_gone")
    _, token = await changes(client, since="now")
    shutil.rmtree(root / make_id(1))
    await sync(root)
    assert (await changes(client, since=token))[0] == {ONE: None}


async def test_a_walk_from_the_beginning_misses_only_what_is_deleted_meanwhile(
    root: Path, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.index.change_feed.DELETIONS_KEPT", 1)
    for number in (3, 4, 5):
        make_conversation(root, number)
    await sync(root)
    await forget_some(root, 4, 5)
    said, token = await changes(client, limit=1)
    assert said == {ONE: "A title"}
    said, last = await changes(client, since=token, limit=1)
    assert said == {TWO: "A title"}
    assert set((await changes(client, since=last))[0]) == {THREE, dashed(make_id(5))}
    assert await stream(root, since=token) == [TWO, THREE]
    await forget_some(root, 3)
    await forget_some(root, 2)
    answer = await client.get(CHANGES, params={"since": token})
    assert (answer.status_code, answer.json()["code"]) == (410, "changes_gone")
    assert set((await changes(client))[0]) == {ONE, TWO}


async def test_deletions_that_are_forgotten_just_while_they_are_asked_for_are_told_as_such(
    root: Path, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.index.change_feed.DELETIONS_KEPT", 1)
    _, token = await changes(client, since="now")
    get_position = state.get_revision

    async def get_position_and_forget(index: ReadConnection) -> state.Revision:
        position = await get_position(index)
        monkeypatch.setattr(state, "get_revision", get_position)
        await forget_some(root, 1, 2)
        return position

    monkeypatch.setattr(state, "get_revision", get_position_and_forget)
    said, token = await changes(client, since=token)
    assert said == {}
    answer = await client.get(CHANGES, params={"since": token})
    assert (answer.status_code, answer.json()["code"]) == (410, "changes_gone")


async def forget_some(root: Path, *numbers: int) -> None:
    """Delete conversations one after the other."""
    for number in numbers:
        shutil.rmtree(root / make_id(number))
        await sync(root)


async def stream(root: Path, since: str) -> list[str]:
    """Return of which conversations the stream tells first."""
    async with (
        listening(root) as host,
        http_client(host) as client,
        client.stream("GET", f"{CHANGES}/stream", params={"since": since}) as response,
    ):
        return [told["id"] for _, told in await read_stream(response, 2)]


async def test_it_is_streamed_and_goes_on_after_the_last_event_that_a_client_has(root: Path) -> None:
    make_conversation(root, 1)
    async with (
        listening(root) as host,
        http_client(host) as client,
    ):
        async with client.stream("GET", f"{CHANGES}/stream") as response:
            [(token, first)] = await read_stream(response, 1)
        async with client.stream("GET", f"{CHANGES}/stream", headers={"Last-Event-ID": token}) as response:
            make_conversation(root, 2)
            await sync(root)
            [(_, second)] = await read_stream(response, 1)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert [first["id"], second["id"], second["conversation"]["title"]] == [ONE, TWO, "A title"]


async def test_a_stream_ends_when_the_index_is_built_anew(root: Path) -> None:
    make_conversation(root, 1)
    async with (
        listening(root) as host,
        http_client(host) as client,
        client.stream("GET", f"{CHANGES}/stream?since=now") as response,
    ):
        while not (await client.get("/api/index/status")).json()["last_sweep_at"]:
            await asyncio.sleep(0.01)
        await rebuild(Settings(store=root), lambda *_: None)
        rest = (await response.aread()).decode()
    assert "event: gone" in rest


async def test_a_stream_ends_with_a_line_in_the_log_when_the_index_fails(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_conversation(root)
    async with (
        listening(root) as host,
        http_client(host) as client,
        client.stream("GET", f"{CHANGES}/stream?since=now") as response,
    ):
        while not (await client.get("/api/index/status")).json()["last_sweep_at"]:
            await asyncio.sleep(0.01)
        with index_path(root).open("r+b") as index:
            index.write(b"x" * index_path(root).stat().st_size)
        await response.aread()
    told = [record for record in caplog.records if record.name.startswith(("uvicorn", f"{PACKAGE}.api"))]
    assert [record.getMessage()[:39] for record in told if record.levelno >= logging.WARNING] == [
        "a stream of the changes ended: the inde"
    ]


@pytest.mark.long
async def test_who_goes_away_waits_no_longer(root: Path) -> None:
    make_conversation(root)
    async with (
        listening(root, followers=1) as host,
        http_client(host) as client,
    ):
        async with asyncio.timeout(60):
            while not (await client.get("/api/index/status")).json()["last_sweep_at"]:
                await asyncio.sleep(0.05)
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/api/changes?since=now&wait=60", timeout=1)
        async with asyncio.timeout(60):
            while (await client.get("/api/changes?since=now&wait=1")).status_code != 200:
                await asyncio.sleep(0.1)
