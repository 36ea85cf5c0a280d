"""Secrets are planted wherever one may stand, and looked for in all that comes out of a running server.

Masked is what agent-server keeps as a secret, in meta.json and base_state.json and in requests to create. What a person
or an agent wrote (`OWN_TEXT`) is theirs, and is answered; but it is in no log, and a rebuild takes what was deleted out
of the index. An event's answer is its file.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from app.cli.main import app
from tests.api.across.test_secrets import METAS, PLANTED, STATES
from tests.builders import make_conversation, make_event, make_id
from tests.cli.test_serve import served

pytestmark = pytest.mark.long

KEY = "planted-server-key"
Json = dict[str, Any]


def message(text: str) -> Json:
    return make_event(0, llm_message={"role": "user", "content": [{"type": "text", "text": text}]})


def action(**arguments: Any) -> Json:
    return make_event(1, kind="ActionEvent", source="agent", tool_name="terminal", action=arguments, thought=[])


def state_update(**state: Any) -> Json:
    return make_event(2, kind="ConversationStateUpdateEvent", source="environment", key="full_state", value=state)


IN_EVENTS: dict[str, Callable[[str], Json]] = {
    "api_key of an action": lambda secret: action(api_key=secret),
    "session key of an action": lambda secret: action(inner=[{"session_api_key": secret}]),
    "aws key of an action": lambda secret: action(aws_secret_access_key=secret),
    "an encrypted value": lambda secret: action(kept=f"gAAAA{secret}"),
    "an encrypted value within a text": lambda secret: action(kept=f"Bearer gAAAA{secret}-{'x' * 20}"),
    "acp environment in an update of the state": lambda secret: state_update(agent={"acp_env": {"ANY": secret}}),
    "key in an update of the state": lambda secret: state_update(agent={"llm": {"api_key": secret}}),
    "source in an update of the state": lambda secret: state_update(
        secret_registry={"secret_sources": {"A": {"value": secret}}}
    ),
    "environment in an update of the state": lambda secret: state_update(
        agent={"mcp_config": {"mcpServers": {"a": {"env": {"ANY": secret}}}}}
    ),
}
"""Places in events: their own answers have them, as their files do; exports, lists, logs and the index do not."""

IN_REQUESTS: dict[str, Callable[[str], Json]] = {
    "key": lambda secret: {"agent": {"llm": {"model": "a/m", "api_key": secret}}},
    "aws key": lambda secret: {"agent": {"llm": {"model": "a/m", "aws_secret_access_key": secret}}},
    "headers": lambda secret: {"agent": {"llm": {"model": "a/m", "extra_headers": {"X-Who": secret}}}},
    "url": lambda secret: {"agent": {"llm": {"model": "a/m", "base_url": f"https://u:{secret}@llm.example/"}}},
    "mcp": lambda secret: {
        "agent": {"llm": {"model": "a/m"}, "mcp_config": {"mcpServers": {"a": {"command": "a", "env": {"A": secret}}}}}
    },
    "secrets": lambda secret: {
        "agent": {"llm": {"model": "a/m"}},
        "secrets": {"A": {"kind": "StaticSecret", "value": secret}},
    },
    "context": lambda secret: {"agent": {"llm": {"model": "a/m"}, "agent_context": {"secrets": {"A": secret}}}},
    "acp environment": lambda secret: {"agent": {"kind": "ACPAgent", "acp_env": {"A": secret}}},
    "description in an environment": lambda secret: {
        "agent": {"llm": {"model": "a/m"}, "mcp_config": {"a": {"command": "a", "env": {"description": secret}}}}
    },
    "token in camelCase": lambda secret: {
        "agent": {"llm": {"model": "a/m"}, "mcp_config": {"a": {"authToken": secret}}}
    },
    "list of keys": lambda secret: {"agent": {"llm": {"model": "a/m", "api_keys": [secret]}}},
    "profile": lambda secret: {
        "agent": {"llm": {"model": "a/m"}},
        "launched_agent_profile": {"llm": {"api_key": secret}},
    },
}
"""Places in requests to create: masked before anything is written, so not even in the files."""

OWN_TEXT: dict[str, Callable[[str], tuple[Json, Json, list[Json]]]] = {
    "title": lambda secret: ({"title": f"about {secret}"}, {}, []),
    "tag": lambda secret: ({"tags": {"area": secret}}, {"tags": {"area": secret}}, []),
    "message": lambda secret: ({}, {}, [message(f"my password is {secret}")]),
    "argument of a tool": lambda secret: ({}, {}, [action(command=f"curl -u me:{secret} https://example/")]),
    "final answer": lambda secret: ({}, {}, [action(kind="FinishAction", message=f"it is {secret}")]),
}
"""What somebody wrote: it is answered as it is."""


def put_in_place(value: object, secret: str) -> Any:
    """Return a test's planted value with a secret of its own."""
    return json.loads(json.dumps(value).replace(PLANTED, secret))


