"""A running server whose disk is full, read-only or gone, or whose clock jumps: it says so, and goes on by itself."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.builders import make_conversation, make_event, make_id
from tests.cli.test_serve import COMMAND, served
from tests.faults.disks import mounted_twice, small_disk

pytestmark = pytest.mark.long

KEY = "a-key"
DAY_S = 86_400
ONE = f"/api/conversations/{make_id(1)}"
COUNT = "/api/conversations/count"

Asked = tuple[int, Any]


class Client:
    """A client that sees status and body, or status and the error's code."""

    def __init__(self, url: str) -> None:
        # A server closes a connection after 5 s without a request, perhaps just when the next one is sent.
        soon = httpx.Limits(keepalive_expiry=2)
        self._http = httpx.Client(base_url=url, headers={"X-Session-API-Key": KEY}, timeout=30, limits=soon)
        self.appended = 0

    def ask(self, method: str, path: str, body: object = None) -> Asked:
        answer = self._http.request(method, path, json=body)
        return answer.status_code, answer.json() if answer.is_success else answer.json()["code"]

    def append(self) -> str:
        """Append an event, and return "appended" or the error's code."""
        event = make_event(100 + self.appended)
        self.appended += 1
        status, body = self.ask("POST", f"{ONE}/events/batch", {"events": [event]})
        return "appended" if status == 201 else str(body)

    def until(self, wanted: Asked, method: str, path: str) -> None:
        deadline = time.monotonic() + 40
        while (got := self.ask(method, path)) != wanted:
            assert time.monotonic() < deadline, f"{got}, not {wanted}"
            time.sleep(0.05)

    def close(self) -> None:
        self._http.close()


@contextmanager
def running(root: Path, *arguments: object, program: tuple[str, ...] = COMMAND) -> Iterator[Client]:
    """Serve a store, wait until its index is in step, and give a client."""
    with served(root, *arguments, program=program, CONVSTORE_API_KEY=KEY) as server:
        client = Client(server.url)
        try:
            client.until((200, len(list(root.glob("0*")))), "GET", COUNT)
            yield client
        finally:
            client.close()


def fill(file: Path) -> Callable[[], None]:
    """Fill a disk to the last byte, and return how to make room again."""
    with file.open("wb") as filling, suppress(OSError):
        while True:
            os.write(filling.fileno(), bytes(4096))
    return file.unlink


def use_up(directory: Path) -> Callable[[], None]:
    """Use up all inodes of a disk, and return how to free them again."""
    directory.mkdir()
    with suppress(OSError):
        for number in range(10_000):
            (directory / str(number)).touch()
    return lambda: shutil.rmtree(directory)


def test_a_full_disk_refuses_each_write_and_is_written_to_again_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        root = disk / "conversations"
        make_conversation(root, 1)
        make_conversation(root, 2)
        new = {"agent": {"llm": {"model": "a/model"}}, "workspace": {"working_dir": "/home/dev"}}
        with running(root) as client:
            assert client.append() == "appended"
            for number, full in enumerate((fill, use_up), start=1):
                make_room = full(disk / "more")
                assert client.append() == "disk_full"
                assert client.append() == "disk_full"
                assert client.ask("POST", "/api/conversations", new) == (507, "disk_full")
                assert client.ask("PATCH", ONE, {"title": f"Title {number}"}) == (507, "disk_full")
                assert client.ask("POST", f"{ONE}/fork", {}) == (507, "disk_full")
                assert client.ask("GET", COUNT) == (200, 1 + number)
                assert client.ask("GET", "/ready")[0] == 200
                assert len(client.ask("GET", f"{ONE}/events/search")[1]["items"]) == 2 + number
                make_room()
                assert client.append() == "appended"
                assert client.ask("PATCH", ONE, {"title": f"Title {number}"})[0] == 200
                assert client.ask("GET", ONE)[1]["title"] == f"Title {number}"
                assert client.ask("POST", "/api/conversations", new)[0] == 201
                assert client.ask("GET", f"{ONE}/events/count") == (200, 3 + number)
                assert client.ask("GET", COUNT) == (200, 2 + number)
        left = [path.name for path in root.rglob("*") if path.name.endswith(".tmp") or path.name.startswith(".new")]
        assert left == []


def unprivileged() -> tuple[str, ...]:
    """Return how to run a program that may not write into what is read-only, as root may."""
    return ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()


