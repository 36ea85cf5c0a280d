"""What needs an agent, its machine or its settings: empty, 404, or 501 with a sentence of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from app import Settings
from app.api.routes import agents
from tests.api.clients import KEY, listening
from tests.builders import make_conversation, make_id
from tests.conftest import serving

ONE, NONE = make_id(1), make_id(9)


@pytest.fixture
async def client(root: Path) -> AsyncIterator[httpx.AsyncClient]:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        yield client


def fill(path: str, conversation: str = ONE) -> str:
    """Return a path with a value for each of its parameters."""
    for name, value in (("{conversation_id}", conversation), ("{name:path}", "a/b")):
        path = path.replace(name, value)
    return path.replace("{name}", "a").replace("{sha}", "abc").replace("{command_id}", "a")


async def test_what_needs_an_agent_is_501_with_a_sentence_of_its_own(client: httpx.AsyncClient) -> None:
    said = {}
    for name, what in agents._ON_CONVERSATIONS.items():
        answer = await client.post(f"/api/conversations/{ONE}/{name}", json={})
        assert (answer.status_code, answer.json()["code"]) == (501, "needs_agent")
        said[name] = answer.json()["detail"]
        assert f"so it cannot {what}" in said[name]
    assert len(set(said.values())) == len(said) - 1  # the model is switched by two routes
    for request, what in agents._ACTIONS.items():
        method, path = request.split()
        answer = await client.request(method, fill(path), json={})
        assert (answer.status_code, answer.json()["code"]) == (501, "needs_agent"), request
        assert what in answer.json()["detail"]


async def test_reads_are_200_with_an_empty_value(client: httpx.AsyncClient) -> None:
    for request, value in agents._EMPTY.items():
        method, path = request.split()
        answer = await client.request(method, path, json={} if method == "POST" else None)
        assert (answer.status_code, answer.json()) == (200, value), request
    for path, value in agents._OF_THE_MACHINE.items():
        for prefix in ("/api", f"/api/conversations/{ONE}"):
            answer = await client.get(f"{prefix}/{fill(path)}")
            assert (answer.status_code, answer.json()) == (200, value), path
    assert (await client.post("/api/auth/workspace-session")).status_code == 204


async def test_one_thing_by_its_name_is_404(client: httpx.AsyncClient) -> None:
    for path in agents._NAMED:
        answer = await client.get(fill(path))
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
        assert answer.json()["detail"].startswith("there is no ")


async def test_on_a_conversation_that_does_not_exist_all_is_404(client: httpx.AsyncClient) -> None:
    paths = [f"POST {fill(agents._OF_CONVERSATIONS, NONE)}/{name}" for name in agents._ON_CONVERSATIONS]
    paths += [f"GET /api/conversations/{NONE}/{fill(path)}" for path in agents._OF_THE_MACHINE]
    for request in agents._ON_THE_MACHINE:
        method, path = request.split()
        paths.append(f"{method} /api/conversations/{NONE}/{fill(path)}")
    paths.append(f"POST /api/conversations/{NONE}/runtime/reprovision")
    for request in paths:
        method, path = request.split()
        answer = await client.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "conversation_not_found"), request
    message = {"content": [{"type": "text", "text": "a"}], "run": True}
    answer = await client.post(f"/api/conversations/{NONE}/events", json=message)
    assert answer.status_code == 404
    assert (await client.post(f"/api/conversations/{ONE}/events", json=message)).status_code == 501
    assert (await client.post("/api/conversations/no-id/run")).status_code == 422


async def test_these_need_the_key(client: httpx.AsyncClient) -> None:
    for request in ("GET /api/settings", "POST /api/skills", f"POST /api/conversations/{ONE}/run", "GET /v1/models"):
        method, path = request.split()
        answer = await client.request(method, path, headers={"X-Session-API-Key": "wrong"})
        assert answer.status_code == 401


async def test_the_socket_of_commands_stays_open_and_refuses_commands(root: Path) -> None:
    async with listening(root) as host, connect(f"ws://{host}/sockets/bash-events") as socket:
        await socket.send(json.dumps({"type": "auth", "session_api_key": KEY}))
        for _ in range(2):
            await socket.send(json.dumps({"command": "ls"}))
            error = json.loads(await socket.recv())
            assert (error["kind"], error["code"]) == ("BashError", "NeedsAgent")
            assert "cannot run a command" in error["detail"]


async def test_the_runtime_is_available_and_in_every_info(client: httpx.AsyncClient) -> None:
    wanted = {"runtime_status": "available", "can_resume": True, "runtime_error": None}
    path = f"/api/conversations/{ONE}"
    assert (await client.get(f"{path}/runtime")).json() == wanted
    assert (await client.post(f"{path}/runtime/reprovision")).json() == wanted
    assert (await client.get(path)).json()["runtime_info"] == wanted
    listed = (await client.get("/api/conversations/search")).json()["items"]
    assert [item["runtime_info"] for item in listed] == [wanted]
    assert (await client.get(f"/api/conversations/{NONE}/runtime")).status_code == 404
