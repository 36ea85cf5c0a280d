"""Random edits by other programs while a server runs: none is missed after one full look. `make true` does 5,000."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.model.ids import ConversationId
from app.store.follow.watcher import Watcher
from tests.builders import make_conversation, make_id, make_meta, write_event
from tests.cli.test_serve import served, wait_until_in_step
from tests.conftest import StoreOpener
from tests.faults.edits import SOME, OtherPrograms, on_disk

pytestmark = pytest.mark.long

SEED = int(os.environ.get("CONVSTORE_TEST_SEED", "1"))
KEY = "a-key"
HEADERS = {"X-Session-API-Key": KEY}

_LISTED_S = 2.0
_TODAY = 10**6
_ROUNDS = 30
_LEAST_EDITS = 70
"""What is done today is looked for so many times, or after so many edits."""


def edits() -> int:
    """Return how many edits are made: some here, 5,000 with `make true`."""
    return int(os.environ.get("CONVSTORE_TEST_EDITS", "200"))


async def test_none_is_missed_after_one_full_sweep(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.files.fingerprint.time_ns", time.time_ns)
    others = OtherPrograms(root, SEED)
    for _ in range(SOME):
        others.create(root)

    def edit_all() -> None:
        for _ in range(edits()):
            others.edit()

    async with open_store(root) as store:
        looking = Watcher(store.context, since_ns=time.time_ns())
        editing = asyncio.create_task(asyncio.to_thread(edit_all))
        while not editing.done():
            await looking.tick()
            await looking.walk_all(full=False)
        await editing
        await looking.walk_all()
        there = on_disk(root)
        assert (await store.get_status())[1].conversations == len(there)
        found = await store.find_conversations([ConversationId(name) for name in sorted(there)])
        assert None not in found
        assert await store.verify() == []
    assert set(others.done) == {edit.__name__ for edit in OtherPrograms.EDITS}


def test_a_server_process_misses_none_and_lists_those_of_today_within_two_seconds(root: Path) -> None:
    others = OtherPrograms(root, SEED + 1)
    for _ in range(SOME):
        others.create(root)
    with served(root, CONVSTORE_API_KEY=KEY) as server, httpx.Client(base_url=server.url, headers=HEADERS) as client:
        wait_until_in_step(server.url, KEY)
        waited_s: list[float] = []
        for number in range(edits()):
            others.edit()
            if number % max(edits() // _ROUNDS, _LEAST_EDITS) == 0:
                waited_s += act_today(client, root, _TODAY + number)
        found = client.post("/api/index/sync", timeout=60)
        assert found.status_code == 200, found.text
        assert sorted(row["id"].replace("-", "") for row in listed(client)) == sorted(on_disk(root))
        verifying = [sys.executable, "-m", "app.cli.main", "index", "verify", "--store", str(root)]
        verified = subprocess.run(verifying, capture_output=True, text=True, check=False)
        assert verified.returncode == 0, verified.stdout
    assert set(others.done) == {edit.__name__ for edit in OtherPrograms.EDITS}
    assert max(waited_s) <= _LISTED_S
    print(f"{edits()} edits; {len(waited_s)} of today were listed after {max(waited_s):.2f} s at most")


def listed(client: httpx.Client) -> list[dict[str, Any]]:
    """Return all that is listed, page by page."""
    rows: list[dict[str, Any]] = []
    page: dict[str, str] = {}
    while True:
        answer = client.get("/api/conversations/search", params={"limit": "100", **page}).json()
        rows += answer["items"]
        if answer["next_page_id"] is None:
            return rows
        page = {"page_id": answer["next_page_id"]}


def act_today(client: httpx.Client, root: Path, number: int) -> list[float]:
    """Create a conversation, append to it, retitle it and move it away; return how long each took to be listed."""

    def waited_s(expected: Callable[[dict[str, Any] | None], bool]) -> float:
        began = time.monotonic()
        while not expected({row["id"].replace("-", ""): row for row in listed(client)}.get(make_id(number))):
            assert time.monotonic() < began + 30, "never listed"
            time.sleep(0.02)
        return time.monotonic() - began

    now = datetime.now(UTC).isoformat()
    directory = make_conversation(root.parent, number, meta={"created_at": now, "updated_at": now}, events=1)
    directory.rename(root / directory.name)
    times = [waited_s(lambda row: row is not None)]
    directory = root / directory.name
    write_event(directory, 1)
    times.append(waited_s(lambda row: row is not None and row["event_count"] == 2))
    (directory / "meta.json").write_text(json.dumps(make_meta(directory.name, title="other", updated_at=now)))
    times.append(waited_s(lambda row: row is not None and row["title"] == "other"))
    directory.rename(root.parent / f"gone-{number}")
    times.append(waited_s(lambda row: row is None))
    return times
