"""The compose file of two hosts, whose parts run as plain processes: two servers, nginx, PostgreSQL, one directory."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from tests.builders import make_conversation, make_id
from tests.cli.test_serve import Server, served, wait_until_in_step
from tests.deploy.recipes import free_port, wait_for
from tests.deploy.test_proxy_nginx import nginx
from tests.documents import ROOT
from tests.faults.hosts import find_generation

FILES = ROOT / "docs/container"
COMPOSE = yaml.safe_load((FILES / "several-hosts.yaml").read_text())
SERVICES = COMPOSE["services"]
NGINX = (FILES / "several-hosts.conf").read_text()
HOSTS = ("one", "two")
KEY = "a-key-of-both-hosts"
CONVERSATIONS = range(1, 5)


def test_the_parts_of_the_compose_file_of_two_hosts_fit() -> None:
    image = (FILES / "Dockerfile").read_text()
    [port] = re.findall(r"EXPOSE (\d+)", image)
    assert "postgres" in re.findall(r"/src\[(.*)\]", image)[0].split(",")
    assert re.findall(r"server (\w+):(\d+) ", NGINX) == [(host, port) for host in HOSTS]
    [listens] = re.findall(r"listen (\d+);", NGINX)
    assert SERVICES["nginx"]["ports"] == [f"127.0.0.1:{listens}:{listens}"]
    for host in HOSTS:
        environment = SERVICES[host]["environment"]
        assert environment["CONVSTORE_HOST_NAME"] == host
        assert environment["PGPASSWORD"] == SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"]
        assert environment["CONVSTORE_INDEX_URL"] == "postgresql://convstore@postgres/convstore"
        assert SERVICES[host]["volumes"] == ["conversations:/conversations"]
    for service in SERVICES.values():
        sources = {volume.partition(":")[0] for volume in service["volumes"]}
        assert {name for name in sources if not name.startswith(".")} <= COMPOSE["volumes"].keys()
        assert all((FILES / name).exists() for name in sources if name.startswith("."))
        assert {*service.get("depends_on", ())} <= SERVICES.keys()


class Hosts:
    """The two servers, each on a port that it keeps when it is started again."""

    def __init__(self, store: Path, url: str, schema: str) -> None:
        self._store = store
        self.ports = {host: free_port() for host in HOSTS}
        self._settings = {"CONVSTORE_INDEX_URL": url, "CONVSTORE_INDEX_SCHEMA": schema, "CONVSTORE_API_KEY": KEY}
        self._running: dict[str, ExitStack] = {}

    def start(self, host: str) -> Server:
        told = SERVICES[host]["environment"]
        settings = told | self._settings | {"CONVSTORE_TRUSTED_PROXIES": "127.0.0.1"}
        self._running[host] = ExitStack()
        running = served(self._store, "--port", self.ports[host], **settings)
        return self._running[host].enter_context(running)

    def end(self, host: str) -> None:
        self._running.pop(host).close()

    def end_all(self) -> None:
        for host in list(self._running):
            self.end(host)


@contextmanager
def behind_nginx(directory: Path, hosts: Hosts) -> Iterator[httpx.Client]:
    port = free_port()
    text = NGINX.replace("listen 8080", f"listen 127.0.0.1:{port}")
    for host in HOSTS:
        text = text.replace(f"server {host}:8000", f"server 127.0.0.1:{hosts.ports[host]}")
    with (
        nginx(directory, text),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-Session-API-Key": KEY}, timeout=60) as client,
    ):
        wait_for(port)
        yield client


class Sender:
    """A client that sends messages to all conversations in turn."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.sent = dict.fromkeys(CONVERSATIONS, 0)
        self.refused: list[str] = []

    def send_to_all(self) -> None:
        for number in CONVERSATIONS:
            said = {"role": "user", "content": [{"type": "text", "text": f"text {self.sent[number]}"}]}
            answer = self._client.post(f"/api/conversations/{make_id(number)}/events", json=said)
            self.sent[number] += answer.is_success
            if not answer.is_success:
                self.refused.append(answer.text)

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send during the block, in a thread."""
        over = threading.Event()

        def send() -> None:
            while not over.wait(0.02):
                self.send_to_all()

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@pytest.mark.long
@pytest.mark.postgres
def test_two_hosts_behind_nginx_are_restarted_in_turn_without_a_refusal(
    tmp_path: Path, postgres_url: str, schema: str
) -> None:
    store = tmp_path / "conversations"
    for number in CONVERSATIONS:
        make_conversation(store, number)
    hosts = Hosts(store, postgres_url, schema)
    try:
        wait_until_in_step(hosts.start("one").url, KEY)
        hosts.start("two")
        with behind_nginx(tmp_path, hosts) as client:
            sender = Sender(client)
            for _ in range(2):
                sender.send_to_all()
            assert {find_generation(store, number) for number in CONVERSATIONS} == {1}  # no hand-over
            for port in hosts.ports.values():
                page = client.get(f"http://127.0.0.1:{port}/api/conversations/search").json()
                assert [item["event_count"] for item in page["items"]] == [4] * len(CONVERSATIONS)
            with sender.sending():
                for host in HOSTS:
                    hosts.end(host)
                    hosts.start(host)
            assert sender.refused == []
            for number in CONVERSATIONS:
                count = client.get(f"/api/conversations/{make_id(number)}/events/count").json()
                assert count == 2 + sender.sent[number]
    finally:
        hosts.end_all()
