"""Conversations of sub-agents, which are stored below the conversation that started them, over all routes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from app import Settings
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId, dashed
from app.store.follow.watcher import Watcher
from tests.builders import make_conversation, make_event, make_id
from tests.conftest import StoreOpener, serving

PARENT, CHILD, DEEPER = (ConversationId(make_id(number)) for number in (1, 2, 3))
BELOW = f"{PARENT}/subagents/{CHILD}"
LISTS = "/api/conversations"


def said(text: str) -> dict[str, Any]:
    return make_event(0, llm_message={"role": "user", "content": [{"type": "text", "text": text}]})


def add_subagent(path: Path, number: int, text: str) -> Path:
    made = make_conversation(path / "subagents", number, events=[said(text)])
    (made / "meta.json").unlink()
    return made


@pytest.fixture
def nested(root: Path) -> Path:
    parent = make_conversation(root, 1, events=[said("refactor the parser")], meta={"title": "Parent"})
    add_subagent(add_subagent(parent, 2, "zanzibar was found"), 3, "deeper zanzibar")
    make_conversation(root, 4)
    return root


async def titles_found(client: httpx.AsyncClient, **asked: str) -> set[str]:
    return {one["id"] for one in (await client.get(f"{LISTS}/search", params=asked)).json()["items"]}


async def test_they_are_opened_by_id_and_in_no_list_unless_asked_for(nested: Path) -> None:
    one, two, three, four = (dashed(make_id(number)) for number in (1, 2, 3, 4))
    async with serving(Settings(store=nested)) as client:
        for conversation_id, parent, below in ((two, one, [three]), (three, two, [])):
            info = (await client.get(f"{LISTS}/{conversation_id}")).json()
            assert (info["parent_conversation_id"], info["subagent_ids"]) == (parent, below)
            assert (await client.get(f"{LISTS}/{conversation_id}/events/count")).json() == 1
        whole = (await client.get(f"{LISTS}/{one}")).json()
        assert (whole["sub_conversation_ids"], whole["subagent_ids"]) == ([], [two])
        for asked, ids in (
            ({}, {one, four}),
            ({"archived": "any"}, {one, four}),
            ({"subagents": "true"}, {two, three}),
            ({"subagents": "any"}, {one, two, three, four}),
            ({"parent_conversation_id": one}, {two}),
            ({"subagents": "any", "top_level": "true"}, {one, four}),
            ({"subagents": "true", "archived": "true"}, set()),
        ):
            assert await titles_found(client, **asked) == ids
            assert (await client.get(f"{LISTS}/count", params=asked)).json() == len(ids)
            facets = (await client.get(f"{LISTS}/facets", params={**asked, "by": "status,tag"})).json()
            assert facets["count"] == len(ids)


async def test_search_finds_what_they_said_and_whose_they_are(nested: Path) -> None:
    async with serving(Settings(store=nested)) as client:
        hits = (await client.get("/api/messages/search", params={"q": "zanzibar"})).json()["items"]
        assert {(hit["conversation_id"], hit["parent_conversation_id"]) for hit in hits} == {
            (dashed(CHILD), dashed(PARENT)),
            (dashed(DEEPER), dashed(CHILD)),
        }
        without = await client.get("/api/messages/search", params={"q": "zanzibar", "subagents": "false"})
        assert without.json()["items"] == []


async def test_they_are_deleted_and_restored_with_the_parent_alone(nested: Path) -> None:
    async with serving(Settings(store=nested)) as client:
        token = (await client.get("/api/changes")).json()["next"]
        refused = await client.delete(f"{LISTS}/{CHILD}")
        assert (refused.status_code, dashed(PARENT) in refused.text) == (422, True)
        assert (await client.delete(f"{LISTS}/{PARENT}")).json() == {"success": True}
        for one in (PARENT, CHILD, DEEPER):
            assert (await client.get(f"{LISTS}/{one}")).status_code == 404
        changes = (await client.get("/api/changes", params={"since": token})).json()["items"]
        gone = {one["id"] for one in changes if one["conversation"] is None}
        assert gone == {dashed(one) for one in (PARENT, CHILD, DEEPER)}
        assert (await client.post(f"{LISTS}/{PARENT}/restore")).status_code == 200
        assert (await client.get(f"{LISTS}/{DEEPER}")).status_code == 200
        assert (await client.get(f"{LISTS}/count", params={"subagents": "any"})).json() == 4


async def test_a_fork_has_none_of_them_and_an_archive_all(nested: Path, tmp_path: Path) -> None:
    async with serving(Settings(store=nested)) as client:
        fork = (await client.post(f"{LISTS}/{PARENT}/fork")).json()
        assert fork["subagent_ids"] == []
        archive = (await client.get(f"{LISTS}/{PARENT}/export")).content
    other = tmp_path / "other"
    other.mkdir()
    async with serving(Settings(store=other)) as client:
        sent = await client.post(f"{LISTS}/import", content=archive, headers={"Content-Type": "application/zip"})
        assert sent.status_code in (200, 201), sent.text
        assert (await client.get(f"{LISTS}/{PARENT}")).json()["subagent_ids"] == [dashed(CHILD)]
        assert (await client.get(f"{LISTS}/{DEEPER}/events/count")).json() == 1


async def test_a_copy_under_a_new_id_has_copies_of_them_under_new_ids(nested: Path) -> None:
    async with serving(Settings(store=nested)) as client:
        archive = (await client.get(f"{LISTS}/{PARENT}/export")).content
        for _ in range(2):  # the second time, all is there
            sent = await client.post(
                f"{LISTS}/import?new_ids=true", content=archive, headers={"Content-Type": "application/zip"}
            )
            assert sent.status_code in (200, 201), sent.text
        found = await titles_found(client, subagents="true")
        assert len(found) == 4
        assert found > {dashed(CHILD), dashed(DEEPER)}
        copy = (await client.get(f"{LISTS}/{sent.json()['items'][0]['id']}")).json()
        (child,) = copy["subagent_ids"]
        (deeper,) = (await client.get(f"{LISTS}/{child}")).json()["subagent_ids"]
        assert {child, deeper} == found - {dashed(CHILD), dashed(DEEPER)}
        info = (await client.get(f"{LISTS}/{deeper}")).json()
        assert (info["id"], info["parent_conversation_id"]) == (deeper, child)


async def test_a_new_one_is_found_by_the_sweep_and_a_vanished_one_too(nested: Path, open_store: StoreOpener) -> None:
    async with open_store(nested) as store:
        await store.sync()
        watcher = Watcher(store.context)
        await watcher.tick()
        made = add_subagent(nested / PARENT, 5, "a newcomer")
        assert await watcher.walk_all(full=False) > 0
        asked = ConversationFilter(subagents=True)
        assert await store.list_ids(asked) == [CHILD, DEEPER, make_id(5)]
        assert await store.verify() == []
        made.rename(nested.parent / "away")
        assert await watcher.walk_all(full=False) > 0
        assert await store.list_ids(asked) == [CHILD, DEEPER]
        assert await store.verify() == []
