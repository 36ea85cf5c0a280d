"""The real openhands-sdk 1.58 and convstore take turns in writing to one conversation."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import orjson
import pytest

from app import ConversationStore
from app.files.layout import list_event_names, open_directory
from app.model.ids import ConversationId
from tests.builders import make_event, make_id
from tests.conftest import StoreOpener

ONE = ConversationId(make_id(1))
TURNS = 10
_SDK = Path(__file__).with_name("sdk_turns.py")


def branch_of(path: Path) -> list[str]:
    """Return the events from the root to HEAD, as the files have them."""
    with open_directory(path / "events") as fd:
        names = {name.event_id: name for name in list_event_names(fd)}
    head = orjson.loads((path / "base_state.json").read_bytes())["leaf_event_id"]
    branch: list[str] = []
    while head in names:
        branch.append(head)
        file = path / "events" / f"event-{names[head].seq:05d}-{head}.json"
        before = list(names)[list(names).index(head) - 1] if names[head].seq else None
        head = orjson.loads(file.read_bytes()).get("parent_id") or before  # old events are a line
    return branch[::-1]


async def log_of(store: ConversationStore) -> list[str]:
    return [orjson.loads(body)["id"] for body in (await store.list_events(ONE)).items]


@pytest.mark.skipif("OPENHANDS_PYTHON" not in os.environ, reason="no Python with openhands-sdk was given")
async def test_sdk_and_convstore_write_in_turn_and_read_the_same(root: Path, open_store: StoreOpener) -> None:
    command = [os.environ["OPENHANDS_PYTHON"], str(_SDK), str(root), ONE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sdk:  # noqa: ASYNC220
        assert sdk.stdin is not None
        assert sdk.stdout is not None
        ours: list[str] = []
        for turn in range(TURNS):
            sdk.stdin.write(f"turn {turn} of the sdk\n")
            sdk.stdin.flush()
            while not (line := sdk.stdout.readline()).startswith("{"):
                assert line, "the sdk ended"
            seen = json.loads(line)
            assert set(ours) <= set(seen["branch"])
            async with open_store(root) as store:
                assert await log_of(store) == seen["log"]
                assert branch_of(root / ONE)[-len(seen["branch"]) :] == seen["branch"]
                async with store.writer(ONE) as conversation:
                    done = await conversation.append(make_event(turn, source="user" if turn % 2 else "agent"))
                    await conversation.set_title(f"turn {turn}")
                ours.append(done.event_id)
                assert await log_of(store) == [*seen["log"], done.event_id]
                assert branch_of(root / ONE)[-1] == done.event_id
                assert await store.verify() == []
        sdk.stdin.close()
    assert b"sk-not-to-be-seen" not in (root / ONE / "base_state.json").read_bytes()
