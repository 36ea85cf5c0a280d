"""What must work through any proxy, with a path prefix and without one."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
from websockets.sync.client import connect

from tests.builders import make_conversation, make_id
from tests.cli.test_serve import Server, served, wait_until_in_step
from tests.deploy.recipes import free_port, recipe, running, wait_for

KEY = "the-key-of-the-proxied"
HEADERS = {"X-Session-API-Key": KEY, "Accept-Encoding": "gzip"}
CLIENT = "127.0.0.9"
"""The address from which the client connects to the proxy, which itself connects from 127.0.0.1."""

Proxy = Callable[[Path, str], AbstractContextManager[None]]
"""Runs a proxy with a text as its configuration; it gets a directory for its files."""


@contextmanager
def proxied(directory: Path, language: str, prefix: str, run: Proxy) -> Iterator[tuple[str, Server]]:
    """Run a server, and before it a proxy with the docs' recipe. Give the URL of the proxy with the prefix.

    The recipe is that for the prefix /convstore.
    """
    port = free_port()
    store = directory / "conversations"
    make_conversation(store)
    settings = {"CONVSTORE_API_KEY": KEY, "CONVSTORE_TRUSTED_PROXIES": "127.0.0.1", "CONVSTORE_BASE_PATH": prefix}
    with served(store, **settings) as server:
        wait_until_in_step(server.url, KEY)
        text = recipe(language)
        assert text.count("/convstore/") == 1
        for told, real in (
            ("127.0.0.1:8000", server.url.removeprefix("http://")),
            (":8080" if ":8080" in text else "8080", f":{port}" if ":8080" in text else f"127.0.0.1:{port}"),
            ("/convstore/", f"{prefix}/"),
        ):
            assert told in text
            text = text.replace(told, real)
        with run(directory, text):
            wait_for(port)
            yield f"http://127.0.0.1:{port}{prefix}", server


@contextmanager
def with_file(directory: Path, text: str, *command: str) -> Iterator[None]:
    """Run a proxy whose last argument is the file of its configuration."""
    config = directory / "proxy.conf"
    config.write_text(text)
    with running(*command, str(config)):
        yield


def check_proxied(url: str, server: Server) -> None:
    """Check the page, the API, redirects, an event stream, a socket, and who the client is."""
    prefix = re.sub(r"http://[^/]*", "", url)
    transport = httpx.HTTPTransport(local_address=CLIENT)
    with httpx.Client(transport=transport, base_url=url, headers=HEADERS, timeout=60) as client:
        for path in ("/", "/docs"):
            html = client.get(path).text
            found = re.findall(r"""(?:href|src|action)=['"](/[^'"]*)""", html)
            assert found
            assert [address for address in found if not address.startswith(f"{prefix}/")] == []
        assert client.get("/static/app.css").status_code == 200
        assert client.get("/api/conversations/count").json() == 1
        assert client.get("/api/conversations/count/").headers["location"] == f"{url}/api/conversations/count"
        with client.stream("GET", f"/api/conversations/{make_id(1)}/events/stream") as stream:
            assert "content-encoding" not in stream.headers, stream.headers
            assert any("message 1" in line for line in stream.iter_lines())
        origin = {"Origin": url.removesuffix(prefix)}
        titled = client.patch(f"/api/conversations/{make_id(1)}", json={"title": "x"}, headers=origin)
        assert titled.status_code == 200, titled.text
        upload = client.post("/api/conversations/import", content=gzip.compress(b"no archive"))
        assert upload.status_code == 422
        answer = client.post("/mcp", json=SEARCH, headers={"Accept": "application/json, text/event-stream"})
        assert f"{url}/c/" in answer.text
    address = f"{url.replace('http', 'ws', 1)}/sockets/events/{make_id(1)}"
    with connect(address, additional_headers={"X-Session-API-Key": KEY}) as socket:
        assert "full_state" in str(socket.recv(60))
    until = time.monotonic() + 60
    while not (lines := [json.loads(line) for line in server.log if '"audit": "write"' in line]):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert (lines[0]["method"], lines[0]["client"]) == ("PATCH", CLIENT)


SEARCH = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "search_messages", "arguments": {"query": "message"}},
}
"""A call of MCP whose answer has addresses of conversations."""
