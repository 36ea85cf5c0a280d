"""What upstream's tests assert of leases and of lazy loading, seen over HTTP and in the files."""

from __future__ import annotations

import json
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.builders import make_conversation, make_event, make_id
from tests.conformance.conftest import SERVERS
from tests.conformance.upstream import Upstream, ids, upstream

pytestmark = pytest.mark.long

DEAD_PID = 2**31 - 1
OTHERS: dict[str, dict[str, Any]] = {
    "another host": {"owner_host": "some-other-host", "owner_pid": DEAD_PID},
    "no host and process": {},
    "a living process of this host": {"owner_host": socket.gethostname(), "owner_pid": os.getppid()},
}
FREE: dict[str, dict[str, Any]] = {
    "its time is over": {"owner_host": "some-other-host", "owner_pid": 1, "expires_at": 1.0},
    "its time is over, and it names no host": {"expires_at": 1.0},
}
IDLE, RUNNING = 1, 20
ACTION = {
    "kind": "ActionEvent",
    "source": "agent",
    "thought": [],
    "thinking_blocks": [],
    "action": {"kind": "FinishAction", "message": "a"},
    "tool_name": "finish",
    "tool_call_id": "call",
    "tool_call": {"id": "call", "name": "finish", "arguments": "{}", "origin": "completion"},
    "llm_response_id": "r",
}
RESULT = {
    "kind": "ObservationEvent",
    "source": "environment",
    "observation": {"kind": "FinishObservation", "content": [{"type": "text", "text": "a"}]},
    "action_id": make_event(1)["id"],
    "tool_name": "finish",
    "tool_call_id": "call",
}


def event(number: int, fields: dict[str, Any]) -> dict[str, Any]:
    made = make_event(number, **fields)
    del made["llm_message"]
    return made


PROMPT = event(0, {"kind": "SystemPromptEvent", "source": "agent", "tools": [], "dynamic_context": None}) | {
    "system_prompt": {"type": "text", "text": "You help."}
}
CRASHED: dict[str, tuple[str, list[dict[str, Any]], int]] = {
    "an action without a result": ("running", [event(1, ACTION)], 1),
    "an action with a result": ("running", [event(1, ACTION), event(2, RESULT)], 0),
    "no action": ("running", [], 0),
    "not running": ("idle", [event(1, ACTION)], 0),
}


def path_of(number: int) -> str:
    return f"/api/conversations/{UUID(make_id(number))}"


def lease_of(**fields: Any) -> dict[str, Any]:
    return {"owner_instance_id": "primary", "generation": 7, "expires_at": time.time() + 3600, **fields}


def fill(store: Path, work: Path) -> None:
    place = {"kind": "LocalWorkspace", "working_dir": str(work)}
    leases = [*OTHERS.values(), *FREE.values()]
    for number in range(1, 10):
        state = {"workspace": place, "execution_status": "idle"}
        messages = 2 if 1 < number < 2 + len(OTHERS) else 0  # agent-server refuses a message before its system prompt
        directory = make_conversation(store, number, meta={"workspace": place}, state=state, events=messages)
        if 1 < number < 2 + len(leases):
            (directory / "owner_lease.json").write_text(json.dumps(lease_of(**leases[number - 2])))
    for number, (status, events, _) in enumerate(CRASHED.values(), start=RUNNING):
        state = {"workspace": place, "execution_status": status}
        make_conversation(store, number, meta={"workspace": place}, state=state, events=[PROMPT, *events])


def lease(server: Upstream, path: str) -> dict[str, Any]:
    return dict(json.loads((server.files(path) / "owner_lease.json").read_bytes()))


def post(server: Upstream, path: str) -> int:
    said = {"role": "user", "content": [{"type": "text", "text": "hello"}]}
    return server.client.post(f"{path}/events", json=said).status_code


def test_starting_listing_and_counting_open_no_conversation(server: Upstream) -> None:
    path = path_of(IDLE)
    assert path.rpartition("/")[2] in ids(server.get("/api/conversations/search"))
    assert server.get("/api/conversations/count") >= 9
    assert server.get("/api/conversations/search?status=idle")["items"] != []
    assert sorted(one.name for one in server.files(path).iterdir()) == ["base_state.json", "events", "meta.json"]


def test_a_writer_has_a_lease_with_its_host_and_a_time(server: Upstream) -> None:
    path = server.create("a message")
    held = lease(server, path)
    assert (held["generation"], held["owner_host"]) == (1, socket.gethostname())
    assert held["expires_at"] > time.time()
    assert held["owner_instance_id"] != ""


def test_a_second_write_keeps_owner_and_generation(server: Upstream) -> None:
    path = server.create("a message")
    first = lease(server, path)
    server.send(path, "another")
    again = lease(server, path)
    names = ("owner_instance_id", "generation", "owner_host")
    assert [again[name] for name in names] == [first[name] for name in names]


@pytest.mark.parametrize("other", OTHERS)
def test_a_lease_of_another_owner_is_not_taken(server: Upstream, other: str) -> None:
    path = path_of(2 + list(OTHERS).index(other))
    before = lease(server, path)
    assert post(server, path) >= 400
    assert lease(server, path) == before
    assert len(list((server.files(path) / "events").glob("event-*"))) == 2


