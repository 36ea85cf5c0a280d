"""Many conversations at once: what is refused is told of each, and a dry run says the same."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from app import ConversationStore, Settings
from tests.builders import make_conversation, make_id
from tests.conftest import serving

TAG = "/api/conversations/bulk/tag"
IDS = [make_id(number) for number in range(1, 7)]


@pytest.mark.parametrize("tags", [{"A": "b"}, {"a": "x" * 257}, {"a": "\ud800"}])
@pytest.mark.parametrize("dry_run", [True, False])
async def test_tags_that_nobody_could_have_are_refused_for_all(root: Path, tags: Any, dry_run: bool) -> None:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        asked = {"ids": IDS[:1], "set": tags, "dry_run": dry_run}
        answer = await client.post(TAG, content=json.dumps(asked), headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_conversation")


async def test_a_dry_run_of_tagging_refuses_what_tagging_refuses(root: Path) -> None:
    paths = [make_conversation(root, number) for number in range(1, 6)]
    (paths[1] / "base_state.json").write_text("{")
    (paths[2] / "base_state.json").unlink()
    (paths[3] / "meta.json").write_text("{")
    (paths[4] / "base_state.json").write_text('{"tags": {"NOT A KEY": "value"}}')
    async with serving(Settings(store=root)) as client:
        asked = {"ids": IDS, "set": {"a": "b"}}
        dry, real = [
            (await client.post(TAG, json=asked | {"dry_run": dry_run})).json()["items"] for dry_run in (True, False)
        ]
    assert [item["code"] for item in real] == [
        None,
        "unreadable_file",
        "unreadable_file",
        "unreadable_file",
        "invalid_conversation",
        "conversation_not_found",
    ]
    assert [item["code"] for item in dry] == [item["code"] for item in real]


async def test_an_unexpected_error_is_told_of_its_conversation_and_the_others_are_done(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        make_conversation(root, number)
    delete = ConversationStore.delete

    async def failing(self: ConversationStore, one: Any, **options: Any) -> None:
        if one == IDS[1]:
            raise RuntimeError("the disk is made of cheese")
        await delete(self, one, **options)

    monkeypatch.setattr(ConversationStore, "delete", failing)
    async with serving(Settings(store=root)) as client:
        answer = await client.post("/api/conversations/bulk/delete", json={"ids": IDS[:3]})
        assert (answer.status_code, answer.json()["done"]) == (200, 2)
        assert [item["code"] for item in answer.json()["items"]] == [None, "internal_error", None]
        assert "cheese" not in answer.text
        assert (await client.get("/api/conversations/count")).json() == 1


@pytest.mark.parametrize("workers", [1, 2])
async def test_of_requests_at_once_each_sets_its_tags_and_leaves_those_of_the_others(root: Path, workers: int) -> None:
    path = make_conversation(root)
    settings = Settings(store=root, instance="one-server", workers=workers)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(serving(settings)) for _ in range(workers)]
        asked = [
            clients[number % workers].post(TAG, json={"ids": IDS[:1], "set": {f"k{number}": "v"}})
            for number in range(8)
        ]
        answers = await asyncio.gather(*asked)
    assert [answer.json()["done"] for answer in answers] == [1] * 8
    wanted = {f"k{number}": "v" for number in range(8)}
    for name in ("meta.json", "base_state.json"):
        assert json.loads((path / name).read_text())["tags"] == wanted
