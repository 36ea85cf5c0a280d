"""The writing routes, as agent-server's clients use them, and convstore's own."""

from __future__ import annotations

import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import SecretStr

from app import Settings
from app.api import routes as packages
from app.api.params import get_writable_store
from app.files import liveness
from tests.builders import make_conversation, make_event, make_id, names_in
from tests.conftest import serving

ONE = f"/api/conversations/{make_id(1)}"
START = {
    "agent": {"llm": {"model": "a/model", "api_key": "sk-plain"}, "tools": [], "mcp_config": {"env": {"T": "plain-2"}}},
    "workspace": {"working_dir": "/home/dev/new"},
    "secrets": {"TOKEN": {"kind": "StaticSecret", "value": "plain-3"}},
    "tags": {"area": "store"},
    "initial_message": {"role": "user", "content": [{"type": "text", "text": "hello"}], "unknown": 1},
    "unknown_field": True,
}


def files_of(path: Path) -> str:
    return "".join(file.read_text() for file in path.rglob("*.json"))


async def test_a_conversation_is_created_once_with_its_tags_and_without_plain_secrets(root: Path) -> None:
    async with serving(Settings(store=root)) as client:
        made = await client.post("/api/conversations", json=START | {"conversation_id": make_id(9)})
        again = await client.post("/api/conversations", json=START | {"conversation_id": make_id(9)})
        assert (made.status_code, again.status_code) == (201, 200)
        info = made.json()
        assert (info["tags"], info["execution_status"], info["event_count"]) == ({"area": "store"}, "idle", 1)
        assert again.json() == info
        page = (await client.get(f"/api/conversations/{make_id(9)}/events/search")).json()
        assert page["items"][0]["llm_message"]["content"][0]["text"] == "hello"
        assert page["items"][0]["id"] == info["leaf_event_id"]
        listed = (await client.get("/api/conversations/search")).json()["items"]
        assert [row["id"] for row in listed] == [info["id"]]
    stored = files_of(root / make_id(9))
    assert "plain" not in stored
    assert stored.count("**********") >= 3
    assert [name for name in names_in(root) if name.startswith(".new")] == []


async def test_secrets_are_encrypted_with_the_key(root: Path) -> None:
    async with serving(Settings(store=root, secret_key=SecretStr("a key"))) as client:
        made = await client.post("/api/conversations", json=START)
        assert "gAAAA" not in made.text
    stored = files_of(root / made.json()["id"].replace("-", ""))
    assert "plain" not in stored
    assert stored.count("gAAAA") >= 3


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"agent": None}, 422),
        ({"agent": {"tools": []}}, 422),
        ({"workspace": None}, 422),
        ({"conversation_id": "../x"}, 422),
        ({"agent": {"kind": "Agent", "llm": {}}}, 422),
        ({"agent": {"kind": "Agent", "llm": {"model": "a/model"}, "tools": "all"}}, 422),
        ({"title": ""}, 422),
        ({"title": 5}, 422),
        ({"tags": {"A": "b"}}, 422),
        ({"tags": {"a": None}}, 422),
        ({"tags": ["a"]}, 422),
        ({"max_iterations": 2**64}, 422),
        ({"stuck_detection": "yes"}, 422),
        ({"user_id": 2**70}, 422),
        ({"secrets": {"a": 1}}, 422),
        ({"secrets": {"a": {"value": "plain"}}}, 422),
        ({"secrets": {"a": {"kind": "StaticSecret", "value": []}}}, 422),
        ({"secrets": {"a": "plain"}}, 422),
        ({"client_tools": [1]}, 422),
        ({"tool_module_qualnames": {"a": 1}}, 422),
        ({"agent_definitions": ["a"]}, 422),
        ({"agent_definitions": [{}]}, 422),
        ({"plugins": [{}]}, 422),
        ({"client_tools": [{"name": "a"}]}, 422),
        ({"agent": {"llm": {"model": "a/model"}, "tools": [{}]}}, 422),
        ({"agent": {"llm": {"model": "a/model", "api_key": 5}}}, 422),
        ({"agent": {"llm": {"model": ""}}}, 422),
        ({"agent": {"llm": {"model": "a/model"}, "condenser": {}}}, 422),
        ({"agent": {"llm": {"model": "a/model", "extra_headers": {"a": 1}}}}, 422),
        ({"agent": {"llm": {"model": "a/model"}, "agent_context": {"skills": [{"name": "a"}]}}}, 422),
        ({"worktree_options": []}, 422),
        ({"agent": {"llm": {"model": "a/model"}, "agent_context": []}}, 422),
        ({"agent": {"llm": {"model": "a/model"}, "tools": ["bash"]}}, 422),
        ({"agent": {"llm": {"model": "a/model"}, "mcp_config": {"a": 1}}}, 422),
        ({"initial_message": "hello"}, 422),
        ({"initial_message": {"content": "hello"}}, 422),
        ({"initial_message": {"content": [{"type": "text"}]}}, 422),
        ({"parent_conversation_id": make_id(77)}, 422),
        ({"initial_message": {"content": [], "run": True}}, 501),
    ],
)
async def test_what_cannot_be_created_is_said_and_leaves_nothing(
    root: Path, change: dict[str, Any], status: int
) -> None:
    async with serving(Settings(store=root)) as client:
        answer = await client.post("/api/conversations", json=START | change)
    assert answer.status_code == status, answer.text
    assert "this one has 0" not in answer.text or change == {"title": ""}
    assert [name for name in names_in(root) if name != ".convstore"] == []


