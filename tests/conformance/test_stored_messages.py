"""A message is stored as agent-server 1.58.2 stores it, by each of the four ways in which it can enter.

Only a user's messages are compared: agent-server answers 500 to the other roles, which convstore stores.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.cli.test_serve import served, wait_until_in_step
from tests.conformance.agent_server import KEY, agent_server, needs_agent_server

pytestmark = [pytest.mark.long, pytest.mark.timeout(300), needs_agent_server]

SECRET = KEY["X-Session-API-Key"]
TEXT = {"type": "text", "text": "hello é \u2028 \U0001f600"}
IMAGE = {"type": "image", "image_urls": ["data:image/png;base64,AAAA"]}


def user(*content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content), **fields}


MESSAGES: dict[str, dict[str, Any]] = {
    "a text": user(TEXT),
    "no content": user(),
    "no role": {"content": [TEXT]},
    "one text as content": {"role": "user", "content": "plain"},
    "null as content": {"role": "user", "content": None},
    "kinds left out": user({"text": "a"}, {"image_urls": ["b"]}),
    "cache_prompt": user(TEXT | {"cache_prompt": True}, IMAGE | {"cache_prompt": "yes"}),
    "cache_prompt that is no boolean": user(TEXT | {"cache_prompt": "maybe"}),
    "a null cache_prompt": user(TEXT | {"cache_prompt": None}),
    "a retired field": user(TEXT | {"enable_truncation": False}),
    "an unknown field of a text": user(TEXT | {"unknown": 1}),
    "unknown fields elsewhere": user(IMAGE | {"unknown": 1}, unknown=1, sender="me", type="auth"),
    "a number as text": user({"type": "text", "text": 5}),
    "another kind of content": user({"type": "video", "text": "a"}),
    "null in the content": user(None),
    "one address as addresses": user({"type": "image", "image_urls": "a"}),
    "fields of an agent's message": user(
        TEXT,
        name="a tool",
        tool_call_id="c",
        reasoning_content="because",
        thinking_blocks=[{"thinking": "hm", "unknown": 1}, {"type": "redacted_thinking", "data": "x"}],
        tool_calls=[{"id": "c", "name": "a tool", "arguments": "{}", "origin": "completion"}],
        responses_reasoning_item={"summary": ["s"]},
    ),
    "a field of a wrong type": user(TEXT, name=5),
}
WAYS = ("request", "create", "events", "session")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """What convstore and agent-server store of each message, by each way."""
    directory = tmp_path_factory.mktemp("messages")
    ours, theirs = directory / "ours" / "conversations", directory / "theirs" / "conversations"
    ours.mkdir(parents=True)
    theirs.mkdir(parents=True)
    with served(ours, CONVSTORE_API_KEY=SECRET) as server, agent_server(theirs) as other:
        wait_until_in_step(server.url, SECRET)
        yield store_all(ours, server.url), store_all(theirs, str(other.client.base_url))


def store_all(store: Path, url: str) -> dict[str, Any]:
    with httpx.Client(base_url=url, headers=KEY, timeout=60) as client:
        return {
            f"{name}, by {way}": store_one(client, store, way, message)
            for name, message in MESSAGES.items()
            for way in WAYS
        }


def store_one(client: httpx.Client, store: Path, way: str, message: dict[str, Any]) -> Any:
    """Return the event and the first message of meta.json as they are stored, or how the message was refused."""
    first = {"initial_message": message} if way == "create" else {}
    made = client.post("/api/conversations", json=new_conversation(store) | first)
    if made.status_code != 201:
        return made.status_code, [one["loc"] for one in made.json()["detail"]]
    directory = store / made.json()["id"].replace("-", "")
    if way == "request":
        sent = client.post(f"/api/conversations/{directory.name}/events", json=message)
        if sent.status_code != 200:
            return sent.status_code, [one["loc"] for one in sent.json()["detail"]]
    elif way != "create" and (refused := asyncio.run(send(client, f"{way}/{directory.name}", message))):
        return refused
    logged = [path.read_text() for path in (directory / "events").glob("event-*")]
    meta = json.loads((directory / "meta.json").read_bytes())
    return [json.dumps(only_lasting(one)) for one in map(json.loads, logged) if one["kind"] == "MessageEvent"], meta[
        "initial_message"
    ]


def new_conversation(store: Path) -> dict[str, Any]:
    return {
        "agent": {"kind": "Agent", "llm": {"model": "openai/none", "num_retries": 0}, "tools": []},
        "workspace": {"kind": "LocalWorkspace", "working_dir": str(store.parent / "work")},
        "autotitle": False,
    }


def only_lasting(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event without the fields that each event has of its own."""
    return {name: value for name, value in event.items() if name not in ("id", "timestamp", "parent_id")}


async def send(client: httpx.Client, path: str, message: dict[str, Any]) -> str | None:
    """Send a message over a socket, and return the kind of error that comes back, or None when its event does."""
    host = str(client.base_url).removeprefix("http://").rstrip("/")
    async with connect(f"ws://{host}/sockets/{path}?session_api_key={SECRET}") as socket, asyncio.timeout(60):
        await socket.send(json.dumps(message))
        while True:
            frame = json.loads(await socket.recv())
            event = frame.get("event", frame)
            if event.get("kind") == "MessageEvent":
                return None
            if event.get("kind") == "ServerErrorEvent" or frame.get("type") == "error":
                return str(event["code"])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MESSAGES)
def test_it_is_stored_as_there(stored: tuple[dict[str, Any], dict[str, Any]], name: str, way: str) -> None:
    ours, theirs = (server[f"{name}, by {way}"] for server in stored)
    assert ours == theirs
