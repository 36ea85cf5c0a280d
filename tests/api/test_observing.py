"""Request ids, what is counted for Prometheus, and readiness."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app import Settings
from app.api.headers import API_KEY, REQUEST_ID
from app.store.store import ConversationStore
from tests.builders import make_conversation, make_id
from tests.conftest import serving

SEARCH = "/api/conversations/search"
MADE = re.compile(r"[0-9a-f]{16}")


@pytest.fixture
async def client(root: Path) -> AsyncIterator[httpx.AsyncClient]:
    make_conversation(root)
    make_conversation(root, 2, state={"agent": None, "execution_status": 7})
    async with serving(Settings(store=root)) as client:
        yield client


def break_index(root: Path) -> None:
    """Overwrite the index with its log and the map of the log, so that the next look at it fails."""
    for suffix in ("", "-wal", "-shm"):
        with (root / ".convstore" / f"index.db{suffix}").open("r+b") as file:
            size = file.seek(0, 2)
            file.seek(0)
            file.write(b"\x55" * size)


async def metrics(client: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    """Return every sample by its name and the values of its labels."""
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("path", "status"),
    [(SEARCH, 200), (f"{SEARCH}?limit=0", 422), ("/nothing", 404), (f"/api/conversations/{make_id(1)}", 200)],
)
async def test_every_answer_has_an_id_of_its_own(client: httpx.AsyncClient, path: str, status: int) -> None:
    one, other = await client.get(path), await client.get(path)
    assert one.status_code == status
    assert MADE.fullmatch(one.headers[REQUEST_ID])
    assert one.headers[REQUEST_ID] != other.headers[REQUEST_ID]


async def test_a_refused_request_has_an_id_too(client: httpx.AsyncClient) -> None:
    for headers, status in (({API_KEY: "wrong"}, 401), ({"Host": "evil.example"}, 400)):
        answer = await client.get(SEARCH, headers=headers)
        assert (answer.status_code, bool(MADE.fullmatch(answer.headers[REQUEST_ID]))) == (status, True)


@pytest.mark.parametrize("given", ["a", "A-1_b.c", "x" * 64])
async def test_the_id_that_a_request_brings_is_kept(client: httpx.AsyncClient, given: str) -> None:
    assert (await client.get(SEARCH, headers={REQUEST_ID: given})).headers[REQUEST_ID] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\x1b[31m", "é", 'a"', "a/b", "{x}"])
async def test_an_id_that_could_harm_a_log_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get(SEARCH, headers=[(REQUEST_ID.encode(), given.encode())])
    assert MADE.fullmatch(answer.headers[REQUEST_ID])


async def test_an_unexpected_error_is_answered_and_logged_under_its_id(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(ConversationStore, "get_status", fail)
    answer = await client.get("/api/index/status", headers={REQUEST_ID: "mine"})
    assert (answer.status_code, answer.json()["code"], answer.headers[REQUEST_ID]) == (500, "internal_error", "mine")
    assert "GET /api/index/status failed" in caplog.text
    monkeypatch.undo()
    assert (await metrics(client))["convstore_requests_total", "GET", "/api/index/status", "500"] == 1


async def test_requests_are_counted_by_the_pattern_of_their_path(client: httpx.AsyncClient) -> None:
    for path in (SEARCH, SEARCH, f"{SEARCH}?limit=0", f"/api/conversations/{make_id(1)}", "/a", f"/b/{make_id(1)}"):
        await client.get(path)
    await client.request("FROB", "/a")
    counted = await metrics(client)
    of_requests = {
        labels: value
        for (name, *labels_), value in counted.items()
        if name == "convstore_requests_total" and (labels := tuple(labels_))[1] != "/api/index/status"
    }
    assert of_requests == {
        ("GET", SEARCH, "200"): 2,
        ("GET", SEARCH, "422"): 1,
        ("GET", "/api/conversations/{conversation_id}", "200"): 1,
        ("GET", "other", "404"): 2,
        ("other", "other", "404"): 1,
    }
    assert counted["convstore_request_seconds_count", SEARCH] == 3
    assert not any(make_id(1) in label for labels in counted for label in labels)


async def test_metrics_tell_how_the_index_is(client: httpx.AsyncClient, root: Path) -> None:
    told = await metrics(client)
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
    told = await metrics(client)
    assert told["convstore_index_up",] == 0
    assert ("convstore_conversations",) not in told


async def test_metrics_need_the_key_unless_a_setting_opens_them(root: Path) -> None:
    for opened, status in ((False, 401), (True, 200)):
        async with serving(Settings(store=root, open_metrics=opened)) as client:
            del client.headers[API_KEY]
            assert (await client.get("/metrics")).status_code == status
            assert (await client.get(SEARCH)).status_code == 401


async def test_a_server_is_ready(client: httpx.AsyncClient) -> None:
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


async def test_it_is_not_ready_without_its_directory(client: httpx.AsyncClient, root: Path) -> None:
    root.rename(root.with_name("elsewhere"))
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert answer.headers["Retry-After"] == "1"
    root.with_name("elsewhere").rename(root)
    assert (await client.get("/ready")).status_code == 200


async def test_it_is_not_ready_when_the_index_was_deleted(client: httpx.AsyncClient, root: Path) -> None:
    (root / ".convstore" / "index.db").unlink()
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, "index_unusable")
    assert (await client.get("/health")).status_code == 200


async def test_it_is_not_ready_when_the_index_does_not_answer(client: httpx.AsyncClient, root: Path) -> None:
    break_index(root)
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, "index_damaged")


async def test_requests_are_logged_at_debug_and_failures_always(
    client: httpx.AsyncClient, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "app.api.middleware")
    await client.get(f"{SEARCH}?q=private")
    caplog.set_level(logging.INFO, "app.api.middleware")
    await client.get(SEARCH)
    await client.post(f"/api/conversations/{make_id(1)}/run")
    (root / ".convstore" / "index.db").unlink()
    await client.get("/ready")
    said = [(record.levelname, record.getMessage().rsplit(" in ")[0]) for record in caplog.records]
    assert [line for line in said if "/" in line[1]] == [("DEBUG", f"GET {SEARCH} 200"), ("WARNING", "GET /ready 503")]
