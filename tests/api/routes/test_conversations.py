"""Conversations over HTTP: search, count, one and several; create, update, delete, fork and navigate."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
from pydantic import SecretStr

from app import Settings
from app.model.ids import ConversationId, dashed
from tests.api.clients import walk_pages
from tests.builders import (
    NEW_CONVERSATION,
    make_conversation,
    make_event,
    make_id,
    make_message_event,
    make_meta,
    make_state,
    names_in,
    write_event,
)
from tests.conftest import serving

SEARCH = "/api/conversations/search"
COUNT = "/api/conversations/count"
ONE = f"/api/conversations/{make_id(1)}"
SKILLS = [{"name": "a skill", "content": "do it", "trigger": None}]


def created(hour: int) -> str:
    return f"2026-10-{1 + hour // 24:02d}T{hour % 24:02d}:00:00Z"


@pytest.fixture
async def client(root: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Nine conversations: the n-th was made at n o'clock, updated in the reverse order; each third is running."""
    for number in range(1, 10):
        times = {"created_at": created(number), "updated_at": created(100 - number)}
        status = "running" if number % 3 == 0 else "finished"
        make_conversation(root, number, meta=times, state={"execution_status": status})
    async with serving(Settings(store=root)) as client:
        yield client


async def ids(client: httpx.AsyncClient, path: str, **params: Any) -> list[int]:
    """Return the numbers of the conversations of all pages."""
    return [
        int(info["id"].replace("-", "")[-4:], 16)
        async for page in walk_pages(client, path, **params)
        for info in page["items"]
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 8, 9, 100])
@pytest.mark.parametrize(
    ("order", "first", "last"),
    [("CREATED_AT", 1, 9), ("CREATED_AT_DESC", 9, 1), ("UPDATED_AT", 9, 1), ("UPDATED_AT_DESC", 1, 9)],
)
async def test_pages_come_in_the_asked_order(
    client: httpx.AsyncClient, limit: int, order: str, first: int, last: int
) -> None:
    step = 1 if first < last else -1
    assert await ids(client, SEARCH, sort_order=order, limit=limit) == list(range(first, last + step, step))


async def test_the_newest_come_first_unless_asked_otherwise(client: httpx.AsyncClient) -> None:
    assert await ids(client, SEARCH) == [9, 8, 7, 6, 5, 4, 3, 2, 1]


async def test_a_page_is_last_when_it_holds_the_last_row(client: httpx.AsyncClient) -> None:
    assert (await client.get(SEARCH, params={"limit": 9})).json()["next_page_id"] is None
    assert (await client.get(SEARCH, params={"limit": 8})).json()["next_page_id"]


@pytest.mark.parametrize(
    ("status", "expected"), [("running", [9, 6, 3]), ("finished", [8, 7, 5, 4, 2, 1]), ("idle", [])]
)
async def test_a_status_filters_list_and_count(client: httpx.AsyncClient, status: str, expected: list[int]) -> None:
    assert await ids(client, SEARCH, status=status, limit=2) == expected
    assert (await client.get(COUNT, params={"status": status})).json() == len(expected)


async def test_unknown_parameters_are_ignored(client: httpx.AsyncClient) -> None:
    assert await ids(client, SEARCH, colour="x", cache="1") == [9, 8, 7, 6, 5, 4, 3, 2, 1]


async def test_a_store_without_conversations_is_an_empty_list(root: Path) -> None:
    async with serving(Settings(store=root)) as client:
        assert (await client.get(SEARCH)).json() == {"items": [], "next_page_id": None}
        assert (await client.get(COUNT)).json() == 0


async def test_several_are_found_in_the_order_asked_with_null_for_the_missing(client: httpx.AsyncClient) -> None:
    asked = [make_id(3), dashed(make_id(1)), make_id(77), make_id(3)]
    found = (await client.get("/api/conversations", params={"ids": asked})).json()
    assert [info and info["id"] for info in found] == [dashed(make_id(3)), dashed(make_id(1)), None, dashed(make_id(3))]