async def test_title_and_tags_are_set_and_no_event_is_appended(root: Path) -> None:
    path = make_conversation(root)
    async with serving(Settings(store=root)) as client:
        answer = await client.patch(ONE, json={"title": " New ", "tags": {"a": "b"}, "unknown": 1})
        assert (answer.status_code, answer.json()["success"]) == (200, True)
        info = (await client.get(ONE)).json()
        assert (info["title"], info["tags"], info["event_count"]) == ("New", {"a": "b"}, 2)
        assert (await client.patch(ONE, json={"archived": True, "pinned": True})).status_code == 200
        info = (await client.get(ONE)).json()
        assert (info["title"], info["archived"], info["pinned"]) == ("New", True, True)
        wrongs: list[dict[str, Any]] = [{"title": ""}, {"title": "  "}, {"title": "x" * 201}, {"tags": {"A": "b"}}]
        for wrong in [*wrongs, {"tags": []}]:
            assert (await client.patch(ONE, json=wrong)).status_code == 422
        missing = await client.patch(f"/api/conversations/{make_id(5)}", json={"title": "x"})
        assert (missing.status_code, missing.json()["code"]) == (404, "conversation_not_found")
    assert len(list((path / "events").glob("event-*"))) == 2


@pytest.mark.parametrize("event", [{"source": []}, {"source": {}}, {"text": "\ud800"}, {"parent_id": "\ud800"}])
async def test_an_event_that_cannot_be_is_refused(root: Path, event: dict[str, Any]) -> None:
    make_conversation(root)
    body = json.dumps({"events": [make_event(7) | event]})
    async with serving(Settings(store=root)) as client:
        answer = await client.post(f"{ONE}/events/batch", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_event")
        assert (await client.get(ONE)).json()["event_count"] == 2


@pytest.mark.parametrize("method", ["PATCH", "POST"])
async def test_a_tag_that_is_no_text_for_utf_8_is_refused(root: Path, method: str) -> None:
    make_conversation(root)
    body, url = json.dumps({"tags": {"a": "\ud800"}}), ONE if method == "PATCH" else f"{ONE}/fork"
    async with serving(Settings(store=root)) as client:
        answer = await client.request(method, url, content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_conversation")


async def test_a_message_that_agent_server_would_not_read_is_refused(root: Path) -> None:
    path = make_conversation(root)
    async with serving(Settings(store=root)) as client:
        for part in (
            {"type": "text"},
            {"type": "image"},
            {"type": "image", "text": "a"},
            {"type": "video", "text": "a"},
        ):
            assert (await client.post(f"{ONE}/events", json={"content": [part]})).status_code == 422
        image = {"content": [{"type": "image", "image_urls": ["data:image/png;base64,"]}]}
        assert (await client.post(f"{ONE}/events", json=image)).status_code == 200
    assert len(list((path / "events").glob("event-*"))) == 3


async def test_a_message_is_appended_and_running_is_refused(root: Path) -> None:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        body = {"role": "user", "content": [{"type": "text", "text": "more", "cache_prompt": True}], "sender": "me"}
        assert (await client.post(f"{ONE}/events", json=body)).json()["success"] is True
        last = (await client.get(f"{ONE}/events/search?sort_order=TIMESTAMP_DESC&limit=1")).json()["items"][0]
        assert (last["kind"], last["source"], last["parent_id"]) == ("MessageEvent", "user", make_event(1)["id"])
        refused = await client.post(f"{ONE}/events", json=body | {"run": True})
        assert (refused.status_code, refused.json()["code"]) == (501, "needs_agent")
        assert (await client.get(f"{ONE}/events/count")).json() == 3
        for name in ("run", "pause", "secrets", "goal/stop", "switch_llm", "events/respond_to_confirmation"):
            assert (await client.post(f"{ONE}/{name}", json={})).status_code == 501


async def test_a_fork_has_the_events_and_an_identity_of_its_own(root: Path) -> None:
    stats = {"usage_to_metrics": {"agent": {"accumulated_cost": 2.0}}}
    make_conversation(root, events=4, state={"stats": stats, "leaf_event_id": make_event(1)["id"], "x": [1]})
    async with serving(Settings(store=root)) as client:
        whole = (await client.post(f"{ONE}/fork", json={"title": "Copy", "tags": {"a": "b"}})).json()
        assert (whole["event_count"], whole["cost"], whole["leaf_event_id"]) == (4, 0.0, make_event(1)["id"])
        assert (whole["title"], whole["tags"], whole["execution_status"]) == ("Copy", {"a": "b"}, "idle")
        assert whole["forked_from_conversation_id"].replace("-", "") == make_id(1)
        asked = {"id": make_id(8), "from_event_id": make_event(2)["id"], "reset_metrics": False}
        branch = await client.post(f"{ONE}/fork", json=asked)
        assert (branch.status_code, branch.json()["event_count"], branch.json()["cost"]) == (201, 3, 2.0)
        assert branch.json()["forked_from_event_id"] == branch.json()["leaf_event_id"] == make_event(2)["id"]
        assert (await client.post(f"{ONE}/fork", json=asked)).status_code == 409
        assert (await client.post(f"{ONE}/fork", json={"from_event_id": make_id(77)})).status_code == 404
        assert (await client.post(f"{ONE}/fork")).status_code == 201
        made = await client.post(f"/api/conversations/{whole['id']}/events", json={"content": []})
        assert made.status_code == 200
        events = (await client.get(f"/api/conversations/{whole['id']}/events/search")).json()["items"]
        assert events[4]["parent_id"] == make_event(1)["id"]  # the navigation of the source is not undone
    assert json.loads((root / make_id(8) / "base_state.json").read_text())["x"] == [1]


async def test_navigating_moves_head(root: Path) -> None:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        answer = await client.post(f"{ONE}/navigate", json={"event_id": make_event(0)["id"]})
        assert answer.json()["leaf_event_id"] == make_event(0)["id"]
        assert (await client.post(f"{ONE}/navigate", json={})).json()["head_is_empty"] is True
        assert (await client.post(f"{ONE}/navigate", json={"event_id": make_id(7)})).status_code == 404


async def test_deleting_and_restoring(root: Path) -> None:
    make_conversation(root)
    make_conversation(root, 2, meta={"parent_conversation_id": make_id(1)})
    async with serving(Settings(store=root)) as client:
        await client.patch(ONE, json={"title": "Kept"})  # open for writing, and deleted all the same
        before = (await client.get(ONE)).json()
        assert (await client.delete(ONE)).json()["success"] is True
        assert (await client.get(ONE)).status_code == 404
        assert (await client.delete(ONE)).status_code == 404
        assert (await client.patch(ONE, json={"title": "x"})).status_code == 404
        child = (await client.get(f"/api/conversations/{make_id(2)}")).json()
        assert child["parent_conversation_id"] == before["id"]
        trash = (await client.get("/api/trash")).json()
        assert (trash["total"], trash["items"][0]["id"], trash["items"][0]["title"]) == (1, before["id"], "Kept")
        assert (await client.post(f"{ONE}/restore")).json() == before
        assert (await client.post(f"{ONE}/restore")).status_code == 404
        assert (await client.delete(f"{ONE}?permanent=true")).status_code == 200
        assert (await client.get("/api/trash")).json()["total"] == 0
    assert not (root / make_id(1)).exists()


async def test_what_another_owner_has_is_listed_and_refused(root: Path) -> None:
    path = make_conversation(root)
    async with serving(Settings(store=root)) as client:
        claimed = (await client.post(f"{ONE}/lease", json={"owner": "other", "ttl_s": 100})).json()
        assert (claimed["owner"], claimed["generation"]) == ("other", 1)
        refused: list[tuple[str, str, Any]] = [
            ("PATCH", ONE, {"title": "x"}),
            ("POST", f"{ONE}/events", {"content": []}),
            ("POST", f"{ONE}/navigate", {}),
            ("POST", f"{ONE}/lease", {"owner": "third"}),
            ("DELETE", ONE, None),
        ]
        for method, url, body in refused:
            answer = await client.request(method, url, json=body)
            assert (answer.status_code, answer.json()["code"]) == (409, "conversation_owned"), url
        assert (await client.get(ONE)).status_code == 200
        held = {"owner": "other", "generation": 1}
        batch = await client.post(f"{ONE}/events/batch", json=held | {"events": [make_event(5), make_event(6)]})
        assert [item["seq"] for item in batch.json()["items"]] == [2, 3]
        assert (await client.put(f"{ONE}/lease", json=held)).status_code == 200
        taken = (await client.post(f"{ONE}/lease", json={"owner": "third", "force": True})).json()
        assert taken["generation"] == 2
        for method, url, body in (
            ("POST", f"{ONE}/events/batch", held | {"events": [make_event(7)]}),
            ("PUT", f"{ONE}/lease", held),
        ):
            answer = await client.request(method, url, json=body)
            assert (answer.status_code, answer.json()["code"]) == (409, "ownership_lost")
        assert (await client.delete(f"{ONE}/lease", params={"owner": "third", "generation": 2})).status_code == 200
        assert (await client.patch(ONE, json={"title": "x"})).status_code == 200
        unknown = held | {"events": [make_event(7)], "more": 1}
        assert (await client.post(f"{ONE}/events/batch", json=unknown)).status_code == 422
    assert len(list((path / "events").glob("event-*"))) == 4


async def test_many_are_tagged_deleted_and_restored_by_id_and_by_filter(root: Path) -> None:
    for number in (1, 2, 3):
        make_conversation(root, number, state={"execution_status": "error" if number == 3 else "finished"})
    ids = [make_id(1), make_id(2), make_id(9)]
    async with serving(Settings(store=root)) as client:
        dry = (await client.post("/api/conversations/bulk/delete", json={"ids": ids, "dry_run": True})).json()
        assert [item["code"] for item in dry["items"]] == [None, None, "conversation_not_found"]
        assert (dry["done"], dry["dry_run"]) == (0, True)
        archived = {"ids": ids[:2], "archived": True}
        assert (await client.post("/api/conversations/bulk/archive", json=archived | {"dry_run": True})).json()[
            "done"
        ] == 0
        assert (await client.post("/api/conversations/bulk/archive", json=archived)).json()["done"] == 2
        every = (await client.get("/api/conversations/count?archived=true")).json()
        back = {"filter": {"archived": "true"}, "archived": False}
        assert (every, (await client.post("/api/conversations/bulk/archive", json=back)).json()["done"]) == (2, 2)
        assert (await client.get("/api/conversations/count?archived=true")).json() == 0
        tagged = (await client.post("/api/conversations/bulk/tag", json={"ids": ids, "set": {"a": "b"}})).json()
        assert (tagged["done"], tagged["items"][2]["code"]) == (2, "conversation_not_found")
        assert (await client.get(ONE)).json()["tags"] == {"a": "b"}
        chosen = {"filter": {"status": "finished"}}
        assert (await client.post("/api/conversations/bulk/delete", json=chosen)).json()["done"] == 2
        assert (await client.get("/api/conversations/count")).json() == 1
        since = {"deleted_at__gte": "2026-01-01T00:00:00Z"}
        dry = (await client.post("/api/conversations/bulk/restore", json={"ids": ids[1:], "dry_run": True})).json()
        assert [item["code"] for item in dry["items"]] == [None, "not_in_trash"]
        assert (await client.get("/api/conversations/count")).json() == 1
        assert (await client.post("/api/conversations/bulk/restore", json=since)).json()["done"] == 2
        assert (await client.get("/api/conversations/count")).json() == 3
        wrongs: list[dict[str, Any]] = [{}, {"ids": ids, "filter": {}}, {"filter": {"nothing": 1}}, {"ids": ["x"]}]
        for wrong in wrongs:
            assert (await client.post("/api/conversations/bulk/delete", json=wrong)).status_code == 422


async def test_a_foreign_page_may_not_write(root: Path) -> None:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        answer = await client.patch(ONE, json={"title": "x"}, headers={"Origin": "https://evil.example"})
        assert answer.status_code == 403
        text = await client.patch(ONE, content='{"title": "x"}', headers={"Content-Type": "text/plain"})
        assert text.status_code == 422
        assert (await client.get(ONE)).json()["title"] == "A title"


def test_no_get_reaches_a_writer() -> None:
    def calls(dependant: Any) -> set[Any]:
        return {dependant.call}.union(*(calls(inner) for inner in dependant.dependencies))

    modules = [importlib.import_module(f"app.api.routes.{one.name}") for one in pkgutil.iter_modules(packages.__path__)]
    routers = [value for module in modules for value in vars(module).values() if isinstance(value, APIRouter)]
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    writing = [route for route in routes if get_writable_store in calls(route.dependant)]
    assert len(writing) > 10
    assert [route.path for route in writing if (route.methods or set()) & {"GET", "HEAD"}] == []
    assert len([route for route in routes if "GET" in (route.methods or set())]) > 10


async def test_a_server_that_only_reads_makes_no_owner(root: Path) -> None:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        await client.get(ONE)
        assert not (root / ".convstore" / "owners").exists()
        await client.patch(ONE, json={"title": "x"})
        [lock] = (root / ".convstore" / "owners").glob("*.lock")
        assert liveness.is_alive(root, lock.stem)
    assert not liveness.is_alive(root, lock.stem)
    assert isinstance(client, httpx.AsyncClient)


async def test_one_that_cannot_be_read_is_archived_and_its_title_is_409_with_what_to_do(root: Path) -> None:
    (make_conversation(root, 1) / "base_state.json").unlink()
    async with serving(Settings(store=root)) as client:
        assert (await client.patch(ONE, json={"archived": True})).status_code == 200
        assert (await client.get("/api/conversations/count?archived=true")).json() == 1
        refused = await client.patch(ONE, json={"title": "Other"})
        assert (refused.status_code, refused.json()["code"]) == (409, "unreadable_file")
        assert f"`convstore repair {make_id(1)}`" in refused.json()["detail"]
