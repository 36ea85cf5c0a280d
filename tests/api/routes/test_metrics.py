"""GET /metrics: gauges of the index, and who may read them."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import Settings
from app.api.headers import API_KEY
from app.files import lease
from app.model.filters import Status
from tests.api.clients import frame, http_client, listening, read_metrics, session, unreadable
from tests.builders import break_index, make_conversation, make_id, make_state
from tests.conftest import serving

SEARCH = "/api/conversations/search"
OPEN = ("requests_in_flight", "open_sockets", "open_streams")


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


async def test_metrics_count_conversations_by_status_and_those_that_wait(root: Path) -> None:
    make_conversation(root, 1, state={"execution_status": "waiting_for_confirmation"})
    make_conversation(root, 2, state={"execution_status": "finished"})
    async with serving(Settings(store=root)) as client:
        await client.post("/api/conversations/bulk/archive", json={"ids": [make_id(2)]})
        told = await read_metrics(client)
    counted = {labels[1]: told[labels] for labels in told if labels[0] == "convstore_conversations_by_status"}
    assert {status: number for status, number in counted.items() if number} == {
        "waiting_for_confirmation": 1,
        "finished": 1,
    }
    assert {*counted} == {*Status}
    assert told["convstore_conversations_waiting",] == 1


async def test_metrics_tell_the_free_room_of_both_disks(client: httpx.AsyncClient, root: Path) -> None:
    disk = os.statvfs(root)
    told = await read_metrics(client)
    for place in ("store", "index"):
        assert told["convstore_free_bytes", place] == pytest.approx(disk.f_bavail * disk.f_frsize, rel=0.1)
        assert not disk.f_files or told["convstore_free_inodes", place] > 0


async def test_cost_and_tokens_count_what_becomes_known_and_never_fall(root: Path) -> None:
    path = make_conversation(root, 1, state=spent(0.5))
    make_conversation(root, 2, state=spent(7, hours_ago=48))
    async with serving(Settings(store=root)) as client:
        assert await read_cost(client) == (0.5, 100, 20)
        (path / "base_state.json").write_text(json.dumps(make_state(make_id(1), **spent(0.75))))
        await client.get(f"/api/conversations/{make_id(1)}")
        assert await read_cost(client) == (0.75, 100, 20)
        await client.delete(f"/api/conversations/{make_id(1)}")
        assert await read_cost(client) == (0.75, 100, 20)


def spent(cost: float, *, hours_ago: int = 0) -> dict[str, Any]:
    """Return the state of a conversation with one model call."""
    tokens = {"model": "a/model", "prompt_tokens": 100, "completion_tokens": 20}
    call = {"model": "a/model", "cost": cost, "timestamp": time.time() - 3600 * hours_ago}
    usage = {
        "model_name": "a/model",
        "accumulated_cost": cost,
        "accumulated_token_usage": tokens,
        "costs": [call],
        "token_usages": [tokens],
    }
    return {"stats": {"usage_to_metrics": {"agent": usage}}}


async def read_cost(client: httpx.AsyncClient) -> tuple[float, ...]:
    """Return the cost, and the prompt and completion tokens of the only model."""
    told = await read_metrics(client)
    assert {labels[1] for labels in told if labels[0] == "convstore_cost_dollars_total"} == {"a/model"}
    kinds = [told["convstore_tokens_total", kind, "a/model"] for kind in ("prompt", "completion")]
    return (told["convstore_cost_dollars_total", "a/model"], *kinds)


async def test_metrics_count_refused_keys_and_conflicts_of_leases(root: Path) -> None:
    path = make_conversation(root)
    one = f"/api/conversations/{make_id(1)}"
    async with serving(Settings.model_validate({"store": root, "read_keys": "a-reading-key-0123"})) as client:
        lease.claim(root, path.name, "another", boot="", ttl_s=60)
        assert (await client.patch(one, json={"title": "x"})).status_code == 409
        deleted = await client.post("/api/conversations/bulk/delete", json={"ids": [make_id(1)]})
        assert deleted.json()["items"][0]["code"] == "conversation_owned"
        await client.get(one, headers={API_KEY: "wrong"})
        await client.patch(one, headers={API_KEY: "a-reading-key-0123"}, json={"title": "x"})
        told = await read_metrics(client)
    assert told["convstore_lease_conflicts_total",] == 2
    assert (told["convstore_refused_keys_total", "unknown"], told["convstore_refused_keys_total", "read_only"]) == (
        1,
        1,
    )


async def test_metrics_count_what_is_open_now(root: Path) -> None:
    make_conversation(root)
    async with listening(root) as host, http_client(host) as client:
        async with session(host) as connection, client.stream("GET", "/api/changes/stream") as stream:
            await frame(connection)
            assert stream.headers["cache-control"] == "no-cache, no-transform"
            told = await read_metrics(client)
            assert [told[f"convstore_{name}",] for name in OPEN] == [1, 1, 1]
        async with asyncio.timeout(60):
            while [(await read_metrics(client))[f"convstore_{name}",] for name in OPEN] != [1, 0, 0]:
                await asyncio.sleep(0.01)


async def test_sweeps_have_a_duration_and_failures_a_counter(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.follow.watcher.WALK_S", 0.01)
    monkeypatch.setattr("app.store.follow.background.TICK_S", 0.01)
    make_conversation(root)
    async with serving(Settings(store=root)) as client, asyncio.timeout(60):
        while not (await read_metrics(client))["convstore_sweep_seconds_count",]:
            await asyncio.sleep(0.01)
        with unreadable(root):
            while not (await read_metrics(client))["convstore_sweep_failures_total",]:
                await asyncio.sleep(0.01)


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
