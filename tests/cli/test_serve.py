"""`convstore serve`, as a process of its own."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from app import Settings
from app.cli.serve import options
from tests.builders import make_conversation, make_id
from tests.cli.conftest import Command
from tests.postgres import own_server

COMMAND = (sys.executable, "-m", "app.cli.main", "serve")


class Server:
    """A running server, what it printed before it was ready, and since: whole once the server is gone."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.greeting = ""
        self.log: list[str] = []
        assert process.stderr is not None
        for line in process.stderr:
            self.greeting += line
            if "startup complete" in line:
                break
        found = re.search(r"http://[^\s/]+?:\d+", self.greeting)
        assert found is not None, self.greeting
        self.url = found[0]


@contextmanager
def served(*arguments: object, program: Sequence[str] = COMMAND, **environment: str) -> Iterator[Server]:
    command = [*program, "--port", "0", *(str(argument) for argument in arguments)]
    with (
        subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE, text=True) as process,
        ThreadPoolExecutor(1) as reading,
    ):
        try:
            server = Server(process)
            reading.submit(server.log.extend, process.stderr or ())  # a server whose log nobody reads comes to a stop
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            finally:
                process.kill()


def wait_until_in_step(url: str, key: str) -> None:
    """Wait until a server has compared its index with the disk once."""
    deadline = time.monotonic() + 60
    with httpx.Client(base_url=url, headers={"X-Session-API-Key": key}, timeout=60) as client:
        while not client.get("/api/index/status").json()["last_sweep_at"]:
            if time.monotonic() > deadline:
                raise TimeoutError("the server did not bring its index up to date")
            time.sleep(0.05)


def test_a_fresh_directory_is_served_with_a_key_that_is_shown_once(tmp_path: Path) -> None:
    make_conversation(tmp_path, 1)
    with served(tmp_path, CONVSTORE_LOG_FORMAT="plain") as server:
        key = re.search(r"key   (\S{43})\n", server.greeting)
        assert key is not None
        url = f"{server.url}/api/conversations/count"
        assert httpx.get(url).status_code == 401
        until = time.monotonic() + 60
        while httpx.get(url, headers={"X-Session-API-Key": key[1]}).json() != 1:
            assert time.monotonic() < until
            time.sleep(0.05)
    path = tmp_path / ".convstore" / "api-key"
    assert path.read_text() == f"{key[1]}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert server.process.returncode == -signal.SIGTERM
    with served(tmp_path) as again:
        assert key[1] not in again.greeting
        assert httpx.get(
            f"{again.url}/api/conversations/{make_id(1)}", headers={"X-Session-API-Key": key[1]}
        ).is_success