async def test_a_conversation_is_the_same_in_list_and_alone(client: httpx.AsyncClient) -> None:
    listed = (await client.get(SEARCH, params={"limit": 1})).json()["items"]
    alone = (await client.get(f"/api/conversations/{make_id(9)}")).json()
    several = (await client.get("/api/conversations", params={"ids": make_id(9)})).json()
    assert listed == several == [alone]


async def test_a_parent_lists_its_children_by_age(root: Path) -> None:
    for number, hour in ((1, 1), (2, 5), (3, 4)):
        parent = make_id(1) if number > 1 else None
        make_conversation(root, number, meta={"created_at": created(hour), "parent_conversation_id": parent})
    async with serving(Settings(store=root)) as client:
        infos = {info["id"]: info for info in (await client.get(SEARCH)).json()["items"]}
        alone = (await client.get(f"/api/conversations/{make_id(1)}")).json()
    one, two, three = (dashed(make_id(number)) for number in (1, 2, 3))
    assert [infos[i]["sub_conversation_ids"] for i in (one, two, three)] == [[three, two], [], []]
    assert [infos[i]["parent_conversation_id"] for i in (one, two, three)] == [None, one, one]
    assert alone == infos[one]


async def test_skills_come_only_when_asked_for(root: Path) -> None:
    agent = {"kind": "Agent", "llm": {"model": "m"}, "tools": [], "agent_context": {"skills": SKILLS}}
    make_conversation(root, state={"agent": agent})
    one = f"/api/conversations/{make_id(1)}"
    async with serving(Settings(store=root)) as client:
        for path, pick in ((SEARCH, "items"), (f"/api/conversations?ids={make_id(1)}", None), (one, None)):
            for include, expected in ((False, []), (True, SKILLS)):
                url = httpx.URL(path).copy_merge_params({"include_skills": str(include)})
                body = (await client.get(url)).json()
                info = body[pick][0] if pick else body[0] if isinstance(body, list) else body
                assert info["agent"]["agent_context"]["skills"] == expected, url


async def test_a_change_on_disk_is_seen_when_a_conversation_is_opened(client: httpx.AsyncClient, root: Path) -> None:
    state = root / make_id(1) / "base_state.json"
    fresh = state.with_name("fresh")
    fresh.write_bytes(orjson.dumps(make_state(make_id(1), execution_status="paused")))
    fresh.replace(state)
    info = (await client.get(f"/api/conversations/{make_id(1)}")).json()
    assert info["execution_status"] == "paused"
    assert (await client.get(COUNT, params={"status": "paused"})).json() == 1


async def test_a_new_directory_is_found_when_it_is_opened(client: httpx.AsyncClient, root: Path) -> None:
    make_conversation(root, 50, events=3)
    assert (await client.get(f"/api/conversations/{make_id(50)}")).json()["title"] == "A title"
    assert (await client.get(f"/api/conversations/{make_id(50)}/events/count")).json() == 3
    assert (await client.get(COUNT)).json() == 10


async def test_a_directory_that_is_gone_is_404_when_it_is_opened(client: httpx.AsyncClient, root: Path) -> None:
    (root / make_id(1)).rename(root / "elsewhere")
    assert (await client.get(f"/api/conversations/{make_id(1)}")).status_code == 404
    assert (await client.get(COUNT)).json() == 8


@pytest.mark.parametrize("directory", [make_id(2748).upper(), dashed(make_id(2748)).upper()])
async def test_a_directory_named_in_capitals_is_opened_after_a_change(root: Path, directory: str) -> None:
    path = make_conversation(root, 2748, directory=directory)
    async with serving(Settings(store=root)) as client:
        write_event(path, 2)
        assert (await client.get(f"/api/conversations/{make_id(2748)}/events/count")).json() == 3