@pytest.mark.parametrize("free", FREE)
def test_a_lease_is_taken_with_the_next_generation(server: Upstream, free: str) -> None:
    path = path_of(2 + len(OTHERS) + list(FREE).index(free))
    assert post(server, path) == 200
    taken = lease(server, path)
    assert (taken["generation"], taken["owner_instance_id"] == "primary") == (8, False)


def test_who_lost_its_lease_writes_nothing_and_leaves_the_new_one(server: Upstream) -> None:
    path = server.create("a message")
    before = server.messages(path)
    robbed = lease_of(owner_host="some-other-host", owner_pid=1, generation=lease(server, path)["generation"] + 1)
    (server.files(path) / "owner_lease.json").write_text(json.dumps(robbed))
    assert post(server, path) >= 400
    assert lease(server, path) == robbed
    assert [one.name[12:48] for one in events_of(server, path) if "MessageEvent" in one.read_text()] == [
        one["id"] for one in before
    ]


def events_of(server: Upstream, path: str) -> list[Path]:
    return sorted((server.files(path) / "events").glob("event-*"))


def test_requests_at_once_open_a_conversation_once(server: Upstream) -> None:
    path = path_of(8)
    with ThreadPoolExecutor(8) as pool:
        reads = [pool.submit(server.client.get, f"{path}/events/search") for _ in range(4)]
        writes = [pool.submit(post, server, path) for _ in range(4)]
        assert [one.result().status_code for one in reads] == [200] * 4
        assert [one.result() for one in writes] == [200] * 4
    assert len(server.messages(path)) == 4
    assert lease(server, path)["generation"] == 1


def test_who_waits_to_open_does_not_bring_back_what_was_deleted(server: Upstream) -> None:
    path = path_of(9)
    with ThreadPoolExecutor(4) as pool:
        reads = [pool.submit(server.client.get, f"{path}/events/search") for _ in range(3)]
        deleted = pool.submit(server.client.delete, path)
        assert {one.result().status_code for one in reads} <= {200, 404}
        assert deleted.result().status_code == 200
    assert server.client.get(path).status_code == 404
    assert not (server.files(path) / "meta.json").exists()


def test_a_status_that_another_program_wrote_is_listed_and_counted(server: Upstream) -> None:
    path = path_of(IDLE)
    state = server.files(path) / "base_state.json"
    state.write_text(state.read_text().replace('"idle"', '"stuck"'))
    deadline = time.monotonic() + 60
    while server.get("/api/conversations/count?status=stuck") != 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    page = server.get("/api/conversations/search?status=stuck")
    assert [(one["id"], one["execution_status"]) for one in page["items"]] == [(path.rpartition("/")[2], "stuck")]
    listed = {one["id"]: one for one in server.get("/api/conversations/search")["items"]}
    assert listed[path.rpartition("/")[2]]["execution_status"] == "stuck"


def test_a_new_title_is_in_the_list_at_once(server: Upstream) -> None:
    path = server.create()
    assert server.get("/api/conversations/search?limit=1")["items"][0].get("title") is None
    server.client.patch(path, json={"title": "New"})
    assert server.get("/api/conversations/search?limit=1")["items"][0]["title"] == "New"


@pytest.mark.parametrize("name", CRASHED)
def test_what_a_crash_left_running_is_an_error_with_the_result_of_its_action(server: Upstream, name: str) -> None:
    status, _, errors = CRASHED[name]
    path = path_of(RUNNING + list(CRASHED).index(name))
    server.send(path, "go on")
    found = server.get(f"{path}/events/search?kind=AgentErrorEvent")["items"]
    assert [(one["tool_call_id"], one["parent_id"]) for one in found] == [("call", make_event(1)["id"])] * errors
    assert server.get(path)["execution_status"] == ("error" if status == "running" else "idle")


@pytest.mark.parametrize("kind", SERVERS)
def test_all_is_as_it_was_after_a_restart(tmp_path: Path, kind: str) -> None:
    with upstream(kind, tmp_path) as server:
        parent = server.create("first", "second", "third", tags={"a": "b"})
        child = server.create(parent_conversation_id=parent.rpartition("/")[2])
        events = server.messages(parent)
        server.client.patch(parent, json={"title": "Kept"})
        fork = server.client.post(f"{parent}/fork", json={"from_event_id": events[1]["id"]}).json()
        server.client.post(f"{parent}/navigate", json={"event_id": events[0]["id"]})
    with upstream(kind, tmp_path) as server:
        one, two = server.get(parent), server.get(f"/api/conversations/{fork['id']}")
        assert (one["title"], one["tags"], one["leaf_event_id"]) == ("Kept", {"a": "b"}, events[0]["id"])
        assert one["sub_conversation_ids"] == [child.rpartition("/")[2]]
        assert server.get(child)["parent_conversation_id"] == one["id"]
        assert (two["forked_from_conversation_id"], two["forked_from_event_id"]) == (one["id"], events[1]["id"])
        assert server.messages(parent) == events
