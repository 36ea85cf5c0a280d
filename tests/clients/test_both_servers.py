"""The same clients against convstore and a real agent-server 1.58, each on a copy of the sample, find the same.

docs/compatibility.md lists what differs.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.cli.test_serve import served, wait_until_in_step
from tests.clients.typescript_client import ANOTHER, run_client
from tests.conformance.agent_server import KEY, agent_server, needs_agent_server

pytestmark = [pytest.mark.long, pytest.mark.timeout(300), needs_agent_server]

ONE = "45685019-b9b6-446b-bd2d-1e96d93e73eb"
TALKED_TO = "f95edc73-b188-4197-be86-16629ccd3650"
SECRET = KEY["X-Session-API-Key"]
OURS = {
    "activated_path_rules",
    "archived",
    "cost",
    "event_count",
    "head_is_empty",
    "last_event_at",
    "pinned",
    "preview",
    "subagent_ids",
    "tokens",
}
OF_EACH_MESSAGE = {"id", "timestamp", "parent_id"}
MASK = "*" * 10
WHOLE = f"?session_api_key={SECRET}&after_seq=1&resend_mode=all"
LIVE = f"?session_api_key={SECRET}"
MESSAGE = json.dumps({"type": "auth", "role": "user", "content": [{"type": "text", "text": "over the socket"}]})
TALKS: dict[str, tuple[str, str, list[str]]] = {
    "replays": (TALKED_TO, WHOLE, []),
    "wrong key": (TALKED_TO, "?session_api_key=wrong", []),
    "wrong key in a frame": (TALKED_TO, "", ['{"type": "auth", "session_api_key": "wrong"}']),
    "key in a frame": (TALKED_TO, "", [json.dumps({"type": "auth", "session_api_key": SECRET})]),
    "no such conversation": ("0" * 32, LIVE, []),
    "no id": ("no-id", LIVE, []),
    "bad parameters": (TALKED_TO, f"{LIVE}&after_seq=x&resend_mode=x", []),
    "bad frames": (TALKED_TO, LIVE, ["{", "[]", "{}", '{"role": "bad"}']),
    "a message": (TALKED_TO, LIVE, [MESSAGE]),
}


def known(value: Any) -> Any:
    """Return a value without fields that are null or masked: they mean the same."""
    if isinstance(value, dict):
        return {name: known(part) for name, part in value.items() if part not in (None, MASK)}
    return [known(part) for part in value] if isinstance(value, list) else value


def without(value: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: part for name, part in known(value).items() if name not in names}


def by_id(pages: list[list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    return {item["id"]: item for item in chain.from_iterable(pages)}


def use(url: str) -> dict[str, Any]:
    with httpx.Client(base_url=url, headers=KEY, timeout=60) as client:
        said = {"role": "user", "content": [{"type": "text", "text": ANOTHER}]}

        def write() -> None:
            client.post(f"/api/conversations/{ONE}/events", json=said).raise_for_status()

        return run_client(url, SECRET, ONE, write) | asyncio.run(talk_to_all(url))


async def talk_to_all(url: str) -> dict[str, Any]:
    host = url.removeprefix("http://").rstrip("/")
    return {
        f"{kind}: {name}": await talk(f"ws://{host}/sockets/{kind}/{one}{query}", sent)
        for name, (one, query, sent) in TALKS.items()
        for kind in ("session", "events")
    }


async def talk(url: str, sent: list[str]) -> list[Any]:
    """Return the frames that come before and after each one that is sent, and how the server ended the connection."""
    heard: list[Any] = []
    try:
        async with connect(url) as connection:
            await hear(connection, heard)
            for frame in sent:
                await connection.send(frame)
                await hear(connection, heard)
    except InvalidStatus as refused:
        return [refused.response.status_code]
    except ConnectionClosed as closed:
        return [*heard, closed.rcvd and (closed.rcvd.code, closed.rcvd.reason)]
    return heard


async def hear(connection: ClientConnection, heard: list[Any]) -> None:
    """Collect frames until none has come for a second."""
    while True:
        try:
            heard.append(outline(json.loads(await asyncio.wait_for(connection.recv(), 1.0))))
        except TimeoutError:
            return


def outline(frame: dict[str, Any]) -> Any:
    """Return a frame without the parts that differ by design: words of errors, values of states, ids of messages."""
    event = frame.get("event", frame)
    envelope = {name: frame[name] for name in ("type", "seq", "from_seq", "through_seq") if name in frame}
    match event.get("kind"):
        case "ConversationStateUpdateEvent" | "ConversationErrorEvent":
            return envelope | {"kind": event["kind"], "key": event.get("key")}
        case "MessageEvent" if "over the socket" in str(event):
            return {"kind": "MessageEvent", "message": known(event["llm_message"])}
        case "ServerErrorEvent" | None:
            return envelope | {"error": "code" in event}
        case _:
            return envelope | event


@pytest.fixture(scope="module")
def both(pristine_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the clients found in convstore and in agent-server."""
    directory = tmp_path_factory.mktemp("both")
    ours = shutil.copytree(pristine_corpus, directory / "ours" / "conversations")
    theirs = shutil.copytree(pristine_corpus, directory / "theirs" / "conversations")
    with served(ours, CONVSTORE_API_KEY=SECRET) as server:
        wait_until_in_step(server.url, SECRET)
        first = use(server.url)
    with agent_server(theirs) as other:
        return first, use(str(other.client.base_url))


def test_their_lists_are_the_same_but_for_what_the_page_says(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    ours, theirs = both
    listed, expected = by_id(ours["lists"]), by_id(theirs["lists"])
    assert [one for one in listed if one in expected] == list(expected)
    assert len(listed.keys() - expected.keys()) == 3  # without meta.json
    for one, info in expected.items():
        status = {"execution_status"} if listed[one]["execution_status"] == "running" else set()
        assert without(listed[one], OURS | status) == without(info, status)
        assert known(listed[one]).keys() - known(info).keys() <= OURS
        if status:
            assert info["execution_status"] == "error"
    assert by_id(theirs["lists by status"]).keys() <= by_id(ours["lists by status"]).keys()


def test_a_conversation_and_its_events_are_the_same(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    ours, theirs = both
    assert without(ours["gets"], OURS) == known(theirs["gets"])
    for step in (
        "server",
        "pages events",
        "pages events from the end",
        "filters events",
        "counts events",
        "reads all events",
        "gets an event",
        "renames",
    ):
        assert known(ours[step]) == known(theirs[step]), step
    for step in ("gets none", "deletes"):
        assert ours[step]["status"] == theirs[step]["status"] == 404


def test_what_they_append_is_the_same(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    ours, theirs = both
    for step in ("hears another process", "hears what it sent"):
        assert without(ours[step], OF_EACH_MESSAGE) == without(theirs[step], OF_EACH_MESSAGE)
    state = known(theirs["opens the socket"]["value"])
    assert {name: known(part) for name, part in ours["opens the socket"]["value"].items() if name in state} == state


def test_their_sockets_send_the_same(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    ours, theirs = both
    for kind in ("session", "events"):
        for name in TALKS.keys() - {"a message"}:
            talk = f"{kind}: {name}"
            assert ours[talk] == theirs[talk], talk
        messages = [
            [frame for frame in server[f"{kind}: a message"] if frame.get("kind") == "MessageEvent"] for server in both
        ]
        assert messages[0] == messages[1] != []
