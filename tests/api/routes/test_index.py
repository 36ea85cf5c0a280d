"""The status of the index, and syncs on request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app import Settings
from tests.builders import held_by_another_process, make_conversation, make_id
from tests.conftest import serving

COUNT = "/api/conversations/count"


@pytest.fixture
async def client(root: Path) -> AsyncIterator[httpx.AsyncClient]:
    for number in range(1, 10):
        make_conversation(root, number)
    async with serving(Settings(store=root)) as client:
        yield client


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
