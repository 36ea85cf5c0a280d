"""What convstore creates, and refuses to create, beside the real agent-server 1.58.2.

Two verdicts differ. convstore refuses a `working_dir` that is no text; agent-server makes one of it, such as "None".
And convstore stores a request with `secrets_encrypted` although it has no key: an agent-server with the key can open
the conversation.

`make creates` asks about all 18,875 requests, which takes five minutes; `make check` about every 17th of them. A field
has 19 requests or more, so the sample has a value of every field.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from app import Settings
from app.errors import InvalidConversation
from app.model.ids import ConversationId
from app.model.new_conversation import compose_new, mask_all
from app.model.secrets import MASK
from tests.builders import make_conversation, make_id
from tests.conformance.agent_server import agent_server, needs_agent_server
from tests.conformance.requests_to_create import REQUEST, Requests
from tests.conftest import StoreOpener, serving

EVERY = int(os.environ.get("CONVSTORE_TEST_CREATE_EVERY", "17"))
ID = ConversationId(make_id(1))
ACP = {"agent_kind": "acp"}
LLM = {"model": "openai/none", "api_key": "sk-planted", "temperature": 0.5}
SETTINGS: list[dict[str, Any]] = [
    {},
    {"llm": LLM},
    {"agent_kind": "llm", "llm": LLM, "tools": None},
    {"llm": LLM, "tools": [{"name": "terminal"}, {"name": "FinishTool", "params": {"response_schema": {}}}]},
    {"llm": LLM, "tools": [{"name": "switch_llm"}, {"name": "SwitchLLMTool"}], "persona": "a pirate"},
    {"llm": LLM, "enable_classify_and_switch_llm_tool": True, "active_meta_profile": "m"},
    {"llm": LLM, "mcp_config": {"mcpServers": {"a": {"url": "http://a/mcp"}}}, "tool_concurrency_limit": 2},
    {"llm": LLM, "condenser": {"enabled": False}, "verification": {"critic_enabled": True}},
    {"llm": LLM, "condenser": {"condenser_kind": "no_op"}},
    {"llm": LLM, "condenser": {"max_size": 50, "keep_first": 3, "max_tokens": None}},
    {"llm": LLM, "condenser": {"max_size": 20, "keep_first": 9}},
    {"llm": LLM, "verification": {"critic_enabled": True, "critic_api_key": "k", "enable_iterative_refinement": True}},
    {"llm": LLM, "agent_context": {"skills": [{"name": "s", "content": "c"}], "current_datetime": None}},
    {"schema_version": 9, "llm": LLM},
    {"schema_version": 99, "llm": LLM},
    {"llm": {"model": "a", "temperature": "x"}},
    {"enable_sub_agents": True},
    {"agent_kind": "other"},
    ACP,
    *(
        {**ACP, "acp_server": server}
        for server in ("codex", "gemini-cli", "kimi-code", "pi", "opencode", "custom", "x")
    ),
    {**ACP, "acp_server": "custom", "acp_command": ["a"], "acp_args": ["b"], "acp_env": {"A": "b"}},
    {**ACP, "acp_model": "m", "acp_prompt_timeout": 5, "acp_session_mode": "s", "acp_isolate_data_dir": True},
    {**ACP, "acp_prompt_timeout": 0},
    {**ACP, "llm": LLM},
    {**ACP, "agent_context": {"load_user_skills": True, "system_message_suffix": "x"}},
]


Ask = Callable[[Any], Any]


@contextmanager
def accepting() -> Iterator[Ask]:
    """Run `accepting.py`, which starts slowly, and return the function that asks it."""
    environment = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "true"}
    command = [os.environ["OPENHANDS_PYTHON"], str(Path(__file__).with_name("accepting.py"))]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        asked, answers = process.stdin, process.stdout
        assert asked is not None
        assert answers is not None

        def ask(one: Any) -> Any:
            asked.write(orjson.dumps(one) + b"\n")
            asked.flush()
            answer = next(line for line in answers if line.startswith(b"answer:"))
            return orjson.loads(answer.removeprefix(b"answer:"))

        try:
            yield ask
        finally:
            process.kill()


def compose(request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]] | str:
    """Return the two files that convstore makes, or why it refuses."""
    try:
        meta, state = compose_new(request, ID, 0, mask_all)
    except InvalidConversation as error:
        return str(error)
    return meta, state


def with_settings(settings: dict[str, Any]) -> dict[str, Any]:
    return {"workspace": REQUEST["workspace"], "agent_settings": settings}


def differences(ask: Ask, request: dict[str, Any]) -> Iterator[Any]:
    """Yield how the verdicts on a request differ, and why agent-server cannot read what convstore made of it."""
    ours, theirs = compose(request), ask({"request": request})
    if isinstance(ours, str):
        if theirs is None and "working_dir" not in ours:
            yield "refused only here", request, ours
        return
    if theirs is not None and not request.get("secrets_encrypted"):
        yield "refused only there", request, theirs
    meta, state = ours
    if unread := ask({"meta": meta, "state": state}):
        yield "unreadable there", request, unread


@needs_agent_server
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_what_agent_server_refuses_is_refused_and_what_is_created_it_reads() -> None:
    with accepting() as ask:
        requests = list({orjson.dumps(one): one for one in Requests(ask({}))}.values())
        assert len(requests) > 18_000
        asked = requests[::EVERY] + [with_settings(settings) for settings in SETTINGS]
        assert [one for request in asked for one in differences(ask, request)] == []


@needs_agent_server
async def test_agent_server_lists_and_opens_what_was_created(tmp_path: Path) -> None:
    store, work = tmp_path / "conversations", tmp_path / "work"
    store.mkdir()
    work.mkdir()
    workspace = {"kind": "LocalWorkspace", "working_dir": str(work)}
    message = {"initial_message": {"role": "user", "content": [{"type": "text", "text": "hello"}]}}
    asked = [request for request in map(with_settings, SETTINGS) if not isinstance(compose(request), str)]
    asked += [{**REQUEST, "title": "A title", "tags": {"a": "b"}}, {**REQUEST, **message}]
    async with serving(Settings(store=store)) as client:
        made = [(await client.post("/api/conversations", json=one | {"workspace": workspace})).json() for one in asked]
        child = await client.post(
            "/api/conversations", json={**REQUEST, "workspace": workspace, "parent_conversation_id": made[0]["id"]}
        )
        made.append(child.json())
    with agent_server(store) as server:
        listed = server.client.get("/api/conversations/search?limit=100").json()["items"]
        assert {one["id"] for one in listed} == {one["id"] for one in made}
        for one in made:
            path = f"/api/conversations/{one['id']}"
            assert server.client.get(path).status_code == 200
            events = server.client.get(f"{path}/events/search")
            assert (events.status_code, len(events.json()["items"])) == (200, one["event_count"])


@needs_agent_server
async def test_an_agent_is_built_of_its_settings_as_there(tmp_path: Path) -> None:
    """Only times differ, the `max_tokens` of a condenser that agent-server knows of some models, and its browser."""
    store, work = tmp_path / "conversations", tmp_path / "work"
    store.mkdir()
    work.mkdir()
    (tmp_path / "ours").mkdir()
    different: dict[int, Any] = {}
    with agent_server(store, OH_ENABLE_BROWSER="false") as server:
        async with serving(Settings(store=tmp_path / "ours")) as client:
            for number, settings in enumerate(SETTINGS):
                request = with_settings(settings) | {"workspace": {"working_dir": str(work)}, "autotitle": False}
                theirs = server.client.post("/api/conversations", json=request)
                ours = await client.post("/api/conversations", json=request)
                if theirs.status_code != ours.status_code:
                    different[number] = (theirs.status_code, ours.status_code, ours.text)
                elif ours.status_code == 201:
                    wanted, got = theirs.json()["agent"], ours.json()["agent"]
                    if found := [name for name in got if not _agrees(got[name], wanted[name])]:
                        different[number] = [(name, got[name], wanted[name]) for name in found]
    assert different == {}


def _agrees(ours: Any, theirs: Any) -> bool:
    """Whether all that we say stands there; agent-server says every default, and shows secrets as null."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return all(name in _TIMES or _agrees(value, theirs.get(name)) for name, value in ours.items())
    return bool(ours == theirs) or (ours == MASK and theirs is None)


_TIMES = frozenset({"current_datetime"})


@needs_agent_server
async def test_a_workspace_is_answered_as_there_before_and_while_it_is_loaded(
    tmp_path: Path, open_store: StoreOpener
) -> None:
    store = tmp_path / "conversations"
    places = [{"kind": "LocalWorkspace", "working_dir": str(tmp_path / name)} for name in ("meta", "state")]
    make_conversation(store, 1, meta={"workspace": places[0]}, state={"workspace": places[1]}, events=0)
    with agent_server(store) as server:
        path = f"/api/conversations/{ID}"
        async with open_store(store) as convstore:
            cold = orjson.loads(await convstore.get_conversation(ID))["workspace"]
            assert cold == server.client.get(path).json()["workspace"] == places[1]
            assert server.client.get(f"{path}/events/search").status_code == 200  # loads it
            loaded = orjson.loads(await convstore.get_conversation(ID))["workspace"]
            assert loaded == server.client.get(path).json()["workspace"] == places[0]
