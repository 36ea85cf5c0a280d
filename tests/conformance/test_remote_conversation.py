"""The real RemoteConversation of openhands-sdk 1.58 against a served corpus, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.test_serve import served, wait_until_in_step

_CLIENT = Path(__file__).with_name("remote_client.py")
_KEY = "a-key"


def _ask(url: str, ids: list[str]) -> dict[str, Any]:
    done = subprocess.run(
        [os.environ["OPENHANDS_PYTHON"], str(_CLIENT)],
        input=json.dumps({"url": url, "key": _KEY, "ids": ids}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.skipif("OPENHANDS_PYTHON" not in os.environ, reason="no Python with openhands-sdk was given")
def test_it_attaches_reads_sends_hears_renames_forks_and_creates(corpus: Path) -> None:
    with (
        served(corpus, CONVSTORE_API_KEY=_KEY) as server,
        httpx.Client(base_url=server.url, headers={"X-Session-API-Key": _KEY}) as client,
    ):
        wait_until_in_step(server.url, _KEY)
        listed = client.get("/api/conversations/search").json()["items"]
        readable = [info for info in listed if "unreadable" not in info]
        assert len(readable) > 20
        logs = {info["id"]: _served_ids(client, info["id"]) for info in readable}

        found = _ask(server.url, [info["id"] for info in readable])

        for info in readable:
            seen, log = found["attached"][info["id"]], logs[info["id"]]
            assert seen["status"] == info["execution_status"]
            assert seen["events"][: len(log)] == log  # after it comes the frame that the socket begins with
        first = readable[0]["id"]
        assert found["arrived_ms"] is not None
        assert found["title"] == client.get(f"/api/conversations/{first}").json()["title"]
        assert found["title"] == "renamed by the real client"
        assert found["fork"]["events"][: len(logs[first])] == logs[first]
        assert len(_served_ids(client, first)) == len(logs[first]) + 1
        created = client.get(f"/api/conversations/{found['created']}").json()
        assert created["tags"] == {"made": "here"}
        assert "the first word" in found["said"]
        assert "sk-not-to-be-seen" not in json.dumps(created)


def _served_ids(client: httpx.Client, conversation_id: str) -> list[str]:
    """Return the ids of all events, in order."""
    ids: list[str] = []
    page_id: str | None = ""
    while page_id is not None:
        asked = {"page_id": page_id} if page_id else {}
        page = client.get(f"/api/conversations/{conversation_id}/events/search", params=asked).json()
        ids += [event["id"] for event in page["items"]]
        page_id = page["next_page_id"]
    return ids
