"""The docs' recipe that puts convstore in front of an agent-server, with a real nginx.

The agent-server is a real one where OPENHANDS_PYTHON names a Python that has it, else one that repeats its request.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.builders import make_conversation, make_id
from tests.cli.test_serve import served
from tests.deploy.recipes import free_port, recipe, running, wait_for

pytestmark = pytest.mark.long

KEY = {"X-Session-API-Key": "the-key"}
HOST = "conversations.example"
ONE = f"/api/conversations/{make_id(1)}"

AGENT_SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        told = {"server": "agent-server", "method": self.command, "path": self.path, "body": body,
                "host": self.headers["Host"], "upgrade": self.headers["Upgrade"]}
        sent = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


@contextmanager
def nginx(directory: Path, convstore_port: int, agent_port: int) -> Iterator[str]:
    """Run nginx with the docs' recipe and give the URL of its server."""
    port = free_port()
    text = recipe("nginx")
    for told, real in (("127.0.0.1:3000", agent_port), ("127.0.0.1:8000", convstore_port)):
        assert told in text
        text = text.replace(told, f"127.0.0.1:{real}")
    text = text.replace("listen 8080", f"listen 127.0.0.1:{port}")
    kept = "\n".join(
        f"{what}_temp_path {directory}/{what};" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = directory / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off;\n{kept}\n{text}\n}}\n"
    )
    with running("nginx", "-c", str(config), "-e", f"{directory}/error.log"):
        wait_for(port)
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of nginx, with a convstore and something like an agent-server behind it."""
    directory = tmp_path_factory.mktemp("nginx")
    store = directory / "conversations"
    make_conversation(store, 1)
    agent_port = free_port()
    with (
        running(sys.executable, "-c", AGENT_SERVER, str(agent_port)),
        served(store, CONVSTORE_API_KEY="the-key", CONVSTORE_ALLOWED_HOSTS=HOST) as server,
        nginx(directory, int(server.url.rsplit(":", 1)[1]), agent_port) as url,
        httpx.Client(base_url=url, headers=KEY | {"Host": HOST}) as client,
    ):
        wait_for(agent_port)
        deadline = time.monotonic() + 60
        while client.get("/api/conversations/count").json() != 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield client


def test_lists_come_from_convstore(behind: httpx.Client) -> None:
    page = behind.get("/api/conversations/search?limit=5&sort_order=UPDATED_AT_DESC").json()
    assert [one["id"].replace("-", "") for one in page["items"]] == [make_id(1)]
    assert behind.get("/api/index/status").json()["conversations"] == 1
    assert behind.get("/api/changes").json()["more"] is False
    with behind.stream("GET", "/api/changes/stream") as answer:
        assert any(make_id(1) in line.replace("-", "") for line in answer.iter_lines())


def test_the_request_has_one_id_all_the_way(behind: httpx.Client) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", behind.get("/api/conversations/count").headers["X-Request-ID"])


def test_the_key_and_the_name_are_asked_for(behind: httpx.Client) -> None:
    assert behind.get("/api/conversations/count", headers={"X-Session-API-Key": "wrong"}).status_code == 401
    assert behind.get("/api/conversations/count", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ONE),
        ("GET", f"/api/conversations?ids={make_id(1)}"),
        ("GET", f"{ONE}/events/search?limit=5"),
        ("POST", "/api/conversations"),
        ("PATCH", ONE),
        ("DELETE", ONE),
        ("POST", f"{ONE}/events"),
        ("POST", f"{ONE}/fork"),
        ("POST", f"{ONE}/run"),
        ("GET", "/server_info"),
        ("GET", f"/api/conversations/search/../../conversations/{make_id(1)}/x"),
    ],
)
def test_all_else_goes_to_agent_server(behind: httpx.Client, method: str, path: str) -> None:
    body = json.dumps({"a": 1}) if method in ("POST", "PATCH") else ""
    told = behind.request(method, path, content=body).json()
    assert (told["server"], told["method"], told["body"], told["host"]) == ("agent-server", method, body, HOST)
    assert ".." in path or told["path"] == path


def test_a_socket_goes_to_agent_server(behind: httpx.Client) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
    told = behind.get(f"/sockets/events/{make_id(1)}", headers=headers).json()
    assert (told["path"], told["upgrade"]) == (f"/sockets/events/{make_id(1)}", "websocket")


def test_an_event_stream_passes_as_it_comes(behind: httpx.Client) -> None:
    with behind.stream("GET", f"{ONE}/events/stream") as answer:
        assert any("message 1" in line for line in answer.iter_lines())


if "OPENHANDS_PYTHON" in os.environ:

    def test_a_real_agent_server_and_convstore_answer_as_one(tmp_path: Path) -> None:
        store = tmp_path / "conversations"
        store.mkdir()
        agent_port = free_port()
        environment = {"OH_CONVERSATIONS_PATH": str(store), "SESSION_API_KEY": "the-key", "OH_SECRET_KEY": "a-secret"}
        command = [os.environ["OPENHANDS_PYTHON"], "-m", "openhands.agent_server", "--host", "127.0.0.1"]
        with subprocess.Popen(
            [*command, "--port", str(agent_port)],
            cwd=tmp_path,
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as agent_server:
            try:
                wait_for(agent_port)
                with (
                    served(store, CONVSTORE_API_KEY="the-key", CONVSTORE_ALLOWED_HOSTS=HOST) as server,
                    nginx(tmp_path, int(server.url.rsplit(":", 1)[1]), agent_port) as url,
                    httpx.Client(base_url=url, headers=KEY | {"Host": HOST}, timeout=60) as client,
                ):
                    _work_with_both(client, tmp_path)
            finally:
                agent_server.terminate()

    def _work_with_both(client: httpx.Client, directory: Path) -> None:
        llm = {"model": "openai/none", "api_key": "sk-planted-secret", "usage_id": "agent"}
        asked = {
            "agent": {"kind": "Agent", "llm": llm, "tools": []},
            "workspace": {"kind": "LocalWorkspace", "working_dir": str(directory / "work")},
        }
        made = client.post("/api/conversations", json=asked)
        client.post("/api/conversations", json=asked)  # one that stays: an empty directory is taken for a lost disk
        assert made.status_code == 201
        one = f"/api/conversations/{made.json()['id']}"
        said = {"role": "user", "content": [{"type": "text", "text": "hello"}]}
        assert client.post(f"{one}/events", json=said).status_code == 200
        assert client.patch(one, json={"title": "Named through nginx"}).status_code == 200
        deadline = time.monotonic() + 60
        while True:
            items = client.get("/api/conversations/search").json()["items"]
            named = [item for item in items if item["title"] == "Named through nginx"]
            if len(items) == 2 and named:
                break
            assert time.monotonic() < deadline, items
            time.sleep(0.2)
        assert "X-Request-ID" in client.get("/api/conversations/search").headers
        assert "sk-planted-secret" not in json.dumps(items)
        whole = client.get(one).json()
        assert {name: named[0][name] for name in ("id", "title", "created_at", "execution_status", "workspace")} == {
            name: whole[name] for name in ("id", "title", "created_at", "execution_status", "workspace")
        }
        assert client.delete(one).status_code == 200
        while client.get("/api/conversations/count").json() != 1:
            assert time.monotonic() < deadline
            time.sleep(0.2)