async def test_a_link_to_a_directory_is_no_conversation(root: Path, tmp_path: Path) -> None:
    make_conversation(tmp_path, 1)
    (root / make_id(1)).symlink_to(tmp_path / make_id(1))
    async with serving(Settings(store=root)) as client:
        assert (await client.get(COUNT)).json() == 0
        assert (await client.get(f"/api/conversations/{make_id(1)}")).status_code == 404


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ([], ""),
        ([make_message_event(1, "hello")], ""),
        ([make_message_event(1, "mine", source="agent"), make_message_event(2, "yours")], "mine"),
        ([make_message_event(1, "early", source="agent"), make_event(2, kind="ActionEvent", source="agent",
          tool_name="finish", action={"kind": "FinishAction", "message": "all done"})], "all done"),
        ([make_event(1, kind="ActionEvent", source="agent", tool_name="terminal", action={"command": "ls"})], ""),
    ],
)  # fmt: skip
async def test_the_final_response_is_the_agent_s_last_word(
    root: Path, last: list[dict[str, Any]], expected: str
) -> None:
    make_conversation(root, events=last)
    async with serving(Settings(store=root)) as client:
        assert (await client.get(f"{ONE}/agent_final_response")).json() == {"response": expected}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"leaf_event_id": 0}, ""),
        ({"leaf_event_id": 1}, "A"),
        ({"leaf_event_id": 2}, ""),
        ({"leaf_event_id": 3}, "B"),
        ({"leaf_event_id": 4}, "A"),
        ({"leaf_event_id": 3, "execution_status": "running"}, "B"),
        ({"leaf_event_id": 0, "execution_status": "running"}, "A"),
        ({"leaf_event_id": None}, "A"),
        ({"leaf_event_id": None, "head_is_empty": True}, ""),
    ],
)
async def test_the_final_response_is_one_of_the_active_branch(root: Path, state: dict[str, Any], expected: str) -> None:
    question = make_event(0)
    first = make_message_event(1, "A", source="agent", parent_id=question["id"])
    again = make_event(2, parent_id=question["id"])
    second = make_message_event(3, "B", source="agent", parent_id=again["id"])
    log = [question, first, again, second, make_event(4, parent_id=first["id"])]
    leaf = state["leaf_event_id"]
    make_conversation(root, events=log, state=state | {"leaf_event_id": leaf if leaf is None else log[leaf]["id"]})
    async with serving(Settings(store=root)) as client:
        assert (await client.get(f"{ONE}/agent_final_response")).json() == {"response": expected}


async def test_the_final_response_may_be_older_than_many_of_another_branch(root: Path) -> None:
    first = make_message_event(0, "A", source="agent")
    others = [make_message_event(number, "B", source="agent", parent_id=first["id"]) for number in range(1, 103)]
    make_conversation(root, events=[first, *others], state={"leaf_event_id": first["id"]})
    async with serving(Settings(store=root)) as client:
        assert (await client.get(f"{ONE}/agent_final_response")).json() == {"response": "A"}


async def test_where_a_branch_cannot_be_followed_the_log_is_taken_for_one(root: Path) -> None:
    path = make_conversation(root, events=[make_message_event(0, "A", source="agent"), make_event(1), make_event(2)])
    write_event(path, 1).write_text("{")
    async with serving(Settings(store=root)) as client:
        assert (await client.get(f"{ONE}/agent_final_response")).json() == {"response": "A"}


def files_of(path: Path) -> str:
    return "".join(file.read_text() for file in path.rglob("*.json"))


