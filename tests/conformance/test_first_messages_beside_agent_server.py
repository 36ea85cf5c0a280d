"""With the docs' nginx before a real agent-server and convstore: what a user just did is at the top of the list."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from tests.cli.test_serve import served, wait_until_in_step
from tests.conformance.agent_server import KEY, agent_server, needs_agent_server
from tests.conformance.test_beside_agent_server import create, message
from tests.deploy.test_nginx import HOST, nginx

NUMBER = 20
WITHIN_S = 2.0
IDLE = "2020-01-01T00:00:00Z"
LIST = "/api/conversations/search?limit=20&sort_order=UPDATED_AT_DESC"


def make_idle(store: Path) -> None:
    """Make all conversations look as if nobody had used them for years."""
    for path in store.glob("*/meta.json"):
        text = path.read_text()
        times = [text.split(f'"{name}":"')[1].split('"')[0] for name in ("created_at", "updated_at")]
        for one in times:
            text = text.replace(one, IDLE)
        path.write_text(text)
    for path in store.glob("*/events/event-*.json"):
        path.unlink()


@needs_agent_server
@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("ttl_s", ["45", "0"])
def test_the_conversation_of_a_first_message_is_listed_first(tmp_path: Path, ttl_s: str) -> None:
    store = tmp_path / "conversations"
    with agent_server(store) as server:
        ids = [create(server, tmp_path / "work") for _ in range(NUMBER)]
        server.process.terminate()
        server.process.wait(60)
    make_idle(store)
    took = []
    with (
        agent_server(store, OH_LEASE_TTL_SECONDS=ttl_s) as server,
        served(store, CONVSTORE_API_KEY="the-key", CONVSTORE_ALLOWED_HOSTS=HOST) as convstore,
        nginx(tmp_path, int(convstore.url.rsplit(":", 1)[1]), server.client.base_url.port or 0) as url,
        httpx.Client(base_url=url, headers=KEY | {"Host": HOST}, timeout=60) as client,
    ):
        wait_until_in_step(convstore.url, "the-key")
        time.sleep(5)  # what changed within the last seconds is looked at all the time
        for one in ids:
            sent = client.post(f"/api/conversations/{one}/events", json=message(f"for {one}"))
            assert sent.status_code == 200
            began = time.monotonic()
            while client.get(LIST).json()["items"][0]["id"] != one:
                assert time.monotonic() < began + 60
                time.sleep(0.05)
            took.append(time.monotonic() - began)
    assert max(took) < WITHIN_S, took
