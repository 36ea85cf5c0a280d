"""What upstream's tests assert of keys, origins, errors, health, the server's facts, and downloads of a trajectory."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.builders import make_conversation, make_event, make_id
from tests.conformance.upstream import AGENT, SECRET, Upstream, upstream

pytestmark = pytest.mark.long

PROTECTED = ["/api/conversations/count", "/api/tools/", "/api/file/download?path=/test.txt", "/api/settings"]
OPEN = ["/alive", "/health", "/ready", "/server_info"]
PLANTED = ["sk-plain-main-0123456789", "sk-plain-condenser-98765", "gAAAAABencrypted_blob", "gAAAAABregistry_blob"]
KEYS = {"model": "a/model", "api_key": PLANTED[0]}
PLANTED_AGENT = {
    "kind": "Agent",
    "llm": KEYS,
    "tools": [],
    "condenser": {"kind": "LLMSummarizingCondenser", "llm": {"model": "a/small", "api_key": PLANTED[1]}},
}


def fill(store: Path, work: Path) -> None:
    place = {"kind": "LocalWorkspace", "working_dir": str(work)}
    told = make_event(1, kind="ConversationStateUpdateEvent", key="full_state", value={"agent": PLANTED_AGENT})
    del told["llm_message"]
    state = {
        "workspace": place,
        "execution_status": "idle",
        "agent": PLANTED_AGENT | {"llm": KEYS | {"aws_secret_access_key": PLANTED[2]}},
        "secret_registry": {"secret_sources": {"T": {"kind": "StaticSecret", "value": PLANTED[3]}}},
    }
    make_conversation(store, 1, meta={"workspace": place}, state=state, events=[make_event(0), told])


def ask(server: Upstream, path: str, **headers: str) -> httpx.Response:
    """Ask without the key."""
    with httpx.Client(base_url=server.client.base_url, timeout=60) as client:
        return client.get(path, headers=headers)


@pytest.mark.parametrize("path", PROTECTED)
def test_what_is_protected_needs_the_key(server: Upstream, path: str) -> None:
    assert ask(server, path).status_code == 401
    assert ask(server, path, **{"X-Session-API-Key": "wrong"}).status_code == 401
    assert ask(server, path, **{"X-Session-API-Key": SECRET}).status_code != 401


@pytest.mark.parametrize("path", OPEN)
def test_what_is_open_needs_no_key(server: Upstream, path: str) -> None:
    assert ask(server, path).status_code == 200


@pytest.mark.parametrize("name", ["X-Session-API-Key", "x-session-api-key", "X-SESSION-API-KEY", "x-Session-Api-Key"])
def test_the_name_of_the_header_may_have_any_case(server: Upstream, name: str) -> None:
    assert ask(server, "/api/conversations/count", **{name: SECRET}).status_code == 200


def test_the_case_of_the_key_matters(server: Upstream) -> None:
    assert ask(server, "/api/conversations/count", **{"X-Session-API-Key": SECRET.upper()}).status_code == 401


def test_a_preflight_needs_no_key(server: Upstream) -> None:
    headers = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
    with httpx.Client(base_url=server.client.base_url) as client:
        assert client.options("/api/conversations", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:3000", True),
        ("http://127.0.0.1:5173", True),
        ("https://attacker.example.com", False),
        ("null", False),
    ],
)
def test_local_pages_are_allowed_and_others_are_not(server: Upstream, origin: str, *, allowed: bool) -> None:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-session-api-key",
    }
    answer = server.client.options("/api/conversations", headers=headers)
    assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)


def test_the_session_route_for_workspaces_is_204(server: Upstream) -> None:
    assert server.client.post("/api/auth/workspace-session").status_code == 204
    assert server.client.delete("/api/auth/workspace-session").status_code == 204


def test_the_api_describes_itself(server: Upstream) -> None:
    document = server.get("/openapi.json")
    assert {"openapi", "paths"} <= document.keys()


@pytest.mark.parametrize("path", ["/alive", "/health"])
def test_a_living_server_says_ok(server: Upstream, path: str) -> None:
    assert "ok" in ask(server, path).text.lower()


def test_the_server_says_its_version_and_tools(server: Upstream) -> None:
    facts = server.get("/server_info")
    assert facts["version"] == facts["sdk_version"] == "1.58.2"
    assert isinstance(facts["usable_tools"], list)
    assert isinstance(facts["capabilities"], list)
    assert facts["uptime"] >= 0


NO_MODEL = {
    "agent": AGENT | {"llm": {"api_key": "sk-super-secret-key"}},
    "env": {"PROVIDER_KEY": "sk-super-secret-key"},
}
FAILING_THERE: list[dict[str, Any]] = [
    {"agent": {"kind": "Agent", "llm": {"model": 5, "api_key": "sk-super-secret-key"}}},
    {"secrets": {"T": {"kind": "Other", "value": "sk-super-secret-key"}}},
]


def test_a_refused_request_names_places_and_no_secret(server: Upstream) -> None:
    require_refusal(server, NO_MODEL)


@pytest.mark.parametrize("fields", FAILING_THERE)
def test_a_request_that_agent_server_fails_at_is_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    """agent-server 1.58.2 answers 500."""
    with upstream("convstore", tmp_path) as server:
        require_refusal(server, fields)


def require_refusal(server: Upstream, fields: dict[str, Any]) -> None:
    answer = server.client.post("/api/conversations", json=server.new(**fields))
    assert (answer.status_code, "sk-super-secret-key" in answer.text) == (422, False)
    assert all(one.keys() >= {"type", "loc", "msg"} for one in answer.json()["detail"])
    assert answer.json()["detail"] != []


@pytest.mark.parametrize("body", ["this is not json", "", "[1"])
def test_a_body_that_is_no_json_is_422(server: Upstream, body: str) -> None:
    answer = server.client.post("/api/conversations", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, "detail" in answer.json()) == (422, True)


def test_an_unknown_route_is_404_with_a_detail(server: Upstream) -> None:
    answer = server.client.get("/api/no-such-route")
    assert (answer.status_code, "detail" in answer.json()) == (404, True)


PATHS = ["/api/file/download-trajectory/{0}", "/api/conversations/{0}/file/download-trajectory/{0}"]


@pytest.mark.parametrize("path", PATHS)
def test_a_trajectory_is_a_zip_of_the_files(server: Upstream, path: str) -> None:
    answer = server.client.get(path.format(make_id(1)))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/octet-stream")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = {one.rpartition("/")[2] for one in archive.namelist()}
        events = {one for one in names if one.startswith("event-")}
        (meta,) = [one for one in archive.namelist() if one.endswith("/meta.json")]
        assert json.loads(archive.read(meta))["title"] == "A title"
    assert {"meta.json", "base_state.json"} <= names
    assert len(events) == 2


@pytest.mark.parametrize("path", PATHS)
def test_a_trajectory_has_no_secret_and_keeps_the_rest(server: Upstream, path: str) -> None:
    content = server.client.get(path.format(make_id(1))).content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert [secret for secret in PLANTED if any(secret.encode() in one for one in files.values())] == []
    (state,) = [json.loads(one) for name, one in files.items() if name.endswith("base_state.json")]
    assert state["agent"]["llm"]["api_key"] == state["agent"]["condenser"]["llm"]["api_key"] == "*" * 10
    assert state["agent"]["llm"]["model"] == "a/model"


def test_a_trajectory_of_no_conversation_is_404(server: Upstream) -> None:
    assert server.client.get(PATHS[0].format(make_id(99))).status_code == 404