async def test_a_conversation_is_created_once_with_its_tags_and_without_plain_secrets(root: Path) -> None:
    async with serving(Settings(store=root)) as client:
        made = await client.post("/api/conversations", json=NEW_CONVERSATION | {"conversation_id": make_id(9)})
        again = await client.post("/api/conversations", json=NEW_CONVERSATION | {"conversation_id": make_id(9)})
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
        made = await client.post("/api/conversations", json=NEW_CONVERSATION)
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
        ({"stuck_detection": "perhaps"}, 422),
        ({"agent": None, "agent_settings": {"agent_kind": "acp", "llm": {"model": "a"}}}, 422),
        ({"agent": None, "agent_settings": {"agent_kind": "other"}}, 422),
        ({"agent": None, "agent_settings": {"llm": {"model": "a", "temperature": "x"}}}, 422),
        ({"agent": None, "agent_settings": {"schema_version": 99}}, 422),
        ({"agent": {"kind": "Other", "llm": {"model": "a"}}}, 422),
        ({"agent": {"llm": {"model": "a", "temperature": "x"}}}, 422),
        ({"agent": {"llm": {"model": "a", "top_p": 2}}}, 422),
        ({"workspace": {"kind": "RemoteWorkspace", "working_dir": "/a"}}, 422),
        ({"confirmation_policy": {"kind": "Other"}}, 422),
        ({"security_analyzer": {"kind": "Other"}}, 422),
        ({"conversation_runtime": "docker"}, 422),
        ({"client_tools": [{"name": "terminal", "description": "a", "parameters": {"type": "object"}}]}, 422),
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
        answer = await client.post("/api/conversations", json=NEW_CONVERSATION | change)
    assert answer.status_code == status, answer.text
    assert "this one has 0" not in answer.text or change == {"title": ""}
    assert [name for name in names_in(root) if name != ".convstore"] == []


async def test_a_wrong_value_is_listed_with_its_place_as_agent_server_lists_it(root: Path) -> None:
    wrong = {"agent": {"llm": {"model": "a/model", "temperature": "x"}}}
    async with serving(Settings(store=root)) as client:
        answer = await client.post("/api/conversations", json=NEW_CONVERSATION | wrong)
        place = ["body", "agent", "llm", "temperature"]
        said = "Input should be a valid number, unable to parse string as a number"
        assert answer.json()["detail"] == [{"type": "float_parsing", "loc": place, "msg": said}]
        make_conversation(root)
        for method, path in (("PATCH", ONE), ("POST", f"{ONE}/fork")):
            detail = (await client.request(method, path, json={"tags": {"A": "b"}})).json()["detail"]
            assert [set(one) for one in detail] == [{"type", "loc", "msg"}]


async def test_a_parent_must_have_the_same_workspace(root: Path) -> None:
    workspace = {"kind": "LocalWorkspace", "working_dir": "/home/dev/project"}
    make_conversation(root, meta={"workspace": workspace})
    request = NEW_CONVERSATION | {"parent_conversation_id": make_id(1)}
    async with serving(Settings(store=root)) as client:
        other = await client.post("/api/conversations", json=request | {"workspace": {"working_dir": "/elsewhere"}})
        assert (other.status_code, other.json()["code"]) == (422, "parent_refused")
        assert "has another workspace" in other.json()["detail"]
        same = await client.post("/api/conversations", json=request | {"workspace": workspace})
        assert (same.status_code, same.json()["parent_conversation_id"]) == (201, dashed(ConversationId(make_id(1))))


async def test_acp_settings_make_an_agent_of_that_kind(root: Path) -> None:
    settings = {"agent_kind": "acp", "acp_server": "codex", "acp_model": "gpt", "acp_env": {"KEY": "plain"}}
    request = {name: value for name, value in NEW_CONVERSATION.items() if name != "agent"}
    async with serving(Settings(store=root)) as client:
        made = await client.post("/api/conversations", json=request | {"agent_settings": settings})
    agent = made.json()["agent"]
    assert (agent["kind"], agent["acp_server"], agent["acp_model"]) == ("ACPAgent", "codex", "gpt")
    assert agent["acp_command"][-1].startswith("@agentclientprotocol/codex-acp@")
    assert made.json()["current_model_id"] == "gpt"
    assert "plain" not in files_of(root)


