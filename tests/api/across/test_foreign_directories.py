"""What is no conversation, though a conversation's id is its name: nothing that is asked for touches it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from app import Settings
from app.files import trash
from app.model.ids import dashed
from tests.builders import FOREIGN, NEW_CONVERSATION, details_in, make_conversation, make_foreign, make_id, names_in
from tests.conftest import serving

ONE, TWO = make_id(1), make_id(2)
URL = f"/api/conversations/{ONE}"


def put_foreign(root: Path, what: str) -> dict[str, tuple[int, int, bytes]]:
    make_foreign(root / ONE, what)
    return details_in(root / ONE)


def bulk(route: str, answer: httpx.Response) -> str | None:
    assert answer.status_code == 200, route
    [item] = answer.json()["items"]
    code: str | None = item["code"]
    return code


@pytest.mark.parametrize("what", FOREIGN)
async def test_what_is_no_conversation_is_404_and_is_not_touched(root: Path, what: str) -> None:
    make_conversation(root, 2)
    before = put_foreign(root, what)
    async with serving(Settings(store=root)) as client:
        answers = [
            await client.get(URL),
            await client.delete(URL),
            await client.delete(URL, params={"permanent": True}),
            await client.delete(URL, params={"permanent": True, "force": True}),
            await client.patch(URL, json={"title": "Mine"}),
            await client.patch(URL, json={"pinned": True}),
            await client.post(f"{URL}/events", json={"role": "user", "content": [{"type": "text", "text": "x"}]}),
            await client.post(f"{URL}/fork", json={}),
            await client.post(f"{URL}/lease", json={"owner": "me"}),
            await client.post(f"{URL}/restore"),
        ]
        codes = [
            bulk(route, await client.post(f"/api/conversations/bulk/{route}", json={"ids": [ONE]} | asked))
            for route, asked in (
                ("delete", {}),
                ("delete", {"dry_run": True}),
                ("delete", {"permanent": True, "force": True}),
                ("tag", {"set": {"a": "b"}}),
                ("archive", {}),
            )
        ]
    assert [one.status_code for one in answers] == [404] * len(answers), [one.text for one in answers]
    assert codes == ["conversation_not_found"] * 5
    assert details_in(root / ONE) == before
    assert trash.list_trash(root) == []


@pytest.mark.parametrize("what", FOREIGN)
async def test_no_conversation_is_put_in_the_place_of_something_else(root: Path, what: str) -> None:
    make_conversation(root, 2)
    trash.move_to_trash(root, make_conversation(root, 1).name, time.time_ns() // 1000)
    before = put_foreign(root, what)
    async with serving(Settings(store=root)) as client:
        answers = [
            await client.post("/api/conversations", json=NEW_CONVERSATION | {"conversation_id": dashed(ONE)}),
            await client.post(f"/api/conversations/{TWO}/fork", json={"id": ONE}),
            await client.post(f"{URL}/restore"),
        ]
        restored = bulk("restore", await client.post("/api/conversations/bulk/restore", json={"ids": [ONE]}))
        child = await client.post("/api/conversations", json=NEW_CONVERSATION | {"parent_conversation_id": ONE})
        assert (await client.get("/api/conversations/count")).json() == 1
    assert [(one.status_code, one.json()["code"]) for one in answers] == [(409, "directory_taken")] * 3
    assert f"{root / ONE} already exists and is not a conversation" in answers[0].json()["detail"]
    assert (restored, child.status_code, child.json()["code"]) == ("directory_taken", 422, "parent_refused")
    assert details_in(root / ONE) == before
    assert len(trash.list_trash(root)) == 1
    assert [name for name in names_in(root) if name.startswith(".new")] == []


async def test_a_ghost_is_404_and_gives_way_to_a_new_conversation(root: Path) -> None:
    (root / ONE / "events").mkdir(parents=True)
    (root / ONE / "events" / ".eventlog.lock").touch()
    (root / ONE / "owner_lease.json").write_text("{}")
    before = details_in(root / ONE)
    async with serving(Settings(store=root)) as client:
        for asked in ({}, {"permanent": True}):
            assert (await client.delete(URL, params=asked)).status_code == 404
        assert details_in(root / ONE) == before
        assert (
            await client.post("/api/conversations", json=NEW_CONVERSATION | {"conversation_id": ONE})
        ).status_code == 201
        assert (await client.delete(URL)).status_code == 200
    assert [one.directory for one in trash.list_trash(root)] == [ONE]


def lose_meta_and_state(path: Path) -> None:
    (path / "meta.json").unlink()
    (path / "base_state.json").unlink()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "meta.json").write_text("{"),
        lambda path: (path / "base_state.json").write_text("{"),
        lambda path: (path / "base_state.json").unlink(),
        lose_meta_and_state,
    ],
)
async def test_one_that_cannot_be_read_is_deleted_and_comes_back(root: Path, damage: Callable[[Path], object]) -> None:
    path = make_conversation(root)
    damage(path)
    async with serving(Settings(store=root)) as client:
        for _ in range(2):
            assert (await client.get("/api/conversations/count")).json() == 1
            assert (await client.delete(URL)).status_code == 200
            assert (await client.post(f"{URL}/restore")).status_code == 200
        assert (await client.delete(URL, params={"permanent": True})).status_code == 200
    assert not path.exists()
    assert trash.list_trash(root) == []
