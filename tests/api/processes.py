"""A server in a process of its own, and raw sockets that leave it as no well-behaved client does."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx

from tests.api.clients import HEADERS, KEY

_START_S = 30.0
_SERVE = "import gc; gc.disable(); from app.cli.entry import run; run()"
"""Without the cycle collector, whatever a cycle of references holds is held for ever."""


class ServerProcess:
    """A running server: its port, its memory, and the log that it has written."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.host = f"127.0.0.1:{port}"
        self._log = log

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://{self.host}", headers=HEADERS, timeout=60)

    def resident_mb(self) -> float:
        """Return the resident memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def highest_mb(self) -> float:
        """Return the highest resident memory since `forget_highest`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def forget_highest(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def log(self) -> str:
        return self._log.read_text()

    def open_request(self, method: str, path: str, *headers: str) -> socket.socket:
        """Send the head of a request, and return its socket, of which nothing is read."""
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", self.port))
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}", f"X-Session-API-Key: {KEY}", *headers, "", ""]
        connection.sendall("\r\n".join(lines).encode())
        return connection

    def first_status(self, connection: socket.socket) -> int:
        """Read the first bytes of an answer and return its status."""
        return int(connection.recv(4096).split()[1])


@contextmanager
def serving_process(root: Path, **environment: str) -> Iterator[ServerProcess]:
    """Serve a store by a process without a cycle collector."""
    log = root.with_name(f"{root.name}.log")
    command = [sys.executable, "-c", _SERVE, "serve", str(root), "--port", "0"]
    settings = {"CONVSTORE_API_KEY": KEY, "CONVSTORE_LOG_LEVEL": "info", **environment}
    with (
        log.open("wb") as written,
        subprocess.Popen(command, env=os.environ | settings, stderr=written, stdout=written) as process,
    ):
        try:
            yield ServerProcess(process, _wait_for_port(process, log), log)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            finally:
                process.kill()


def _wait_for_port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())
        if found is not None and "startup complete" in log.read_text():
            return int(found[1])
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def leave(connection: socket.socket) -> None:
    """Close a socket with unread data in it, which resets the connection."""
    with closing(connection):
        pass
