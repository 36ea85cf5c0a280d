"""The docs' recipe for HAProxy, with a real HAProxy."""

from __future__ import annotations

import csv
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.cli.test_serve import served
from tests.deploy.recipes import free_port, recipe, running, wait_for

pytestmark = pytest.mark.long


@contextmanager
def haproxy(directory: Path, convstore_port: int, *, default_check: bool = False) -> Iterator[str]:
    """Run HAProxy with the docs' recipe, or with HAProxy's own check, and return the URL of its frontend."""
    port = free_port()
    text = recipe("haproxy")
    if default_check:
        text = text.replace("option httpchk GET /ready", "option httpchk").replace("http-check expect status 200", "")
    for told, real in (("bind :8080", f"bind 127.0.0.1:{port}"), ("127.0.0.1:8000", f"127.0.0.1:{convstore_port}")):
        assert told in text
        text = text.replace(told, real)
    config = directory / "haproxy.cfg"
    above = (
        f"global\n    maxconn 100\n    stats socket {directory}/stats\n"
        "defaults\n    mode http\n    timeout connect 5s\n    timeout client 1h\n    timeout server 1h\n"
    )
    config.write_text(above + text.replace("inter 2s", "inter 50ms"))
    with running("haproxy", "-f", str(config)):
        wait_for(port)
        yield f"http://127.0.0.1:{port}"


def wait_for_status(url: str, status: int) -> None:
    deadline = time.monotonic() + 60
    while httpx.get(url).status_code != status:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_check_without_a_host_header_follows_the_readiness(root: Path, tmp_path: Path) -> None:
    with served(root, "--no-auth") as server, haproxy(tmp_path, int(server.url.rsplit(":", 1)[1])) as url:
        count = f"{url}/api/conversations/count"
        wait_for_status(count, 200)
        root.rename(tmp_path / "elsewhere")  # HAProxy answers 503 itself, because no server is up
        deadline = time.monotonic() + 60
        while "application/json" in httpx.get(count).headers["content-type"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        (tmp_path / "elsewhere").rename(root)
        wait_for_status(count, 200)


def read_check(directory: Path) -> tuple[str, str]:
    """Return the result of HAProxy's last check of the server, and the status that the server answered."""
    with socket.socket(socket.AF_UNIX) as stats:
        stats.connect(str(directory / "stats"))
        stats.sendall(b"show stat\n")
        text = b"".join(iter(lambda: stats.recv(65_536), b"")).decode()
    [row] = [row for row in csv.DictReader(text.lstrip("# ").splitlines()) if row["svname"] == "one"]
    return row["check_status"], row["check_code"]


def test_the_default_check_of_haproxy_succeeds(root: Path, tmp_path: Path) -> None:
    with (
        served(root, CONVSTORE_API_KEY="the-key-of-a-server") as server,
        haproxy(tmp_path, int(server.url.rsplit(":", 1)[1]), default_check=True),
    ):
        deadline = time.monotonic() + 60
        while (found := read_check(tmp_path)) != ("L7OK", "204"):  # the first may end after its 50 ms
            assert time.monotonic() < deadline, found
            time.sleep(0.02)
