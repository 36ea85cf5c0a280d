"""The real TypeScript client against a served copy of the sample."""

from __future__ import annotations

import asyncio
import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from app import ConversationStore, Settings
from app.model.ids import ConversationId
from app.model.validation import make_message
from tests.cli.test_serve import served, wait_until_in_step
from tests.clients.typescript_client import ANOTHER, MISSING, SENT, run_client

pytestmark = pytest.mark.long

KEY = "a-key"
ONE = "45685019-b9b6-446b-bd2d-1e96d93e73eb"


def flat(pages: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return list(chain.from_iterable(pages))


def append(store: Path, text: str) -> None:
    """Append a message in this process, which is not the server's."""

    async def work() -> None:
        async with (
            ConversationStore.open(Settings(store=store)) as opened,
            opened.writer(ConversationId(ONE.replace("-", ""))) as conversation,
        ):
            await conversation.append(make_message("user", [{"type": "text", "text": text}]))

    asyncio.run(work())


def text_of(event: dict[str, Any]) -> str:
    return str(event["llm_message"]["content"][0]["text"])


def test_it_lists_reads_hears_sends_renames_and_deletes(corpus: Path) -> None:
    directories = [path for path in corpus.iterdir() if not path.name.startswith(".")]
    states = {path.name: json.loads((path / "base_state.json").read_bytes()) for path in directories}
    finished = {name for name, state in states.items() if state["execution_status"] == "finished"}
    log = [json.loads(path.read_bytes()) for path in sorted((corpus / ONE.replace("-", "") / "events").glob("event-*"))]
    with served(corpus, CONVSTORE_API_KEY=KEY) as server:
        wait_until_in_step(server.url, KEY)
        found = run_client(server.url, KEY, ONE, lambda: append(corpus, ANOTHER))

    assert [len(page) for page in found["lists"]] == [10, 10, 10]
    assert {item["id"].replace("-", "") for item in flat(found["lists"])} == states.keys()
    assert {item["id"].replace("-", "") for item in flat(found["lists by status"])} == finished
    assert found["counts"] == [len(states), len(finished)]
    assert found["gets"] in flat(found["lists"])
    assert found["gets some"] == [found["gets"], None]
    assert found["gets none"]["status"] == 404
    assert MISSING in found["gets none"]["answer"]["detail"]

    assert [len(page) for page in found["pages events"]] == [7, 7]
    assert flat(found["pages events"]) == found["reads all events"] == log
    assert flat(found["pages events from the end"]) == log[::-1]
    messages = [event for event in log if event["kind"] == "MessageEvent"]
    assert flat(found["filters events"]) == [event for event in messages if event["source"] == "agent"]
    said = sum("search" in text_of(event).lower() for event in messages)
    assert found["counts events"] == [len(log), len(messages), said]
    assert found["gets an event"] == [log[0], None]

    assert found["opens the socket"]["key"] == "full_state"
    assert found["opens the socket"]["value"]["id"] == ONE
    assert text_of(found["hears another process"]) == ANOTHER
    assert text_of(found["hears what it sent"]) == SENT
    assert found["finds what it sent"] == [found["hears what it sent"]]
    assert [text_of(frame) for frame in found["frames"] if frame["kind"] == "MessageEvent"] == [ANOTHER, SENT]
    assert found["renames"] == "renamed by the client"
    assert found["deletes"]["status"] == 404
