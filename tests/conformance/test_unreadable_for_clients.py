"""A page that holds every kind of unreadable row is read by the real models of openhands-agent-server 1.58."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import Settings
from app.model.ids import dashed
from tests.builders import make_conversation, make_id, make_state
from tests.conformance.agent_server import needs_agent_server
from tests.conftest import serving

READ = """
import json, sys
import openhands.tools  # registers what agents name
from openhands.agent_server.models import ConversationInfo, ConversationPage

page = ConversationPage.model_validate_json(sys.stdin.read())
read = [ConversationInfo.model_validate(item.model_dump()) for item in page.items]
print(json.dumps([[str(one.id), one.execution_status.value, one.agent.kind, one.workspace.kind] for one in read]))
"""


def state(content: bytes) -> Callable[[Path], Any]:
    return lambda directory: (directory / "base_state.json").write_bytes(content)


def meta(content: bytes) -> Callable[[Path], Any]:
    return lambda directory: (directory / "meta.json").write_bytes(content)


def no_files(directory: Path) -> None:
    for name in ("base_state.json", "meta.json"):
        (directory / name).unlink()


def a_directory(directory: Path) -> None:
    (directory / "base_state.json").unlink()
    (directory / "base_state.json").mkdir()


def fields(_name: str, **wrong: object) -> Callable[[Path], Any]:
    def harm(directory: Path) -> None:
        (directory / "base_state.json").write_text(json.dumps(make_state(directory.name, **wrong)))

    return harm


WRONG: list[tuple[str, object]] = [
    ("agent", {"kind": "Agent"}),
    ("agent", {"kind": "Agent", "llm": "m"}),
    ("agent", {"kind": "Agent", "llm": {"model": None}}),
    ("tags", {"Area": "x"}),
    ("tags", {"area": 7}),
    ("tags", {"area": "x" * 257}),
    ("stats", {"usage_to_metrics": []}),
    ("workspace", {"kind": "LocalWorkspace"}),
    ("max_iterations", "many"),
    ("max_iterations", 0),
    ("stuck_detection", None),
    ("confirmation_policy", "never"),
    ("invoked_skills", {"a": 1}),
    ("activated_knowledge_skills", [1]),
    ("blocked_actions", []),
    ("blocked_messages", {"a": 1}),
    ("secret_registry", []),
    ("agent_state", None),
    ("security_analyzer", "x"),
    ("last_user_message_id", 7),
    ("leaf_event_id", {}),
    ("hook_config", 7),
    ("persistence_dir", 7),
]
HARMS: list[Callable[[Path], Any]] = [
    state(b""),
    state(bytes(500)),
    state(b'{"id": "to'),
    state(b"[]"),
    state(b'{"agent": null, "execution_status": 7}'),
    state(b'{"agent": {"kind": "Agent", "llm": {"model": "m"}}, "execution_status": "exploded"}'),
    state(b'{"workspace": "here", "stats": [], "tags": []}'),
    *(fields(name, **{name: value}) for name, value in WRONG),
    meta(b""),
    meta(b'{"title": '),
    meta(b'{"metrics": 7, "forked_from_event_id": 7, "launched_agent_profile": "x"}'),
    no_files,
    a_directory,
]


@pytest.fixture
def unreadable(root: Path) -> Path:
    for number, harm in enumerate(HARMS, start=1):
        harm(make_conversation(root, number))
    make_conversation(root, 99)
    return root


async def get_page(root: Path) -> str:
    async with serving(Settings(store=root)) as client:
        return (await client.get("/api/conversations/search?limit=100")).text


def read_page(page: str) -> dict[str, list[str]]:
    """Return what the real models read: id to status, kind of agent and of workspace."""
    done = subprocess.run(
        [os.environ["OPENHANDS_PYTHON"], "-c", READ], input=page, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {one[0]: one[1:] for one in json.loads(done.stdout.splitlines()[-1])}


async def test_each_is_in_error_and_says_why(unreadable: Path) -> None:
    items = {item["id"]: item for item in json.loads(await get_page(unreadable))["items"]}
    sound = items.pop(dashed(make_id(99)))
    assert "unreadable" not in sound
    assert len(items) == len(HARMS)
    for item in items.values():
        assert item["execution_status"] == "error"
        assert item["unreadable"].startswith(("base_state.json: ", "meta.json: "))


@needs_agent_server
async def test_the_real_models_read_a_page_of_unreadable_rows(unreadable: Path) -> None:
    read = await asyncio.to_thread(read_page, await get_page(unreadable))
    broken = {dashed(make_id(number)): ["error", "Agent", "LocalWorkspace"] for number in range(1, len(HARMS) + 1)}
    assert read == broken | {dashed(make_id(99)): ["finished", "Agent", "LocalWorkspace"]}
