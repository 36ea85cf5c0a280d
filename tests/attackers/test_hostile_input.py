"""JSON that is made to hurt, and names that lead elsewhere: in files, in requests; the server answers and goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.builders import make_conversation, make_event, make_id, make_meta, make_state
from tests.cli.test_serve import Server, served

KEY = "a-key"
OUTSIDE = "what-lies-outside"
ONE = make_id(1)

BOMBS: dict[str, bytes] = {
    "arrays 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "objects 100,000 deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "an integer of 100,000 digits": b"9" * 100_000,
    "a float beyond all floats": b"1e999999",
    "NaN": b"NaN",
    "Infinity": b"-Infinity",
    "a lone surrogate": rb'"\ud800"',
    "a name that is a lone surrogate": rb'{"\udfff": 1}',
    "NUL": rb'"a\u0000b"',
    "a raw NUL": b'"a\x00b"',
    "no UTF-8": b'"\xff\xfe"',
    "a name twice": b'{"a": 1, "a": {"a": 2}}',
    "ten thousand names": json.dumps({f"n{number}": number for number in range(10_000)}).encode(),
    "two megabytes of text": b'"' + b"x" * 2_000_000 + b'"',
    "torn": b'{"a": [1, 2',
    "nothing": b"",
    "a byte order mark": b'\xef\xbb\xbf"a"',
}

NAMES = [
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "..",
    "%00",
    f"{ONE}%00",
    f"{ONE}%2fmeta.json",
    f"{ONE}%0a0",
    ONE + "0" * 4000,
    ".trash",
    ".convstore",
    "CON",
    "%ff%fe",
    "\u0661" * 32,
    "' OR 1=1 --",
    "{conversation_id}",
]


def with_bomb(document: dict[str, Any], name: str, bomb: bytes) -> bytes:
    """Return a document as JSON, with a bomb under a name."""
    return json.dumps({**document, name: "HERE"}).encode().replace(b'"HERE"', bomb)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over a store that is full of bombs and of links that lead out of it; all of its stderr is read."""
    directory = tmp_path_factory.mktemp("hostile")
    root = directory / "conversations"
    make_conversation(root, 1)
    for number, bomb in enumerate(BOMBS.values(), start=2):
        path = make_conversation(root, number)
        events = sorted((path / "events").iterdir())
        if number % 3 == 0:
            (path / "meta.json").write_bytes(with_bomb(make_meta(make_id(number)), "tags", bomb))
        if number % 3 == 1:
            (path / "base_state.json").write_bytes(with_bomb(make_state(make_id(number)), "stats", bomb))
        events[-1].write_bytes(with_bomb(make_event(1), "llm_message", bomb))
    plant_links(root, directory / "outside")
    with served(root, CONVSTORE_API_KEY=KEY) as running:
        yield running


def plant_links(root: Path, outside: Path) -> None:
    """Make conversations whose directory, files or events are links out of the store, a pipe or a device."""
    make_conversation(outside, 101, meta={"title": OUTSIDE})
    elsewhere = outside / make_id(101)
    (outside / "event").write_text(json.dumps(make_event(0, id=make_id(7), text=OUTSIDE)))
    (root / make_id(101)).symlink_to(elsewhere)
    for number, name in ((102, "meta.json"), (103, "base_state.json"), (104, "events")):
        path = make_conversation(root, number, events=0)
        (path / name).rmdir() if name == "events" else (path / name).unlink()
        (path / name).symlink_to(elsewhere / name)
    path = make_conversation(root, 105, events=0)
    (path / "events" / f"event-00000-{make_id(7)}.json").symlink_to(outside / "event")
    os.mkfifo(make_conversation(root, 106, events=0) / "events" / f"event-00000-{make_id(7)}.json")
    path = make_conversation(root, 107, events=0)
    (path / "meta.json").unlink()
    os.mkfifo(path / "meta.json")


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={"X-Session-API-Key": KEY}, timeout=60) as client:
        for _ in range(600):
            if client.get("/api/index/status").json()["last_sweep_at"]:
                break
        yield client
        assert client.get(f"/api/conversations/{ONE}").json()["title"] == "A title"


def test_bombs_in_files_harm_their_own_conversation_alone(client: httpx.Client) -> None:
    listed = client.get("/api/conversations/search", params={"limit": 100})
    assert listed.status_code == 200
    ids = {info["id"].replace("-", "") for info in listed.json()["items"]}
    assert {make_id(number) for number in range(1, 2 + len(BOMBS))} <= ids
    for number in range(2, 2 + len(BOMBS)):
        one = f"/api/conversations/{make_id(number)}"
        paths = [one, f"{one}?include_skills=true", f"{one}/events/search", f"{one}/events/search?body=a"]
        paths += [f"{one}/agent_final_response", f"{one}/export?format=jsonl", f"{one}/export?format=markdown"]
        assert [path for path in paths if client.get(path).status_code not in (200, 404)] == []


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_in_a_request_is_refused_or_stored_as_it_is(client: httpx.Client, bomb: str) -> None:
    event = make_event(50, id=make_id(9000 + list(BOMBS).index(bomb)))
    one = f"/api/conversations/{ONE}"
    requests = [
        ("POST", "/api/conversations", with_bomb({"agent": {"llm": {"model": "a/m"}}}, "workspace", BOMBS[bomb])),
        ("PATCH", one, with_bomb({}, "title", BOMBS[bomb])),
        ("PATCH", one, with_bomb({}, "tags", BOMBS[bomb])),
        ("POST", f"{one}/events/batch", b'{"events": [' + with_bomb(event, "llm_message", BOMBS[bomb]) + b"]}"),
        ("POST", f"{one}/events", with_bomb({"role": "user"}, "content", BOMBS[bomb])),
        ("POST", "/api/conversations/import", BOMBS[bomb]),
        ("POST", "/api/conversations/bulk/delete", with_bomb({"dry_run": True}, "ids", BOMBS[bomb])),
        ("POST", f"{one}/lease", with_bomb({"owner": "me"}, "ttl_s", BOMBS[bomb])),
    ]
    headers = {"Content-Type": "application/json"}
    answers = [client.request(method, path, content=body, headers=headers) for method, path, body in requests]
    assert [answer.text for answer in answers if answer.is_server_error] == []
    client.patch(one, json={"title": "A title", "tags": {}})
    assert client.get(f"{one}/events/search", params={"limit": 100}).status_code == 200


@pytest.mark.parametrize("name", NAMES)
def test_a_name_leads_nowhere(client: httpx.Client, name: str) -> None:
    for path in (name, f"{name}/events/search", f"{name}/export", f"{name}/events/{name}", f"{ONE}/events/{name}"):
        answer = client.get(f"/api/conversations/{path}")
        assert answer.status_code in (200, 404, 422), path
        assert "root:" not in answer.text
    answer = client.delete(f"/api/conversations/{name}")
    assert answer.status_code in (404, 405, 422)


def test_a_link_out_of_the_store_is_not_followed_and_a_pipe_holds_nobody_up(client: httpx.Client) -> None:
    ones = [f"/api/conversations/{make_id(number)}" for number in range(101, 108)]
    inner = ("", "/events/search", "/export?format=jsonl", f"/events/{make_id(7)}")
    paths = ["/api/conversations/search?limit=100", *(f"{one}{path}" for one in ones for path in inner)]
    texts = [client.get(path).text for path in paths]
    assert [text for text in texts if OUTSIDE in text] == []
    assert client.get(f"/api/conversations/{make_id(101)}").status_code == 404
    written = client.post(f"/api/conversations/{make_id(104)}/events/batch", json={"events": [make_event(1)]})
    assert written.is_error
