"""Leases of clients: what was given back is nobody's, whichever worker is asked, and nobody uses a server's own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import Settings
from tests.builders import make_conversation, make_event, make_id
from tests.conftest import serving

ONE = f"/api/conversations/{make_id(1)}"
LEASE = f"{ONE}/lease"
MINE: dict[str, Any] = {"owner": "me", "generation": 1}


@asynccontextmanager
async def workers(root: Path, name: str = "one-server") -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Serve one store twice, as two workers of one server do."""
    settings = Settings(store=root, instance=name, workers=2)
    async with serving(settings) as one, serving(settings) as other:
        yield one, other


async def batch(client: httpx.AsyncClient, number: int, **held: Any) -> tuple[int, str]:
    answer = await client.post(f"{ONE}/events/batch", json=held | {"events": [make_event(number)]})
    return answer.status_code, answer.json().get("code", "")


async def test_a_client_claims_what_another_worker_has_open_and_idle(root: Path) -> None:
    make_conversation(root)
    async with workers(root) as (one, other):
        assert await batch(one, 5) == (201, "")
        claimed = await other.post(LEASE, json={"owner": "me"})
        assert (claimed.status_code, claimed.json()["generation"]) == (200, 2)
        assert (await batch(one, 6))[0] == 409
        assert await batch(one, 7, **MINE | {"generation": 2}) == (201, "")
        assert (await other.get(ONE)).json()["event_count"] == 4


async def test_nothing_is_written_under_a_lease_that_was_given_back_to_another_worker(root: Path) -> None:
    make_conversation(root)
    async with workers(root) as (one, other):
        await one.post(LEASE, json={"owner": "me"})
        for worker in (one, other):
            assert await batch(worker, 5 + (worker is one), **MINE) == (201, "")
        assert (await one.delete(LEASE, params=MINE)).status_code == 200
        assert await batch(other, 7, **MINE) == (409, "ownership_lost")
        assert (await one.post(LEASE, json={"owner": "me"})).json()["generation"] == 2
        assert await batch(other, 8, **MINE) == (409, "ownership_lost")
        assert await batch(other, 9, **MINE | {"generation": 2}) == (201, "")


async def test_a_lease_that_was_given_back_is_claimed_anew_and_not_renewed(root: Path) -> None:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        await client.post(LEASE, json={"owner": "me"})
        assert (await client.put(LEASE, json=MINE)).status_code == 200
        for _ in range(2):
            assert (await client.delete(LEASE, params=MINE)).status_code == 200
        refused = await client.put(LEASE, json=MINE)
        assert (refused.status_code, refused.json()["code"]) == (409, "ownership_lost")
        assert (await client.post(LEASE, json={"owner": "me"})).json()["generation"] == 2


@pytest.mark.parametrize("name", [None, "a-name-of-its-own"])
async def test_a_servers_own_lease_is_no_clients(root: Path, name: str | None) -> None:
    path = make_conversation(root)
    async with serving(Settings(store=root, instance=name)) as client:
        assert await batch(client, 5) == (201, "")
        stands = json.loads((path / "owner_lease.json").read_text())
        held: dict[str, Any] = {"owner": stands["owner_instance_id"], "generation": stands["generation"]}
        refused = 422 if name is None else 409
        assert (await client.put(LEASE, json=held)).status_code == refused
        assert (await batch(client, 6, **held))[0] == refused
        assert (await client.delete(LEASE, params=held)).status_code == (422 if name is None else 200)
        assert json.loads((path / "owner_lease.json").read_text()) == stands


@pytest.mark.parametrize("owner", ["convstore-0123456789abcdef", "a b", ""])
async def test_a_name_that_is_no_clients_is_refused_everywhere(root: Path, owner: str) -> None:
    make_conversation(root)
    held: dict[str, Any] = {"owner": owner, "generation": 1}
    async with serving(Settings(store=root)) as client:
        assert (await client.post(LEASE, json={"owner": owner})).status_code == 422
        assert (await client.put(LEASE, json=held)).status_code == 422
        assert (await client.delete(LEASE, params=held)).status_code == 422
        assert (await batch(client, 5, **held))[0] == 422


async def test_who_owns_a_conversation_is_shown_when_the_claim_is_answered(root: Path) -> None:
    make_conversation(root)

    async def shown(client: httpx.AsyncClient) -> tuple[str | None, int]:
        owned = (await client.get("/api/conversations/count?owned=true")).json()
        return (await client.get(ONE)).json()["owner"], owned

    async with serving(Settings(store=root)) as client:
        assert await shown(client) == (None, 0)
        await client.post(LEASE, json={"owner": "me"})
        assert await shown(client) == ("me", 1)
        await client.post(LEASE, json={"owner": "you", "force": True})
        assert await shown(client) == ("you", 1)
        await client.delete(LEASE, params=MINE)
        assert await shown(client) == ("you", 1)
        await client.delete(LEASE, params={"owner": "you", "generation": 2})
        assert await shown(client) == (None, 0)


async def test_what_another_owner_has_is_listed_and_refused(root: Path) -> None:
    path = make_conversation(root)
    async with serving(Settings(store=root)) as client:
        claimed = (await client.post(f"{ONE}/lease", json={"owner": "other", "ttl_s": 100})).json()
        assert (claimed["owner"], claimed["generation"]) == ("other", 1)
        refused: list[tuple[str, str, Any]] = [
            ("PATCH", ONE, {"title": "x"}),
            ("POST", f"{ONE}/events", {"content": []}),
            ("POST", f"{ONE}/navigate", {}),
            ("POST", f"{ONE}/lease", {"owner": "third"}),
            ("DELETE", ONE, None),
        ]
        for method, url, body in refused:
            answer = await client.request(method, url, json=body)
            assert (answer.status_code, answer.json()["code"]) == (409, "conversation_owned"), url
        assert (await client.get(ONE)).status_code == 200
        held = {"owner": "other", "generation": 1}
        batch = await client.post(f"{ONE}/events/batch", json=held | {"events": [make_event(5), make_event(6)]})
        assert [item["seq"] for item in batch.json()["items"]] == [2, 3]
        assert (await client.put(f"{ONE}/lease", json=held)).status_code == 200
        taken = (await client.post(f"{ONE}/lease", json={"owner": "third", "force": True})).json()
        assert taken["generation"] == 2
        for method, url, body in (
            ("POST", f"{ONE}/events/batch", held | {"events": [make_event(7)]}),
            ("PUT", f"{ONE}/lease", held),
        ):
            answer = await client.request(method, url, json=body)
            assert (answer.status_code, answer.json()["code"]) == (409, "ownership_lost")
        assert (await client.delete(f"{ONE}/lease", params={"owner": "third", "generation": 2})).status_code == 200
        assert (await client.patch(ONE, json={"title": "x"})).status_code == 200
        unknown = held | {"events": [make_event(7)], "more": 1}
        assert (await client.post(f"{ONE}/events/batch", json=unknown)).status_code == 422
    assert len(list((path / "events").glob("event-*"))) == 4
