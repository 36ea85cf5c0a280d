"""A server and commands where little is there: any user, no home, no locale, no room, closed streams, a strange umask.

Real processes run on a root file system of their own, as in a container. It needs root.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.builders import make_conversation
from tests.cli.conftest import COMMAND
from tests.deploy.containers import Container
from tests.deploy.recipes import free_port
from tests.documents import ROOT

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

KEY = "a-key-of-a-confined-server"
STORE = "/conversations"
RANDOM_UID = "1000770000"
_WAIT_S = 60


class Place(NamedTuple):
    """What a process finds: its user, its environment, and what a shell did before it."""

    user: str = "0"
    read_only: bool = False
    before: str = ":"
    environment: dict[str, str] = {}  # noqa: RUF012 - nobody changes it
    options: tuple[str, ...] = ()


PLACES = {
    "a random uid and a read-only root": Place(RANDOM_UID, read_only=True),
    "the same with several workers": Place(RANDOM_UID, read_only=True, options=("--workers", "2")),
    "closed streams": Place(before="exec <&- >&- 2>&-"),
    "closed streams and several workers": Place(before="exec <&- >&- 2>&-", options=("--workers", "2")),
    "umask 077": Place(before="umask 077"),
    "umask 000": Place(before="umask 000"),
    "no TMPDIR": Place(environment={"TMPDIR": "/nowhere"}),
    "the locale C": Place(environment={"LC_ALL": "C"}),
    "600 MB of addresses": Place(before="ulimit -v 600000"),
}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Container:
    """This machine with the checkout, which every user may read."""
    container = Container(tmp_path_factory.mktemp("box"), {"PATH": "/usr/bin:/bin"})
    above = {path for place in (ROOT, sys.executable, os.path.realpath(sys.executable)) for path in Path(place).parents}
    opened = container.run("chmod", "a+x", *map(str, sorted(above)))
    assert opened.returncode == 0, opened.stderr
    return container


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A volume with one conversation, which every member of the group 0 may write to."""
    volume = tmp_path / "volume"
    make_conversation(volume)
    for path in (volume, *volume.rglob("*")):
        path.chmod(0o2770 if path.is_dir() else 0o660)
    return volume


@contextmanager
def started(box: Container, store: Path, place: Place, log: Path) -> Iterator[httpx.Client]:
    """Run `convstore serve` in a place, and return a client of it, once the index is complete."""
    port = free_port()
    environment = box.environment | place.environment | {"CONVSTORE_API_KEY": KEY, "CONVSTORE_PORT": str(port)}
    command = [str(COMMAND), "serve", STORE, *place.options]
    how: dict[str, Any] = {"user": place.user, "read_only": place.read_only, "before": place.before}
    with (
        log.open("w") as written,
        subprocess.Popen(
            box.confine(command, volumes={STORE: store}, **how), env=environment, stderr=written
        ) as process,
        httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"X-Session-API-Key": KEY}, timeout=_WAIT_S
        ) as client,
    ):
        try:
            deadline = time.monotonic() + _WAIT_S
            while True:
                try:
                    if client.get("/ready?wait=30").status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.1)
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
            yield client
        finally:
            process.terminate()
            process.wait(_WAIT_S)


@pytest.mark.parametrize("name", PLACES)
def test_a_server_works(box: Container, store: Path, tmp_path: Path, name: str) -> None:
    place, log = PLACES[name], tmp_path / "log"
    text = "x" * 3_000_000  # is put aside in a temporary file by an export
    said = {"role": "user", "content": [{"type": "text", "text": text}]}
    with started(box, store, place, log) as client:
        [one] = client.get("/api/conversations/search").json()["items"]
        path = f"/api/conversations/{one['id']}"
        answers = [
            client.patch(path, json={"title": "Named é in a small place"}),
            client.post(f"{path}/events", json=said),
            client.get(f"{path}/export?format=jsonl"),
            client.get(f"{path}/export?format=html"),
            client.get("/api/messages/search?q=message"),
            client.get("/api/doctor"),
            client.get("/metrics"),
            client.get("/"),
        ]
        assert [(answer.status_code, answer.text[:200]) for answer in answers if not answer.is_success] == []
        assert client.get(path).json()["title"] == "Named é in a small place"
    assert "Traceback" not in log.read_text()
    events = [entry for entry in store.glob("*/events/*.json") if entry.stat().st_size > 1_000_000]
    assert [event.stat().st_mode & 0o777 for event in events] == [0o600]


@pytest.mark.parametrize("name", [name for name in PLACES if not PLACES[name].options])
def test_commands_work(box: Container, store: Path, name: str) -> None:
    place = PLACES[name]
    box_there = Container(box.directory, box.environment | place.environment)
    closed = "closed" in name
    for command in (
        ("list", "--json"), ("show", "0000"), ("search", "message"), ("export", "0000", "-o", f"{STORE}/a.jsonl"),
        ("rename", "0000", "Named é"), ("index", "verify"), ("db", "check"),
    ):  # fmt: skip
        ran = box_there.run(
            str(COMMAND), *command, "--store", STORE, user=place.user, read_only=place.read_only, before=place.before,
            volumes={STORE: store},
        )  # fmt: skip
        assert (ran.returncode, "Traceback" in ran.stderr) == (0, False), (command, ran.stderr)
        if command[0] == "list" and not closed:
            assert len(json.loads(ran.stdout)["items"]) == 1


@pytest.mark.parametrize("kilobytes", [400_000, 300_000, 200_000, 100_000])
def test_too_little_memory_is_a_line_or_enough(box: Container, store: Path, tmp_path: Path, kilobytes: int) -> None:
    log = tmp_path / "log"
    try:
        with started(box, store, Place(before=f"ulimit -v {kilobytes}"), log) as client:
            assert client.get("/api/conversations/count").json() == 1
    except AssertionError:
        assert "Traceback" not in log.read_text(), log.read_text()
