"""What upstream's tests assert of creates, updates, deletions, forks, HEAD, relatives, tags and messages."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.conformance.upstream import AGENT, MISSING, NO_EVENT, Upstream, ids

pytestmark = pytest.mark.long

GONE = f"/api/conversations/{MISSING}"
ACP = {"kind": "ACPAgent", "acp_command": ["echo", "test"]}
SETTINGS = {"agent_kind": "openhands", "llm": {"model": "openai/settings", "usage_id": "agent"}}
TOOL = {"name": "terminal", "description": "d", "parameters": {"type": "object", "properties": {}}}


def made(server: Upstream, **fields: Any) -> dict[str, Any]:
    """Return the conversation that a request creates; a field that is None is left out of the request."""
    request = {name: value for name, value in server.new(**fields).items() if value is not None}
    answer = server.client.post("/api/conversations", json=request)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_create_is_201_with_the_conversation(server: Upstream) -> None:
    new = made(server)
    assert (new["execution_status"], new["agent"]["llm"]["model"]) == ("idle", "openai/none")
    assert new["id"] == server.get(f"/api/conversations/{new['id']}")["id"]


def test_a_create_with_an_id_takes_it_and_a_second_one_is_200(server: Upstream) -> None:
    wanted = str(uuid4())
    request = server.new(conversation_id=wanted)
    first, second = (server.client.post("/api/conversations", json=request) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"] == wanted


def test_a_create_needs_no_kind_of_an_agent_with_a_model(server: Upstream) -> None:
    agent = {"llm": {"model": "openai/none", "usage_id": "agent"}, "tools": [{"name": "terminal"}]}
    new = made(server, agent=agent)
    assert (new["agent"]["kind"], new["agent"]["tools"][0]["name"]) == ("Agent", "terminal")


def test_a_create_accepts_the_settings_of_an_agent(server: Upstream) -> None:
    new = made(server, agent=None, agent_settings=SETTINGS)
    assert (new["agent"]["kind"], new["agent"]["llm"]["model"]) == ("Agent", "openai/settings")
    assert "agent_settings" not in new


def test_settings_without_tools_get_the_default_tools(server: Upstream) -> None:
    new = made(server, agent=None, agent_settings=SETTINGS)
    assert {"terminal", "file_editor", "task_tracker"} <= {tool["name"] for tool in new["agent"]["tools"]}


def test_a_create_accepts_an_acp_agent(server: Upstream) -> None:
    agent = made(server, agent=ACP)["agent"]
    assert (agent["kind"], agent["acp_command"]) == ("ACPAgent", ["echo", "test"])


def test_a_create_accepts_the_settings_of_an_acp_agent(server: Upstream) -> None:
    settings = {"agent_kind": "acp", "acp_server": "custom", "acp_command": ["echo"], "acp_model": "m"}
    agent = made(server, agent=None, agent_settings=settings)["agent"]
    assert (agent["kind"], agent["acp_command"], agent["acp_model"]) == ("ACPAgent", ["echo"], "m")


def test_an_agent_comes_before_the_settings_of_one(server: Upstream) -> None:
    assert made(server, agent_settings={"agent_kind": "invalid"})["agent"]["kind"] == "Agent"


@pytest.mark.parametrize(
    "request_fields",
    [
        {"agent": None, "agent_settings": {"agent_kind": "invalid"}},
        {"agent": None, "agent_settings": "no settings"},
        {"agent": None},
        {"agent": {"acp_command": ["echo", "test"]}},
        {"workspace": None},
        {"tags": {"INVALID-KEY": "a"}},
        {"tags": {"key": "x" * 257}},
        {"conversation_id": "no-id"},
        {"max_iterations": 0},
        {"client_tools": [TOOL]},
        {"initial_message": {"role": "nobody"}},
        {"confirmation_policy": {"kind": "Other"}},
    ],
)
def test_a_bad_create_is_422_and_makes_nothing(server: Upstream, request_fields: dict[str, Any]) -> None:
    before = server.get("/api/conversations/count")
    request = {name: value for name, value in server.new(**request_fields).items() if value is not None}
    assert server.client.post("/api/conversations", json=request).status_code == 422
    assert server.get("/api/conversations/count") == before


def stored(server: Upstream, path: str, name: str) -> Any:
    return json.loads((server.files(path) / "meta.json").read_bytes())[name]


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("tool_module_qualnames", {"a": "b.c"}, {"a": "b.c"}),
        ("tool_module_qualnames", None, {}),
        ("autotitle", None, True),
        ("autotitle", False, False),
    ],
)
def test_a_field_of_a_create_is_kept_or_has_its_default(server: Upstream, name: str, given: Any, kept: Any) -> None:
    new = made(server, **{name: given})
    assert stored(server, f"/api/conversations/{new['id']}", name) == kept


@pytest.mark.parametrize("policy", ["NeverConfirm", "AlwaysConfirm"])
def test_a_create_keeps_its_confirmation_policy(server: Upstream, policy: str) -> None:
    assert made(server, confirmation_policy={"kind": policy})["confirmation_policy"]["kind"] == policy


def test_a_create_has_its_tags_or_none(server: Upstream) -> None:
    assert made(server, tags={"env": "prod", "team": "infra"})["tags"] == {"env": "prod", "team": "infra"}
    assert made(server)["tags"] == {}


def test_a_create_shows_no_secret(server: Upstream) -> None:
    secret = {"TOKEN": {"kind": "StaticSecret", "value": "sk-hidden-value"}}
    agent = AGENT | {"llm": AGENT["llm"] | {"api_key": "sk-hidden-value"}}  # type: ignore[operator]
    answer = server.client.post("/api/conversations", json=server.new(agent=agent, secrets=secret))
    assert answer.status_code == 201
    assert "sk-hidden-value" not in answer.text


@pytest.mark.parametrize("title", ["A new title", "  stripped  ", "x" * 200])
def test_a_title_is_set_and_stripped(server: Upstream, title: str) -> None:
    path = server.create()
    assert server.client.patch(path, json={"title": title}).json() == {"success": True}
    assert server.get(path)["title"] == title.strip()
    assert stored(server, path, "title") == title.strip()


@pytest.mark.parametrize("title", ["", "x" * 201])
def test_a_bad_title_is_422(server: Upstream, title: str) -> None:
    assert server.client.patch(server.create(), json={"title": title}).status_code == 422


def test_tags_are_replaced_and_the_title_stays(server: Upstream) -> None:
    path = server.create(tags={"a": "1", "b": "2"})
    assert server.client.patch(path, json={"title": "T"}).json() == {"success": True}
    assert server.client.patch(path, json={"tags": {"env": "staging"}}).json() == {"success": True}
    assert (server.get(path)["tags"], server.get(path)["title"]) == ({"env": "staging"}, "T")


def test_title_and_tags_are_set_together(server: Upstream) -> None:
    path = server.create()
    assert server.client.patch(path, json={"title": "N", "tags": {"env": "prod"}}).json() == {"success": True}
    assert (server.get(path)["tags"], server.get(path)["title"]) == ({"env": "prod"}, "N")


def test_several_updates_keep_the_last(server: Upstream) -> None:
    path = server.create()
    for title in ("First", "Second", "Third"):
        assert server.client.patch(path, json={"title": title}).json() == {"success": True}
    assert server.get(path)["title"] == "Third"


def test_an_update_changes_the_time_of_the_last_update(server: Upstream) -> None:
    path = server.create()
    before = server.get(path)["updated_at"]
    server.client.patch(path, json={"title": "New"})
    assert server.get(path)["updated_at"] > before


def test_a_deleted_conversation_is_gone_from_all_answers(server: Upstream) -> None:
    path = server.create("a message")
    one = path.rpartition("/")[2]
    assert server.client.delete(path).json() == {"success": True}
    assert server.client.get(path).status_code == 404
    assert server.client.get(f"{path}/events/search").status_code == 404
    assert server.get(f"/api/conversations?ids={one}") == [None]
    assert one not in ids(server.get("/api/conversations/search"))
    assert not server.files(path).exists()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", ""),
        ("POST", "/fork"),
        ("POST", "/navigate"),
        ("POST", "/events"),
        ("POST", "/run"),
        ("POST", "/pause"),
        ("POST", "/secrets"),
        ("POST", "/confirmation_policy"),
        ("POST", "/security_analyzer"),
        ("POST", "/switch_profile"),
        ("POST", "/switch_llm"),
        ("POST", "/load_plugin"),
        ("POST", "/goal"),
        ("POST", "/goal/stop"),
        ("POST", "/goal/resume"),
        ("POST", "/switch_acp_model"),
    ],
)
def test_an_action_on_no_conversation_is_404(server: Upstream, method: str, path: str) -> None:
    bodies: dict[str, Any] = {
        "/secrets": {"secrets": {}},
        "/confirmation_policy": {"policy": {"kind": "NeverConfirm"}},
        "/security_analyzer": {"security_analyzer": None},
        "/switch_profile": {"profile_name": "a"},
        "/switch_llm": {"llm": {"model": "openai/none", "usage_id": "a"}},
        "/load_plugin": {"plugin_ref": "a@b"},
        "/goal": {"objective": "a"},
        "/switch_acp_model": {"model": "a"},
        "/events": {"role": "user", "content": [{"type": "text", "text": "a"}]},
        "/navigate": {"event_id": None},
    }
    answer = server.client.request(method, GONE + path, json=bodies.get(path, {} if method == "POST" else None))
    assert answer.status_code == 404, answer.text


def test_no_route_makes_a_title(server: Upstream) -> None:
    paths = server.get("/openapi.json")["paths"]
    assert "/api/conversations/{conversation_id}/generate_title" not in paths
    assert "/api/conversations/{conversation_id}/fork" in paths


def test_a_fork_has_all_events_and_an_id_of_its_own(server: Upstream) -> None:
    path = server.create("first", "second")
    fork = server.client.post(f"{path}/fork", json={})
    assert fork.status_code == 201
    info = fork.json()
    assert (info["forked_from_conversation_id"], info.get("forked_from_event_id")) == (path.rpartition("/")[2], None)
    copy = server.messages(f"/api/conversations/{info['id']}")
    assert [one["id"] for one in copy] == [one["id"] for one in server.messages(path)]


def test_a_fork_from_an_event_ends_with_it_and_the_source_stays(server: Upstream) -> None:
    path = server.create("first", "second", "third")
    events = server.messages(path)
    info = server.client.post(f"{path}/fork", json={"from_event_id": events[1]["id"]}).json()
    copy = f"/api/conversations/{info['id']}"
    assert info["forked_from_event_id"] == events[1]["id"]
    assert [one["id"] for one in server.messages(copy)] == [one["id"] for one in events[:2]]
    assert server.messages(path) == events


def test_a_fork_takes_an_id_a_title_and_tags(server: Upstream) -> None:
    path, wanted = server.create("a"), str(uuid4())
    info = server.client.post(f"{path}/fork", json={"id": wanted, "title": "A fork", "tags": {"k": "v"}}).json()
    assert (info["id"], info["title"], info["tags"]) == (wanted, "A fork", {"k": "v"})


def test_a_fork_with_a_taken_id_is_409_and_changes_nothing(server: Upstream) -> None:
    path, other = server.create("a"), server.create()
    before = (server.files(other) / "meta.json").read_bytes()
    answer = server.client.post(f"{path}/fork", json={"id": other.rpartition("/")[2]})
    assert (answer.status_code, (server.files(other) / "meta.json").read_bytes()) == (409, before)


def test_a_fork_from_no_event_is_404_and_leaves_nothing(server: Upstream) -> None:
    path = server.create("a")
    before = {one.name for one in server.store.iterdir()}
    assert server.client.post(f"{path}/fork", json={"from_event_id": NO_EVENT}).status_code == 404
    assert {one.name for one in server.store.iterdir()} == before


@pytest.mark.parametrize("to_nothing", [False, True])
def test_navigating_moves_head_and_removes_no_event(server: Upstream, *, to_nothing: bool) -> None:
    path = server.create("first", "second", "third")
    events = server.messages(path)
    target = None if to_nothing else events[0]["id"]
    answer = server.client.post(f"{path}/navigate", json={"event_id": target})
    assert (answer.status_code, answer.json()["id"]) == (200, path.rpartition("/")[2])
    assert answer.json().get("leaf_event_id") == server.get(path).get("leaf_event_id") == target
    assert server.messages(path) == events


def test_navigating_to_no_event_is_404(server: Upstream) -> None:
    assert server.client.post(f"{server.create('a')}/navigate", json={"event_id": NO_EVENT}).status_code == 404


def test_a_message_after_navigating_begins_a_branch(server: Upstream) -> None:
    path = server.create("first", "second")
    first = server.messages(path)[0]["id"]
    server.client.post(f"{path}/navigate", json={"event_id": first})
    server.send(path, "another")
    assert server.messages(path)[-1]["parent_id"] == first


def test_a_child_names_its_parent_and_the_parent_its_children(server: Upstream) -> None:
    parent = server.create()
    wanted = [server.create(parent_conversation_id=parent.rpartition("/")[2]) for _ in range(2)]
    assert sorted(server.get(parent)["sub_conversation_ids"]) == sorted(one.rpartition("/")[2] for one in wanted)
    assert server.get(parent).get("parent_conversation_id") is None
    for child in wanted:
        assert server.get(child)["parent_conversation_id"] == parent.rpartition("/")[2]
        assert server.get(child)["sub_conversation_ids"] == []


def test_a_list_shows_parents_and_children(server: Upstream) -> None:
    parent = server.create().rpartition("/")[2]
    child = server.create(parent_conversation_id=parent).rpartition("/")[2]
    listed = {one["id"]: one for one in server.get("/api/conversations/search")["items"]}
    assert listed[parent]["sub_conversation_ids"] == [child]
    assert listed[child]["parent_conversation_id"] == parent


def test_a_deleted_child_leaves_its_parents_list(server: Upstream) -> None:
    parent = server.create()
    one, other = (server.create(parent_conversation_id=parent.rpartition("/")[2]) for _ in range(2))
    server.client.delete(one)
    assert server.get(parent)["sub_conversation_ids"] == [other.rpartition("/")[2]]


def test_a_child_outlives_its_parent_and_still_names_it(server: Upstream) -> None:
    parent = server.create()
    child = server.create(parent_conversation_id=parent.rpartition("/")[2])
    server.client.delete(parent)
    assert server.get(child)["parent_conversation_id"] == parent.rpartition("/")[2]


def test_a_parent_that_does_not_exist_is_422(server: Upstream) -> None:
    answer = server.client.post("/api/conversations", json=server.new(parent_conversation_id=MISSING))
    assert (answer.status_code, MISSING in answer.text) == (422, True)


def test_a_conversation_that_is_its_own_parent_is_422(server: Upstream) -> None:
    one = str(uuid4())
    request = server.new(conversation_id=one, parent_conversation_id=one)
    assert server.client.post("/api/conversations", json=request).status_code == 422


def test_a_parent_in_another_workspace_is_422(server: Upstream) -> None:
    parent = server.create().rpartition("/")[2]
    elsewhere = {"kind": "LocalWorkspace", "working_dir": str(server.work / "elsewhere")}
    answer = server.client.post(
        "/api/conversations", json=server.new(parent_conversation_id=parent, workspace=elsewhere)
    )
    assert answer.status_code == 422


@pytest.mark.parametrize("fields", [{}, {"run": False}])
def test_a_message_is_appended_and_nothing_runs(server: Upstream, fields: dict[str, Any]) -> None:
    path = server.create()
    said = {"role": "user", "content": [{"type": "text", "text": "hello"}], **fields}
    assert server.client.post(f"{path}/events", json=said).json() == {"success": True}
    (event,) = server.messages(path)
    assert (event["source"], event["llm_message"]["content"][0]["text"]) == ("user", "hello")
    assert server.get(path)["execution_status"] == "idle"


def test_a_message_may_have_texts_and_images(server: Upstream) -> None:
    path = server.create()
    content: list[dict[str, Any]] = [
        {"type": "text", "text": "look"},
        {"type": "image", "image_urls": ["https://a/b.jpg"]},
    ]
    server.client.post(f"{path}/events", json={"role": "user", "content": content})
    (event,) = server.messages(path)
    for part, given in zip(event["llm_message"]["content"], content, strict=True):
        assert part.items() >= given.items()


@pytest.mark.parametrize(
    "message", [{"role": "nobody", "content": []}, {"content": "a text"}, {"content": [{"type": "video"}]}, []]
)
def test_a_bad_message_is_422_and_appends_nothing(server: Upstream, message: Any) -> None:
    path = server.create()
    assert server.client.post(f"{path}/events", json=message).status_code == 422
    assert server.messages(path) == []


def test_a_first_message_is_in_the_log_of_the_new_conversation(server: Upstream) -> None:
    first = {"role": "user", "content": [{"type": "text", "text": "hello"}], "run": False}
    path = server.create(initial_message=first)
    assert [one["llm_message"]["content"][0]["text"] for one in server.messages(path)] == ["hello"]
