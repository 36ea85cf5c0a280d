"""convstore beside a real agent-server 1.58 that is running conversations in the same directory right now."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson

from app.model.ids import parse_conversation_id
from app.model.validation import make_message
from tests.builders import make_conversation
from tests.cli.test_serve import served, wait_until_in_step
from tests.conformance.agent_server import KEY, AgentServer, agent_server, needs_agent_server
from tests.conftest import StoreOpener

TTL_S = 14
DELAY_S = 2.0
EACH_S = 0.2
EVENTS = 25


def message(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def create(server: AgentServer, work: Path) -> str:
    llm = {"model": "openai/none", "api_key": "sk-planted-secret", "usage_id": "agent"}
    asked = {
        "agent": {"kind": "Agent", "llm": llm, "tools": []},
        "workspace": {"kind": "LocalWorkspace", "working_dir": str(work)},
        "autotitle": False,  # it would ask the model, which nobody reaches
    }
    made = server.client.post("/api/conversations", json=asked)
    assert made.status_code == 201
    return str(made.json()["id"])


@contextmanager
def appending(server: AgentServer, conversation_id: str) -> Iterator[dict[int, float]]:
    """Have agent-server append several events a second, and give when each was acknowledged."""
    acknowledged: dict[int, float] = {}

    def append() -> None:
        for number in range(EVENTS):
            answer = server.client.post(f"/api/conversations/{conversation_id}/events", json=message(f"word{number}"))
            assert answer.status_code == 200
            acknowledged[number] = time.monotonic()
            time.sleep(EACH_S)

    writer = threading.Thread(target=append)
    writer.start()
    try:
        yield acknowledged
    finally:
        writer.join()


def until(condition: Callable[[], Any], within_s: float) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@needs_agent_server
def test_what_it_runs_is_listed_with_its_owner_and_searched_and_no_other_may_write(tmp_path: Path) -> None:
    store = tmp_path / "conversations"
    make_conversation(store, 1)
    with (
        agent_server(store, OH_LEASE_TTL_SECONDS=str(TTL_S)) as server,
        served(store, CONVSTORE_API_KEY="the-key") as convstore,
        httpx.Client(base_url=convstore.url, headers=KEY, timeout=60) as client,
    ):
        wait_until_in_step(convstore.url, "the-key")
        one = create(server, tmp_path / "work")
        path = f"/api/conversations/{one}"

        def listed() -> dict[str, Any] | None:
            items = client.get("/api/conversations/search?sort_order=UPDATED_AT_DESC").json()["items"]
            return next((item for item in items if item["id"] == one), None)

        owned = until(lambda: (found := listed()) and found["owner"] and found, DELAY_S)
        with appending(server, one) as acknowledged:
            _follow(client, one, acknowledged)
            refused = client.post(f"{path}/events", json=message("from convstore"))
            assert (refused.status_code, refused.json()["code"]) == (409, "conversation_owned")
            assert owned["owner"] in refused.json()["detail"]
            assert client.patch(path, json={"title": "No"}).status_code == 409
        newest = until(lambda: (found := listed()) and found["event_count"] > EVENTS and found, DELAY_S)
        assert newest["updated_at"] > owned["updated_at"]
        server.process.kill()
        until(lambda: (found := listed()) and found["owner"] is None, TTL_S + DELAY_S)
        assert client.post(f"{path}/events", json=message("free again")).status_code == 200


@needs_agent_server
async def test_it_answers_with_the_time_that_closing_saved(tmp_path: Path, open_store: StoreOpener) -> None:
    store = tmp_path / "conversations"
    store.mkdir()
    with agent_server(store) as server:
        one = create(server, tmp_path / "work")
        server.process.terminate()
        server.process.wait(60)
    meta = store / parse_conversation_id(one) / "meta.json"
    before = json.loads(meta.read_bytes())
    async with open_store(store) as convstore:
        async with convstore.writer(parse_conversation_id(one)) as conversation:
            await conversation.append(make_message("user", message("from convstore")["content"]))
        shown = orjson.loads(await convstore.get_conversation(conversation.id))["updated_at"]
    after = json.loads(meta.read_bytes())
    assert {name for name in before if after[name] != before[name]} == {"updated_at"}
    with agent_server(store) as server:
        assert server.client.get(f"/api/conversations/{one}").json()["updated_at"] == shown > before["updated_at"]


def _follow(client: httpx.Client, conversation_id: str, acknowledged: dict[int, float]) -> None:
    """Each event is in the page of events, and found by its word, at most `DELAY_S` after it was acknowledged."""
    for number in range(0, EVENTS, 5):
        word = f"word{number}"

        def is_served(word: str = word) -> bool:
            asked = {"limit": "5", "sort_order": "TIMESTAMP_DESC"}
            return word in client.get(f"/api/conversations/{conversation_id}/events/search", params=asked).text

        def is_found(word: str = word) -> bool:
            answer = client.get("/api/messages/search", params={"q": word})
            return conversation_id in answer.text

        while number not in acknowledged:
            time.sleep(0.02)
        left_s = DELAY_S - (time.monotonic() - acknowledged[number])
        until(is_served, left_s)
        until(is_found, DELAY_S - (time.monotonic() - acknowledged[number]))
