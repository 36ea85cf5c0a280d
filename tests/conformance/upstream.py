"""The servers that the modules `test_upstream_*` ask: convstore, and the real agent-server where there is one.

These modules hold what upstream's own tests assert (tests/agent_server of OpenHands/software-agent-sdk), as requests
over HTTP. docs/compatibility.md says which of upstream's tests have no counterpart here, and why.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from tests.builders import make_event
from tests.cli.test_serve import served, wait_until_in_step
from tests.conformance.agent_server import KEY, agent_server

SECRET = KEY["X-Session-API-Key"]
MISSING = "00000000-0000-4000-8000-000000000000"
NO_EVENT = "00000000-0000-4000-8000-00000000ffff"
AGENT = {"kind": "Agent", "llm": {"model": "openai/none", "usage_id": "agent", "num_retries": 0}, "tools": []}


class Upstream(NamedTuple):
    """A running server with a client that holds its key, its conversations directory, and a workspace."""

    client: httpx.Client
    store: Path
    work: Path

    def new(self, **fields: Any) -> dict[str, Any]:
        """Return a request to create a conversation."""
        place = {"kind": "LocalWorkspace", "working_dir": str(self.work)}
        return {"agent": AGENT, "workspace": place, "autotitle": False, **fields}

    def create(self, *texts: str, **fields: Any) -> str:
        """Create a conversation with messages, and return its path."""
        made = self.client.post("/api/conversations", json=self.new(**fields))
        assert made.status_code == 201, made.text
        path = f"/api/conversations/{made.json()['id']}"
        for text in texts:
            self.send(path, text)
        return path

    def send(self, path: str, text: str) -> None:
        said = {"role": "user", "content": [{"type": "text", "text": text}]}
        assert self.client.post(f"{path}/events", json=said).json() == {"success": True}

    def get(self, path: str) -> Any:
        """Return the body of a successful answer."""
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def messages(self, path: str) -> list[dict[str, Any]]:
        """Return a conversation's messages in the order of its log."""
        return list(self.get(f"{path}/events/search?kind=MessageEvent")["items"])

    def files(self, path: str) -> Path:
        return self.store / path.rpartition("/")[2].replace("-", "")


@contextmanager
def upstream(kind: str, directory: Path, fill: Callable[[Path, Path], None] | None = None) -> Iterator[Upstream]:
    """Run a server on a conversations directory, which `fill` may write into first."""
    store, work = directory / "conversations", directory / "work"
    store.mkdir(exist_ok=True)
    work.mkdir(exist_ok=True)
    if fill is not None:
        fill(store, work)
    if kind == "agent-server":
        with agent_server(store) as server:
            yield Upstream(server.client, store, work)
        return
    with (
        served(store, CONVSTORE_API_KEY=SECRET) as server_of_ours,
        httpx.Client(base_url=server_of_ours.url, headers=KEY, timeout=60) as client,
    ):
        wait_until_in_step(server_of_ours.url, SECRET)
        yield Upstream(client, store, work)


def agent_text(number: int, text: str, **fields: Any) -> dict[str, Any]:
    """Return an event with a message of the agent."""
    message = {"role": "assistant", "content": [{"type": "text", "text": text}], "thinking_blocks": []}
    return make_event(number, source="agent", llm_message=message, **fields)


def finish(number: int, text: str) -> dict[str, Any]:
    """Return an event in which the agent finishes with a text."""
    call = {
        "id": f"call-{number}",
        "name": "finish",
        "arguments": json.dumps({"message": text}),
        "origin": "completion",
    }
    event = make_event(
        number,
        source="agent",
        kind="ActionEvent",
        thought=[],
        thinking_blocks=[],
        action={"kind": "FinishAction", "message": text},
        tool_name="finish",
        tool_call_id=call["id"],
        tool_call=call,
        llm_response_id="a-response",
    )
    del event["llm_message"]
    return event


def ids(page: dict[str, Any]) -> list[str]:
    return [item["id"] for item in page["items"]]
