"""Restarts with a held socket lose no request; a Unix socket; socket activation."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from app import Settings
from app.cli.serve import listen
from app.errors import InvalidSettings
from tests.cli.test_serve import COMMAND
from tests.cli.test_serve_workers import until

CLIENTS = 8
RESTARTS = 3


def refuse(root: Path, *options: object) -> str:
    """Run a server that cannot listen, and return what it said."""
    command = [*COMMAND, str(root), "--no-auth", *map(str, options)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 2
    return ran.stderr


@contextmanager
def held() -> Iterator[socket.socket]:
    """A listening socket of this process, which servers get one after the other."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        yield listener


def start(root: Path, listener: socket.socket, workers: str) -> subprocess.Popen[bytes]:
    command = [*COMMAND, str(root), "--no-auth", "--fd", str(listener.fileno()), "--workers", workers]
    return subprocess.Popen(command, pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("workers", "requests"), [("1", 10_000), ("2", 3000)])
def test_a_restart_under_load_refuses_no_request(root: Path, workers: str, requests: int) -> None:
    failed: list[BaseException | int] = []
    done = [0] * CLIENTS

    def ask(client: int, port: int) -> None:
        for _ in range(requests // CLIENTS):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            try:
                connection.request("GET", "/health", headers={"Connection": "close"})
                status = connection.getresponse().status
                if status != 200:
                    failed.append(status)
            except (OSError, http.client.HTTPException) as error:
                failed.append(error)
            finally:
                connection.close()
            done[client] += 1

    with held() as listener:
        port = listener.getsockname()[1]
        server = start(root, listener, workers)
        threads = [threading.Thread(target=ask, args=(client, port)) for client in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for restart in range(1, RESTARTS + 1):
            while sum(done) < requests * restart // (RESTARTS + 1) and any(thread.is_alive() for thread in threads):
                time.sleep(0.01)
            server.send_signal(signal.SIGTERM)
            server.wait(60)
            server = start(root, listener, workers)
        for thread in threads:
            thread.join(300)
        server.terminate()
        server.wait(60)
    assert (sum(done), failed) == (requests, [])


@pytest.mark.long
def test_a_unix_socket_is_served_and_one_that_a_crash_left_is_replaced(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "convstore.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    command = [*COMMAND, str(root), "--no-auth", "--uds", str(path)]
    with (
        subprocess.Popen(command, stderr=subprocess.DEVNULL) as server,
        httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost") as client,
    ):
        try:
            until(lambda: is_served(path))
            assert client.get("/ready").status_code == 200
            assert path.stat().st_mode & 0o777 == 0o660
            assert "another server listens there" in refuse(root, "--uds", path)
        finally:
            server.terminate()


def is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@pytest.mark.long
def test_a_socket_that_systemd_passes_is_served(root: Path) -> None:
    """systemd starts the server with the socket as descriptor 3, and with its process id in LISTEN_PID."""
    code = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
        "os.execv(sys.argv[2], sys.argv[2:])"
    )
    with held() as listener:
        number = listener.fileno()
        command = [sys.executable, "-c", code, str(number), *COMMAND, str(root), "--no-auth"]
        environment = os.environ | {"LISTEN_FDS": "1"}
        with subprocess.Popen(command, pass_fds=[number], env=environment, stderr=subprocess.DEVNULL) as server:
            try:
                assert httpx.get(f"http://127.0.0.1:{listener.getsockname()[1]}/ready", timeout=60).status_code == 200
            finally:
                server.terminate()


@pytest.mark.long
def test_a_descriptor_that_does_not_listen_is_refused(root: Path) -> None:
    assert "descriptor 77 is not a listening socket" in refuse(root, "--fd", "77")
    with socket.create_server(("0.0.0.0", 0)) as public, pytest.raises(InvalidSettings, match="loopback"):  # noqa: S104
        listen(Settings(store=root, no_auth=True, fd=public.fileno()))
    assert "descriptor 2 is not a listening socket" in refuse(root, "--fd", "2")