def plant(root: Path) -> tuple[list[str], list[str], list[str]]:
    """Make a conversation for each place; return the secrets to be masked, those in events, and people's own text."""
    masked, in_events, own = [], [], []
    for number, (what, fields) in enumerate([*STATES.items(), *METAS.items()], start=1):
        masked.append(f"planted-masked-{number:02}-x")
        kind = "state" if what in STATES else "meta"
        make_conversation(root, number, **{kind: put_in_place(fields, masked[-1])})
    for number, event in enumerate(IN_EVENTS.values(), start=101):
        in_events.append(f"planted-event-{number}-x")
        make_conversation(root, number, events=[event(in_events[-1])])
    for number, text in enumerate(OWN_TEXT.values(), start=201):
        own.append(f"planted-own-{number}-x")
        meta, state, events = text(own[-1])
        make_conversation(root, number, meta=meta, state=state, events=events)
    return masked, in_events, own


def answers(client: httpx.Client) -> dict[str, str]:
    """Return what a server answers, apart from the answers that are events."""
    paths = ["/api/conversations/search?limit=100", "/api/conversations/search?limit=100&include_skills=true"]
    paths += ["/api/changes?limit=100", "/api/trash", "/api/index/status", "/metrics", "/server_info", "/openapi.json"]
    paths += ["/api/conversations/search?status=planted", "/api/conversations/search?page_id=planted"]
    found = {path: client.get(path).text for path in paths}
    for info in client.get(paths[0]).json()["items"]:
        one = f"/api/conversations/{info['id']}"
        more = [one, f"{one}?include_skills=true", f"{one}/events/count", f"{one}/agent_final_response"]
        more += [f"{one}/export?format={kind}" for kind in ("jsonl", "markdown", "html")]
        found |= {path: client.get(path).text for path in more}
    return found


def in_bytes(directory: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def holding(secrets: list[str], texts: dict[str, str]) -> list[tuple[str, str]]:
    return [(where, secret) for where, text in texts.items() for secret in secrets if secret in text]


def test_a_planted_secret_comes_out_nowhere(tmp_path: Path) -> None:
    root = tmp_path / "conversations"
    masked, in_events, own = plant(root)
    sent = [f"planted-request-{number}-x" for number in range(len(IN_REQUESTS))]
    settings = {"CONVSTORE_API_KEY": KEY, "CONVSTORE_LOG_LEVEL": "debug", "CONVSTORE_INDEX_URL": index_url(tmp_path)}
    with served(root, **settings) as server, httpx.Client(base_url=server.url, timeout=30) as client:
        client.get("/api/conversations/search", headers={"X-Session-API-Key": "planted-wrong-key"})
        client.get("/api/conversations/search?api_key=planted-key-in-a-url&q=planted-query")
        client.headers["X-Session-API-Key"] = KEY
        wait_until_listed(client, len(masked) + len(in_events) + len(own))
        created = [
            client.post("/api/conversations", json={"workspace": {"working_dir": "/w"}} | request(secret)).json()
            for request, secret in zip(IN_REQUESTS.values(), sent, strict=True)
        ]
        before = answers(client) | {"created": json.dumps(created)}
        hidden = [*masked, *sent, KEY]
        assert holding([*hidden, *in_events], before) == []
        assert {secret for _, secret in holding(own, before)} == set(own)
        assert holding(sent, {"files": in_bytes(root).decode(errors="replace")}) == []
        assert [secret for secret in [*hidden, *in_events] if secret.encode() in in_bytes(tmp_path / "index")] == []
        for path in sorted(root.iterdir()):
            if not path.name.startswith("."):
                assert client.delete(f"/api/conversations/{path.name}").status_code == 200
        assert holding([*hidden, *in_events, *own[1:]], answers(client)) == []
        assert client.get("/api/conversations/count").json() == 0
    log = server.greeting + "".join(server.log)
    assert "/api/conversations/search 200" in log
    everything = [*hidden, *in_events, *own, "planted-wrong-key", "planted-key-in-a-url", "planted-query"]
    assert len(everything) == 67
    assert holding(everything, {"log": log}) == []
    assert [secret for secret in [*hidden, *in_events] if secret.encode() in in_bytes(tmp_path / "index")] == []


def test_a_rebuilt_index_has_no_bytes_of_what_was_deleted_for_good(tmp_path: Path) -> None:
    root = tmp_path / "conversations"
    _, _, own = plant(root)
    runner = CliRunner()
    given = ["--store", str(root), "--index", index_url(tmp_path)]
    assert runner.invoke(app, ["index", "sync", *given]).exit_code == 0
    indexed = [secret for secret in own if secret.encode() in in_bytes(tmp_path / "index")]
    assert own[0] in indexed
    for number in range(201, 201 + len(own)):
        shutil.rmtree(root / make_id(number))
    assert runner.invoke(app, ["index", "rebuild", *given]).exit_code == 0
    assert [secret for secret in own if secret.encode() in in_bytes(tmp_path / "index")] == []


def index_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'index' / 'index.db'}"


def wait_until_listed(client: httpx.Client, number: int) -> None:
    for _ in range(600):
        if client.get("/api/conversations/count").json() == number:
            return
    pytest.fail("the server did not list everything")
