"""GET /metrics: gauges of the index, and who may read them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app import Settings
from app.api.headers import API_KEY
from tests.api.clients import read_metrics
from tests.builders import break_index, make_conversation
from tests.conftest import serving

SEARCH = "/api/conversations/search"


@pytest.fixture
async def client(root: Path) -> AsyncIterator[httpx.AsyncClient]:
    make_conversation(root)
    make_conversation(root, 2, state={"agent": None, "execution_status": 7})
    async with serving(Settings(store=root)) as client:
        yield client


async def test_metrics_tell_how_the_index_is(client: httpx.AsyncClient, root: Path) -> None:
    told = await read_metrics(client)
    status = (await client.get("/api/index/status")).json()
    assert {
        "conversations": told["convstore_conversations",],
        "unreadable": told["convstore_conversations_unreadable",],
        "dirty": told["convstore_conversations_dirty",],
        "revision": told["convstore_index_revision",],
    } == {name: status[name] for name in ("conversations", "unreadable", "dirty", "revision")}
    assert told["convstore_index_up",] == 1
    assert told["convstore_sync_seconds_count",] == 1
    assert told["convstore_commit_seconds_count",] == told["convstore_lock_wait_seconds_count",] > 0
    assert told["convstore_index_bytes",] == (root / ".convstore" / "index.db").stat().st_size
    assert told["convstore_wal_bytes",] > 0
    assert told["process_open_fds",] > 0


async def test_metrics_answer_when_the_index_does_not(client: httpx.AsyncClient, root: Path) -> None:
    break_index(root)
    told = await read_metrics(client)
    assert told["convstore_index_up",] == 0
    assert ("convstore_conversations",) not in told


async def test_metrics_need_the_key_unless_a_setting_opens_them(root: Path) -> None:
    for opened, status in ((False, 401), (True, 200)):
        async with serving(Settings(store=root, open_metrics=opened)) as client:
            del client.headers[API_KEY]
            assert (await client.get("/metrics")).status_code == status
            assert (await client.get(SEARCH)).status_code == 401
