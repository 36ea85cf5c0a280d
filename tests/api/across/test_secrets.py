"""Secrets do not come out: not in an answer, and not in the bytes of the index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app import Settings
from app.model.secrets import MASK
from tests.builders import make_conversation, make_id
from tests.conftest import serving

PLANTED = "planted-sesame-42"

AGENT: dict[str, Any] = {"kind": "Agent", "llm": {"model": "a/model"}, "tools": []}


def agent(**fields: Any) -> dict[str, Any]:
    return {"agent": AGENT | fields}


def llm(**fields: Any) -> dict[str, Any]:
    return agent(llm={"model": "a/model"} | fields)


def mcp(**server: Any) -> dict[str, Any]:
    return agent(mcp_config={"mcpServers": {"search": server}})


def source(**secret: Any) -> dict[str, Any]:
    return {"secret_registry": {"secret_sources": {"THE_NAME": secret}}}


STATES: dict[str, dict[str, Any]] = {
    "api_key": llm(api_key=PLANTED),
    "aws_access_key_id": llm(aws_access_key_id=PLANTED),
    "aws_secret_access_key": llm(aws_secret_access_key=PLANTED),
    "aws_session_token": llm(aws_session_token=PLANTED),
    "extra headers of the llm": llm(extra_headers={"X-Team": PLANTED}),
    "login in the llm's url": llm(base_url=f"https://user:{PLANTED}@llm.example/v1"),
    "a fernet token anywhere": llm(custom=f"gAAAA{PLANTED}"),
    "key of a second llm": agent(condenser={"kind": "LLMSummarizingCondenser", "llm": {"api_key": PLANTED}}),
    "acp_resume_session_id": agent(kind="ACPAgent", acp_resume_session_id=PLANTED),
    "value of a secret source": source(kind="StaticSecret", value=PLANTED, description="what for"),
    "header of a secret source": source(kind="LookupSecret", url="https://x/", headers={"X-Who": PLANTED}),
    "environment of an mcp server": mcp(command="npx", env={"WHATEVER": PLANTED}),
    "headers of an mcp server": mcp(url="https://mcp.example/", headers={"X-Anything": PLANTED}),
    "bearer of an mcp server": mcp(url="https://mcp.example/", auth={"strategy": "bearer", "value": PLANTED}),
    "api key of an mcp server": mcp(url="https://mcp.example/", auth={"strategy": "api_key", "value": PLANTED}),
    "password of an mcp server": mcp(auth={"strategy": "basic", "username": "a", "password": PLANTED}),
    "token of an mcp server": mcp(url="https://mcp.example/", apiKey=PLANTED),
    "query of an mcp server's url": mcp(url=f"https://mcp.tavily.com/mcp/?tavilyApiKey={PLANTED}"),
    "query of a url in an argument": mcp(args=["-y", "mcp-remote", f"https://mcp.example/?api_key={PLANTED}"]),
    "agent_context.secrets": agent(agent_context={"secrets": {"GITHUB": PLANTED}, "skills": []}),
    "secret of an agent_context": agent(agent_context={"secrets": {"GITHUB": {"value": PLANTED}}}),
    "key of a remote workspace": {"workspace": {"kind": "RemoteWorkspace", "working_dir": "/w", "api_key": PLANTED}},
    "acp_env": agent(kind="ACPAgent", acp_env={"WHATEVER": PLANTED}),
    "environment of a tool": agent(tools=[{"name": "terminal", "params": {"envVars": {"WHATEVER": PLANTED}}}]),
    "description in an environment": mcp(command="npx", env={"description": PLANTED}),
    "headers in camelCase": mcp(url="https://mcp.example/", httpHeaders={"X-Who": PLANTED}),
    "token in camelCase": mcp(url="https://mcp.example/", authToken=PLANTED),
    "list of keys": llm(api_keys=[PLANTED]),
    "password in an object": {"agent_state": {"password": {"value": PLANTED}}},
    "name with a suffix": llm(litellm_extra_body={"api_token_v2": PLANTED}),
    "a fernet token within a text": mcp(
        command="npx", args=["--header", f"Authorization: Bearer gAAAA{PLANTED}-{'x' * 20}"]
    ),
    "agent_state": {"agent_state": {"session_token": PLANTED}},
}

METAS: dict[str, dict[str, Any]] = {
    "secrets": {"secrets": {"THE_NAME": {"kind": "StaticSecret", "value": PLANTED}}},
    "client tool": {"client_tools": [{"name": "a", "headers": {"X": PLANTED}}]},
    "plugin": {"plugins": [{"source": f"https://user:{PLANTED}@git.example/a.git"}]},
    "profile": {"launched_agent_profile": {"name": "a", "llm": {"api_key": PLANTED}}},
    "environment of a profile": {"launched_agent_profile": {"name": "a", "acp_env": {"WHATEVER": PLANTED}}},
}


async def leaks(root: Path) -> list[str]:
    """Return the answers and the index files that hold the planted secret, and how many there were to look at."""
    one = f"/api/conversations/{make_id(1)}"
    paths = ["/api/conversations/search", f"/api/conversations?ids={make_id(1)}", one, "/api/conversations/count"]
    paths += [f"{path}{'&' if '?' in path else '?'}include_skills=true" for path in paths[:3]]
    paths += [f"{one}/events/search", f"{one}/agent_final_response", "/api/index/status", "/server_info"]
    async with serving(Settings(store=root)) as client:
        answers = {path: await client.get(path) for path in paths}
        found = [path for path, answer in answers.items() if PLANTED in answer.text]
        found += [path for path, answer in answers.items() if answer.status_code != 200]
        files = index_files(root)
        assert {"index.db", "index.db-wal"} <= files.keys()
        return found + [name for name, content in files.items() if PLANTED.encode() in content]


def index_files(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / ".convstore").iterdir()}


@pytest.mark.parametrize("place", STATES)
async def test_a_secret_in_base_state_comes_out_nowhere(root: Path, place: str) -> None:
    make_conversation(root, state=STATES[place])
    assert await leaks(root) == []


@pytest.mark.parametrize("place", METAS)
async def test_a_secret_in_meta_comes_out_nowhere(root: Path, place: str) -> None:
    make_conversation(root, meta=METAS[place])
    assert await leaks(root) == []


@pytest.mark.parametrize("file", ["meta.json", "base_state.json"])
async def test_a_secret_in_a_torn_file_is_not_in_the_reason(root: Path, file: str) -> None:
    path = make_conversation(root) / file
    path.write_text(path.read_text()[:-1] + f', "api_key": "{PLANTED}"')
    assert await leaks(root) == []


async def test_the_search_for_leaks_finds_what_is_not_masked(root: Path) -> None:
    make_conversation(root, meta={"title": PLANTED})
    found = await leaks(root)
    assert {"/api/conversations/search", f"/api/conversations/{make_id(1)}", "index.db-wal"} <= set(found)


async def test_what_a_user_wrote_is_served_as_it_is(root: Path) -> None:
    words = {"tags": {"token": "release 1", "key": "b"}}
    usage = {"accumulated_token_usage": {"prompt_tokens": 3}, "max_budget_per_task": None}
    stats = {"usage_to_metrics": {"agent": usage}}
    make_conversation(root, meta={"title": "gAAAA is how they begin"}, state=words | {"stats": stats})
    async with serving(Settings(store=root)) as client:
        info = (await client.get(f"/api/conversations/{make_id(1)}")).json()
    assert (info["title"], info["tags"], info["stats"]) == ("gAAAA is how they begin", words["tags"], stats)


async def test_a_masked_secret_says_that_there_is_one(root: Path) -> None:
    make_conversation(root, state=llm(api_key=PLANTED, aws_session_token=None))
    async with serving(Settings(store=root)) as client:
        info = (await client.get(f"/api/conversations/{make_id(1)}")).json()
    assert info["agent"]["llm"] == {"model": "a/model", "api_key": MASK, "aws_session_token": None}