@pytest.mark.long
def test_the_log_is_json_without_the_key_where_no_terminal_is(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        lines = [json.loads(line) for line in server.greeting.splitlines()]
    assert lines[0]["message"] == (
        f"convstore serves {tmp_path} at {server.url}; the key is in {tmp_path / '.convstore' / 'api-key'}; "
        "`convstore open --print` makes an address that signs in"
    )
    assert {line["level"] for line in lines} == {"info"}
    assert (tmp_path / ".convstore" / "api-key").read_text().strip() not in server.greeting


@pytest.mark.long
def test_signals_without_a_meaning_end_nothing_and_idle_connections_are_closed(tmp_path: Path) -> None:
    assert Settings(store=tmp_path).keep_alive_s == 75
    with served(tmp_path, CONVSTORE_KEEP_ALIVE_S="1") as server:
        address = httpx.URL(server.url)
        with socket.create_connection((address.host, address.port), 60) as connection:
            for number in (signal.SIGUSR1, signal.SIGUSR2):
                server.process.send_signal(number)
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answer = b""
                while not answer.endswith(b'{"status":"ok"}'):
                    piece = connection.recv(4096)
                    assert piece, answer
                    answer += piece
                assert answer.startswith(b"HTTP/1.1 200")
            while connection.recv(4096):
                pass  # the rest of the answer, until the server closes the connection
        assert server.process.poll() is None


@pytest.mark.parametrize("level", [pytest.param("info", marks=pytest.mark.long), "debug"])
def test_the_key_of_a_socket_is_in_no_log(tmp_path: Path, level: str) -> None:
    make_conversation(tmp_path)
    key = "a-key-in-no-log"
    with served(tmp_path, CONVSTORE_API_KEY=key, CONVSTORE_LOG_LEVEL=level) as server:
        url = f"{server.url.replace('http', 'ws')}/sockets/events/{make_id(1)}?session_api_key={key}"
        with connect(url) as socket:
            socket.send(json.dumps({"type": "auth", "session_api_key": key}))
            assert "full_state" in str(socket.recv(60))
        with connect(url, additional_headers={"X-Session-API-Key": key}) as socket:
            assert "full_state" in str(socket.recv(60))
    assert "Application startup complete." in server.greeting
    assert [line for line in server.log if key in line or '"WebSocket' in line] == []


@pytest.mark.long
def test_it_is_told_by_the_environment(tmp_path: Path) -> None:
    with served(CONVSTORE_STORE=str(tmp_path), CONVSTORE_API_KEY="one,two") as server:
        for key in ("one", "two"):
            assert httpx.get(f"{server.url}/api/conversations/count", headers={"X-Session-API-Key": key}).json() == 0
    assert not (tmp_path / ".convstore" / "api-key").exists()


def test_no_key_on_a_public_address_is_refused(tmp_path: Path, convstore: Command) -> None:
    ran = convstore("serve", tmp_path, "--host", "0.0.0.0", "--no-auth")  # noqa: S104
    assert (ran.code, "--no-auth works only on a loopback address" in ran.err) == (2, True)


def test_an_index_of_a_newer_program_is_refused(root: Path, convstore: Command) -> None:
    with sqlite3.connect(root / ".convstore" / "index.db") as index:
        index.execute("UPDATE alembic_version SET version_num = '9999'")
    index.close()
    ran = convstore("serve", root)
    assert (ran.code, "a newer convstore made it. Upgrade convstore" in ran.err) == (2, True)


@pytest.mark.long
def test_a_server_starts_while_the_server_of_its_index_is_away(root: Path) -> None:
    pytest.importorskip("psycopg")
    away = "postgresql://someone:secret@127.0.0.1:1/convstore"
    with served(root, "--no-auth", CONVSTORE_INDEX_URL=away) as server:
        assert httpx.get(f"{server.url}/alive").status_code == 200
        refused = httpx.get(f"{server.url}/ready")
        assert (refused.status_code, refused.json()["code"]) == (503, "index_unusable")
    assert "127.0.0.1:1/convstore" in server.greeting
    assert "secret" not in server.greeting + "".join(server.log)


@pytest.mark.long
@pytest.mark.postgres
def test_a_server_of_the_index_that_refuses_it_ends_the_start(root: Path) -> None:
    psycopg = pytest.importorskip("psycopg")
    with own_server() as server:
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute("CREATE ROLE writer LOGIN PASSWORD 'right'")
            [rules] = admin.execute("SHOW hba_file").fetchone() or [""]
            Path(rules).write_text(f"local all writer scram-sha-256\n{Path(rules).read_text()}")
            admin.execute("SELECT pg_reload_conf()")
        for url, said in {
            server.url.replace("postgres:@", "writer:wrong-one@"): "password authentication failed",
            server.url.replace("postgres:@", "writer@"): "password",
            server.url.replace("postgres:@", "nobody@"): 'role "nobody" does not exist',
            server.url.replace("/postgres?", "/nothing?"): 'database "nothing" does not exist',
            server.url.replace("postgres:@", "writer:right@"): "permission denied for database",
        }.items():
            command = [*COMMAND, "--no-auth", "--port", "0", str(root)]
            environment = os.environ | {"CONVSTORE_INDEX_URL": url}
            ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
            assert (ran.returncode, "refuses convstore" in ran.stderr, said in ran.stderr) == (2, True, True), (
                ran.stderr
            )
            assert "wrong-one" not in ran.stderr


@pytest.mark.long
def test_a_port_in_use_is_explained(tmp_path: Path, convstore: Command) -> None:
    with served(tmp_path, "--no-auth") as server:
        port = server.url.rsplit(":", 1)[1]
        ran = convstore("serve", tmp_path, "--no-auth", "--port", port)
    assert (ran.code, f"cannot listen on 127.0.0.1 port {port}" in ran.err) == (2, True)


@pytest.mark.parametrize(("processes", "count"), [("0", 3000), pytest.param("2", 5000, marks=pytest.mark.long)])
def test_a_first_build_runs_behind_the_answers(tmp_path: Path, processes: str, count: int) -> None:
    for number in range(1, count + 1):
        make_conversation(tmp_path, number, events=1)
    with (
        served(tmp_path, "--no-auth", CONVSTORE_SYNC_PROCESSES=processes) as server,
        httpx.Client(timeout=60) as client,
    ):
        first = client.get(f"{server.url}/api/conversations/search?limit=1").json()  # before FastAPI is there
        phases = {"metadata"} if "indexed" in first else set()
        until = time.monotonic() + 60
        while True:
            assert client.get(f"{server.url}/ready").json() == {"status": "ready"}
            status = client.get(f"{server.url}/api/index/status").json()
            phases.add(status["phase"])
            if status["last_sweep_at"]:
                break
            assert time.monotonic() < until
        assert (status["conversations"], status["dirty"], status["phase"]) == (count, 0, "idle")
        assert {"metadata", "events"} <= phases <= {"metadata", "events", "text", "idle"}


_LOADED = """
import sys, uvicorn
from app import Settings
from app.cli.serve import options
from app.cli.serve import options
uvicorn.Config("app.api.app:create_worker", **options(Settings(store=sys.argv[1]))).load()
print("websockets" in sys.modules)
"""


@pytest.mark.long
def test_a_server_imports_no_websockets_before_it_has_one(root: Path) -> None:
    environment = {**os.environ, "CONVSTORE_STORE": str(root), "CONVSTORE_NO_AUTH": "true"}
    command = [sys.executable, "-c", _LOADED, str(root)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


def test_a_worker_is_told_nothing_that_imports_the_command_line(root: Path) -> None:
    assert b"app.cli" not in pickle.dumps(options(Settings(store=root)))


def test_where_nobody_can_listen_is_told_plainly(root: Path, convstore: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = convstore("serve", root, "--port", port)
    assert (ran.code, f"port {port} (Address already in use); choose another with --port" in ran.err) == (2, True)
    ran = convstore("serve", root, "--host", "no.such.host.invalid", "--port", port)
    assert (ran.code, ran.err.endswith("; choose another with --host\n")) == (2, True)
