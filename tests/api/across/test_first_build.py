"""The first build of an index: every answer says how far it is, and nothing outlasts it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from app import ConversationStore, Settings
from app.api.app import create_app
from app.files import row_reader
from app.store.follow import background, full_sync
from tests.builders import make_conversation, make_id
from tests.cli.conftest import Command, convstore

__all__ = ["convstore"]

LIST, COUNT, FACETS = (f"/api/conversations/{name}" for name in ("search", "count", "facets?by=status"))
INDEXED = "X-Convstore-Indexed"
CONVERSATIONS = 5


class Build:
    """A build that reads so many conversations, and then waits."""

    def __init__(self) -> None:
        self.may_begin, self.may_end, self.waits = threading.Event(), threading.Event(), threading.Event()
        self._batches = 0

    def read(self, *arguments: object) -> object:
        self._batches += 1
        if self._batches == 2:
            self.waits.set()
            assert self.may_end.wait(60)
        return row_reader.read_rows(*arguments)  # type: ignore[arg-type]


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    build = Build()
    recover = ConversationStore.recover

    async def begin(store: ConversationStore, **how: bool) -> object:
        await asyncio.to_thread(build.may_begin.wait, 60)
        return await recover(store, **how)

    monkeypatch.setattr(ConversationStore, "recover", begin)
    monkeypatch.setattr(full_sync, "_BATCH", 2)
    monkeypatch.setattr(full_sync, "read_rows", build.read)
    monkeypatch.setattr(background, "_OTHER_SYNC_S", 0.05)
    yield build
    build.may_begin.set()
    build.may_end.set()


@pytest.fixture
async def client(root: Path, build: Build) -> AsyncIterator[httpx.AsyncClient]:
    for number in range(CONVERSATIONS):
        make_conversation(root, number)
    application = create_app(Settings(store=root), keys=[])
    async with application.router.lifespan_context(application):
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client
        build.may_begin.set()
        build.may_end.set()


async def status(client: httpx.AsyncClient) -> tuple[str, int, int]:
    body = (await client.get("/api/index/status")).json()
    return body["phase"], body["done"], body["total"]


async def build_waits(client: httpx.AsyncClient, build: Build, done: int = 2) -> None:
    """Wait until the first batch is written, and the second is being read."""
    assert await asyncio.to_thread(build.waits.wait, 30)
    async with asyncio.timeout(60):
        while (await status(client))[1] != done:
            await asyncio.sleep(0.01)


async def ready(client: httpx.AsyncClient) -> tuple[int, str]:
    answer = await client.get("/ready?wait=0")
    return answer.status_code, answer.json().get("code", "ready")


async def test_the_first_answers_say_that_nothing_is_listed_yet(client: httpx.AsyncClient) -> None:
    assert await status(client) == ("metadata", 0, 0)
    assert await ready(client) == (503, "index_building")
    assert [(await client.get(path)).status_code for path in ("/alive", "/health")] == [200, 200]
    for path in (LIST, COUNT, FACETS, "/api/changes", "/health", "/ready"):
        answer = await client.get(path)
        assert (answer.status_code, answer.headers[INDEXED], "ETag" in answer.headers) == (200, "0/*", False), path
    assert (await client.get(LIST)).json()["indexed"] == {"conversations": 0, "total": None}
    page = await client.get("/ui/list")
    assert (page.status_code, "The index is being built: 0 conversations so far" in page.text) == (200, True)


async def test_answers_in_between_say_how_many_of_how_many(client: httpx.AsyncClient, build: Build) -> None:
    build.may_begin.set()
    await build_waits(client, build)
    refused = await client.get("/ready?wait=0")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert f"phase metadata: 2/{CONVERSATIONS} conversations" in refused.json()["detail"]
    assert await status(client) == ("metadata", 2, CONVERSATIONS)
    for path in (LIST, COUNT, FACETS):
        for _ in range(2):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers[INDEXED]) == (200, f"2/{CONVERSATIONS}")
            assert "ETag" not in answer.headers
    assert (await client.get(COUNT)).json() == 2
    assert (await client.get(LIST)).json()["indexed"] == {"conversations": 2, "total": CONVERSATIONS}
    assert (await client.get(FACETS)).json()["indexed"] == {"conversations": 2, "total": CONVERSATIONS}
    assert (await client.get(f"/api/conversations/{make_id(4)}")).status_code == 200


async def test_a_change_of_all_that_match_is_refused_until_all_are_listed(
    client: httpx.AsyncClient, build: Build
) -> None:
    build.may_begin.set()
    await build_waits(client, build)
    everything = {"filter": {}, "all": True}
    bulk = "/api/conversations/bulk"
    for path, more in (
        (f"{bulk}/delete", {"dry_run": True}),
        (f"{bulk}/tag", {"set": {"a": "b"}}),
        (f"{bulk}/export", {}),
        ("/api/exports", {}),
    ):
        answer = await client.post(path, json=everything | more)
        assert (answer.status_code, answer.json()["code"]) == (503, "index_building"), (path, answer.text)
    answer = await client.post(f"{bulk}/export", json={"ids": [make_id(0)]})
    assert answer.status_code == 200


async def test_a_probe_can_wait_for_the_whole_list(client: httpx.AsyncClient, build: Build) -> None:
    waiting = asyncio.create_task(client.get("/ready?wait=30"))
    soon = await client.get("/ready?wait=0.2")
    assert (soon.status_code, soon.json()["code"]) == (503, "index_building")
    build.may_begin.set()
    build.may_end.set()
    assert (await waiting).json() == {"status": "ready"}
    answer = await client.get(LIST)
    assert (len(answer.json()["items"]), INDEXED in answer.headers, "ETag" in answer.headers) == (5, False, True)
    assert "indexed" not in answer.json()
    assert (await client.get("/ready?wait=61")).status_code == 422


async def test_a_conversation_that_is_opened_during_the_build_is_found(client: httpx.AsyncClient, build: Build) -> None:
    await client.get(f"/api/conversations/{make_id(4)}")
    build.may_begin.set()
    await build_waits(client, build, done=3)
    assert await ready(client) == (503, "index_building")
    count = await client.get(COUNT)
    assert (count.json(), count.headers[INDEXED]) == (3, f"3/{CONVERSATIONS}")


def test_commands_that_do_not_compare_say_that_the_index_is_not_whole(root: Path, convstore: Command) -> None:
    make_conversation(root)
    for command in ("list", "count"):
        ran = convstore(command, "--store", root, "--no-sync")
        assert ran.code == 0
        assert ran.err == "convstore: the index is still being built; it lists 0/* conversations\n"
    assert convstore("count", "--store", root).err == ""
    assert convstore("count", "--store", root, "--no-sync").err == ""
