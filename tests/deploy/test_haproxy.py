"""The docs' recipe for HAProxy, with a real HAProxy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.cli.test_serve import served
from tests.deploy.recipes import free_port, recipe, running, wait_for


@contextmanager
def haproxy(directory: Path, convstore_port: int) -> Iterator[str]:
    """Run HAProxy with the docs' recipe and return the URL of its frontend."""
    port = free_port()
    text = recipe("haproxy")
    for told, real in (("bind :8080", f"bind 127.0.0.1:{port}"), ("127.0.0.1:8000", f"127.0.0.1:{convstore_port}")):
        assert told in text
        text = text.replace(told, real)
    config = directory / "haproxy.cfg"
    config.write_text(
        f"global\n    maxconn 100\ndefaults\n    mode http\n    timeout connect 5s\n    timeout client 1h\n"
        f"    timeout server 1h\n{text.replace('inter 2s', 'inter 50ms')}"
    )
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