def test_a_directory_that_becomes_read_only_refuses_writes_until_it_is_not(tmp_path: Path) -> None:
    root = tmp_path / "conversations"
    directory = make_conversation(root, 1)
    closed = [directory / "events", directory, root]
    with running(root, program=(*unprivileged(), *COMMAND)) as client:
        assert client.append() == "appended"
        for one in closed:
            one.chmod(0o555)
        try:
            assert client.append() == "write_failed"
            assert client.ask("PATCH", ONE, {"title": "Another"}) == (500, "write_failed")
            assert client.ask("DELETE", ONE) == (500, "write_failed")
            assert client.ask("GET", f"{ONE}/events/count") == (200, 3)
        finally:
            for one in closed:
                one.chmod(0o755)
        assert client.append() == "appended"
        assert client.ask("DELETE", ONE)[0] == 200
        assert client.ask("GET", COUNT) == (200, 0)


def unmounted(root: Path) -> Callable[[], None]:
    """Leave an empty directory, as a disk does that is no longer mounted."""
    root.rename(root.with_name("away"))
    root.mkdir()

    def mount() -> None:
        root.rmdir()
        root.with_name("away").rename(root)

    return mount


def deleted(root: Path) -> Callable[[], None]:
    """Delete everything; what comes back is a copy without an index."""
    shutil.copytree(root, root.with_name("copy"), ignore=lambda *_: [".convstore"])
    shutil.rmtree(root)
    return lambda: (root.with_name("copy").rename(root), None)[1]


@pytest.mark.parametrize("take_away", [unmounted, deleted])
def test_a_directory_that_is_gone_is_not_made_again_and_served_when_it_is_back(
    tmp_path: Path, take_away: Callable[[Path], Callable[[], None]]
) -> None:
    root = tmp_path / "conversations"
    make_conversation(root, 1)
    with running(root) as client:
        assert client.append() == "appended"
        bring_back = take_away(root)
        assert client.ask("GET", "/ready")[0] == 503
        assert client.append() in ("conversation_not_found", "ownership_lost", "store_unavailable")
        time.sleep(2)  # long enough for an index to be made where there is none
        assert client.ask("GET", "/ready")[0] == 503
        assert client.ask("GET", COUNT) != (200, 0)
        assert not root.exists() or list(root.iterdir()) == []
        bring_back()
        client.until((200, 1), "GET", COUNT)
        client.until((200, {"status": "ready"}), "GET", "/ready")
        client.until((200, 3), "GET", f"{ONE}/events/count")
        assert client.append() == "appended"
        make_conversation(root, 2)
        client.until((200, 2), "GET", COUNT)


def test_a_clock_that_jumps_by_a_day_costs_nobody_a_conversation(tmp_path: Path) -> None:
    root = tmp_path / "conversations"
    make_conversation(root, 1)
    offset, aside = tmp_path / "offset", tmp_path / "aside"
    offset.write_text("0")
    program = (sys.executable, "-m", "tests.faults.clock", str(offset), "serve")
    with running(root, program=program) as owner, running(root, program=program) as other:
        assert owner.append() == "appended"
        assert other.append() == "conversation_owned"
        for number, now_s in enumerate((DAY_S, 0, -DAY_S, 0), start=2):
            aside.write_text(str(now_s))
            aside.replace(offset)  # the servers read it all the time
            assert other.append() == "conversation_owned"
            assert owner.append() == "appended"
            make_conversation(root, number)
            other.until((200, number), "GET", COUNT)
            owner.until((200, number), "GET", COUNT)
        assert owner.ask("GET", f"{ONE}/events/count") == (200, 7)
        assert owner.ask("DELETE", ONE)[0] == 200


def test_a_disk_that_is_unmounted_and_mounted_again_is_noticed(tmp_path: Path) -> None:
    disk, root = tmp_path / "disk", tmp_path / "mounted"
    disk.mkdir()
    root.mkdir()
    make_conversation(disk, 1)
    with mounted_twice(disk, root) as (mount, unmount):
        mount()
        with running(root, "--index", f"sqlite:///{tmp_path / 'index.db'}") as client:
            unmount()
            client.until((503, "store_unavailable"), "GET", COUNT)
            assert client.ask("GET", "/ready") == (503, "store_unavailable")
            time.sleep(2)
            assert client.ask("GET", COUNT) == (503, "store_unavailable")
            assert list(root.iterdir()) == []
            mount()
            client.until((200, 1), "GET", COUNT)
            assert client.ask("GET", "/ready") == (200, {"status": "ready"})
            assert client.append() == "appended"