@pytest.mark.parametrize(("status", "then"), [("finished", "idle"), ("stuck", "idle"), ("paused", "paused")])
async def test_a_message_makes_a_finished_or_stuck_conversation_idle(root: Path, status: str, then: str) -> None:
    make_conversation(root, state={"execution_status": status})
    async with serving(Settings(store=root)) as client:
        sent = await client.post(f"{ONE}/events", json={"content": [{"type": "text", "text": "go on"}]})
        assert (sent.status_code, sent.json()) == (200, {"success": True})
        assert (await client.get(ONE)).json()["execution_status"] == then
        assert (await client.get("/api/conversations/count", params={"status": then})).json() == 1


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


@pytest.mark.parametrize("method", ["PATCH", "POST"])
async def test_a_tag_that_is_no_text_for_utf_8_is_refused(root: Path, method: str) -> None:
    make_conversation(root)
    body, url = json.dumps({"tags": {"a": "\ud800"}}), ONE if method == "PATCH" else f"{ONE}/fork"
    async with serving(Settings(store=root)) as client:
        answer = await client.request(method, url, content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_conversation")


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


async def test_one_that_cannot_be_read_is_archived_and_its_title_is_409_with_what_to_do(root: Path) -> None:
    (make_conversation(root, 1) / "base_state.json").unlink()
    async with serving(Settings(store=root)) as client:
        assert (await client.patch(ONE, json={"archived": True})).status_code == 200
        assert (await client.get("/api/conversations/count?archived=true")).json() == 1
        refused = await client.patch(ONE, json={"title": "Other"})
        assert (refused.status_code, refused.json()["code"]) == (409, "unreadable_file")
        assert f"`convstore repair {make_id(1)}`" in refused.json()["detail"]


async def test_long_values_and_many_tags_find_what_they_show(root: Path) -> None:
    tags = {"l": "v" * 2000} | {f"k{number}": str(number) for number in range(3000)}
    path, model = "/" + "d" * 6000, "m" * 6000
    agent = {"kind": "A" * 6000, "llm": {"model": model}, "tools": []}
    workspace = {"kind": "LocalWorkspace", "working_dir": path}
    make_conversation(root, 1, state={"tags": tags, "workspace": workspace, "agent": agent})
    make_conversation(root, 2)
    async with serving(Settings(store=root)) as client:
        facets = (await client.get("/api/conversations/facets?by=workspace,model,agent_kind")).json()["facets"]
        shown = {(name, one["value"]) for name in facets for one in facets[name]["values"] if len(one["value"]) > 100}
        for name, value in {*shown, ("workspace", path), ("model", model), ("agent_kind", "A" * 6000)}:
            assert (await client.get(COUNT, params={name: value})).json() == 1
        for tag in ("k2999", "k2999:2999", f"l:{'v' * 2000}"):
            assert (await client.get(COUNT, params={"tag": tag})).json() == 1
    assert len(shown) == 3


@pytest.mark.parametrize("pasted", [f"{{{dashed(make_id(1))}}}", f" {make_id(1)} ", f"urn:uuid:{dashed(make_id(1))}"])
async def test_a_pasted_id_is_understood(client: httpx.AsyncClient, pasted: str) -> None:
    answer = await client.get(f"/api/conversations/{quote(pasted)}")
    assert (answer.status_code, answer.json()["id"]) == (200, dashed(make_id(1)))


PATHS = ["/p", "/p/", "/p/a", "/p-old", "/e\u0301/x", "/\u00e9", "/" + "d" * 20_000]


async def test_conversations_are_found_by_directory_however_it_is_spelt(root: Path) -> None:
    for number, path in enumerate(PATHS):
        workspace = {"kind": "LocalWorkspace", "working_dir": path}
        events = [make_message_event(0, "hello")]
        make_conversation(root, number, state={"workspace": workspace}, events=events)
    asked: dict[str, set[int]] = {
        "workspace=/p": {0, 1},
        "workspace=/p/": {0, 1},
        "workspace=/p&workspace=/p-old": {0, 1, 3},
        f"workspace={quote(PATHS[-1])}": {6},
        "workspace_under=/p": {0, 1, 2},
        "workspace_under=/p/": {0, 1, 2},
        f"workspace_under={quote(PATHS[5])}": {4, 5},
        "workspace_under=/p&workspace=/p/a&workspace=/p-old": {2},
        "workspace_under=/": set(range(7)),
        "workspace_under=/nowhere": set(),
    }
    async with serving(Settings(store=root)) as client:
        for query, numbers in asked.items():
            wanted = {dashed(ConversationId(make_id(number))) for number in numbers}
            listed = (await client.get(f"/api/conversations/search?{query}")).json()["items"]
            assert {item["id"] for item in listed} == wanted, query
            assert (await client.get(f"/api/conversations/count?{query}")).json() == len(wanted)
            hits = (await client.get(f"/api/messages/search?q=hello&{query}")).json()["items"]
            assert {hit["conversation_id"] for hit in hits} == wanted, query
            facets = (await client.get(f"/api/conversations/facets?by=workspace&{query}")).json()
            assert (
                sum(one["count"] for one in facets["facets"]["workspace"]["values"]) == facets["count"] == len(wanted)
            )
            for one in facets["facets"]["workspace"]["values"]:
                again = await client.get("/api/conversations/count", params={"workspace": one["value"]})
                assert again.json() >= one["count"]
        tagged = {"filter": {"workspace_under": "/p", "workspace": ["/p/", "/p/a"]}, "set": {"area": "p"}}
        assert (await client.post("/api/conversations/bulk/tag", json=tagged)).json()["matched"] == 3


async def test_children_whose_parent_was_deleted_are_found(root: Path) -> None:
    parents = [None, make_id(0), make_id(1), make_id(77), make_id(4)]
    for number, parent in enumerate(parents):
        make_conversation(root, number, meta={"parent_conversation_id": parent})

    async def find(client: httpx.AsyncClient, orphaned: str) -> set[int]:
        items = (await client.get(f"/api/conversations/search?orphaned={orphaned}")).json()["items"]
        counted = (await client.get(f"/api/conversations/count?orphaned={orphaned}")).json()
        assert counted == len(items)
        ids = [item["id"].replace("-", "") for item in items]
        return {number for number in range(5) if make_id(number) in ids}

    async with serving(Settings(store=root)) as client:
        assert (await find(client, "true"), await find(client, "false")) == ({3}, {0, 1, 2, 4})
        assert (await client.delete(f"/api/conversations/{make_id(0)}")).status_code == 200
        assert (await find(client, "true"), await find(client, "false")) == ({1, 3}, {2, 4})
        assert (await client.post(f"/api/conversations/{make_id(0)}/restore")).status_code == 200
        assert await find(client, "true") == {3}


async def test_a_short_row_has_what_a_list_shows(root: Path) -> None:
    errors = [
        make_event(1, kind="AgentErrorEvent", source="agent", error="no"),
        make_event(2, kind="ConversationErrorEvent", source="environment", code="c", detail="d"),
    ]
    usage = {"accumulated_cost": 0.5, "accumulated_token_usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    make_conversation(
        root,
        1,
        meta=make_meta(make_id(1), title="One"),
        state=make_state(make_id(1), tags={"a": "b"}, stats={"usage_to_metrics": {"agent": usage}}),
        events=[make_message_event(0, "Fix it"), *errors],
    )
    (root / make_id(1) / "convstore.json").write_text('{"pinned": true}')
    make_conversation(root, 2, meta=make_meta(make_id(2), parent_conversation_id=make_id(1)))
    async with serving(Settings(store=root)) as client:
        full = (await client.get(f"/api/conversations/{make_id(1)}")).json()
        for path in ("search?view=row&top_level=true", "search?view=row&q=fix&sort_order=RELEVANCE"):
            [row] = (await client.get(f"/api/conversations/{path}")).json()["items"]
            assert row == {
                "id": full["id"],
                "title": "One",
                "preview": "Fix it",
                "status": full["execution_status"],
                "workspace": full["workspace"]["working_dir"],
                "model": full["agent"]["llm"]["model"],
                "tags": {"a": "b"},
                "cost": 0.5,
                "tokens": 10,
                "event_count": 3,
                "error_count": 2,
                "children": 1,
                "created_at": full["created_at"],
                "updated_at": full["updated_at"],
                "last_event_at": full["last_event_at"],
                "archived": False,
                "pinned": True,
                "unreadable": None,
                "owner": None,
                "parent": None,
                "forked_from": None,
            }, path
        changes = (await client.get("/api/changes?view=row")).json()["items"]
        assert row in [one["conversation"] for one in changes]
        assert all(len(orjson.dumps(one["conversation"])) < 700 for one in changes)


async def test_short_rows_are_paged_as_whole_ones(client: httpx.AsyncClient) -> None:
    path = "/api/conversations/search"
    full = [one["id"] async for page in walk_pages(client, path, limit=2) for one in page["items"]]
    short = [one["id"] async for page in walk_pages(client, path, limit=2, view="row") for one in page["items"]]
    assert short == full


async def test_two_conversations_are_compared_in_the_order_asked(root: Path) -> None:
    make_conversation(root, 1, events=[make_message_event(0, "ask"), make_message_event(1, "done", source="agent")])
    make_conversation(root, 2, events=0)
    async with serving(Settings(store=root)) as client:
        compared = await client.get(f"/api/conversations/compare?a={make_id(2)}&b={make_id(1)}")
        first, second = compared.json()["items"]
        assert first["conversation"] == (await client.get(f"/api/conversations/{make_id(2)}")).json()
        assert second["outline"]["total"] == 2
        assert (first["final_response"], second["final_response"]) == ("", "done")
        unknown = await client.get(f"/api/conversations/compare?a={make_id(2)}&b={make_id(9)}")
    assert unknown.status_code == 404


async def test_facets_sum_up_the_cost_and_tokens_of_each_value(root: Path) -> None:
    spent: tuple[tuple[float, int, str, dict[str, str]], ...] = (
        (0.5, 10, "idle", {"area": "a"}),
        (0.25, 5, "idle", {"area": "b", "x": "b"}),
        (2.0, 1, "error", {}),
    )
    for number, (cost, tokens, status, tags) in enumerate(spent, 1):
        usage = {"accumulated_cost": cost, "accumulated_token_usage": {"prompt_tokens": tokens, "completion_tokens": 1}}
        state = {"stats": {"usage_to_metrics": {"agent": usage}}, "execution_status": status, "tags": tags}
        make_conversation(root, number, state=state)
    async with serving(Settings(store=root)) as client:

        async def ask(query: str) -> dict[str, list[dict[str, Any]]]:
            answer = await client.get(f"/api/conversations/facets?{query}")
            assert answer.status_code == 200, answer.text
            return {name: one["values"] for name, one in answer.json()["facets"].items()}

        both = await ask("by=status,tag,tag:area,month&sum=cost,tokens")
        narrow = await ask("by=status&sum=cost&cost__lt=0.4&limit=1")
        assert "cost" not in (await ask("by=status"))["status"][0]
        assert (await client.get("/api/conversations/facets?by=status&sum=events")).status_code == 422
    assert both == {
        "status": [
            {"value": "idle", "count": 2, "cost": 0.75, "tokens": 17},
            {"value": "error", "count": 1, "cost": 2.0, "tokens": 2},
        ],
        "tag": [
            {"value": "area", "count": 2, "cost": 0.75, "tokens": 17},
            {"value": "x", "count": 1, "cost": 0.25, "tokens": 6},
        ],
        "tag:area": [
            {"value": "a", "count": 1, "cost": 0.5, "tokens": 11},
            {"value": "b", "count": 1, "cost": 0.25, "tokens": 6},
        ],
        "month": [{"value": "2026-10", "count": 3, "cost": 2.75, "tokens": 19}],
    }
    assert narrow == {"status": [{"value": "idle", "count": 1, "cost": 0.25}]}
