"""`convstore serve --workers N`, and how a server ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app import Settings
from app.api.sessions import make_code
from app.files import lease
from tests.builders import held_by_another_process, make_conversation, make_id, names_in
from tests.cli.test_serve import served

pytestmark = pytest.mark.long

GONE = """
import shutil
from app.cli import main, serve
greet = serve._greet
def greet_and_lose(settings, *arguments, **given):
    greet(settings, *arguments, **given)
    shutil.rmtree(settings.root)
serve._greet = greet_and_lose
main.run()
"""
"""The command, in front of which the store is deleted when it was found usable and before a server opens it."""

KEY = "X-Session-API-Key"


def until(true: Callable[[], bool]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children(pid: int) -> set[int]:
    """Return the processes that serve: the children of `pid` that run the server."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child) for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()}


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_share_a_store_a_key_and_their_counters(tmp_path: Path) -> None:
    for number in range(1, 4):
        make_conversation(tmp_path, number)
    with served(tmp_path, "--workers", "2", CONVSTORE_LOG_FORMAT="plain") as server:
        key = (tmp_path / ".convstore" / "api-key").read_text().strip()
        workers = children(server.process.pid)
        assert len(workers) == 2

        def ask(path: str) -> httpx.Response:
            return httpx.get(f"{server.url}{path}", headers={KEY: key})

        until(lambda: ask("/api/conversations/count").json() == 3)
        asked = 40
        for _ in range(asked):  # each on a connection of its own, so that both get some
            assert ask("/ready").status_code == 200
        told = ask("/metrics").text
        counted = re.search(r'convstore_requests_total\{method="GET",route="/ready",status="200"\} (\S+)', told)
        synced = re.search(r"convstore_sync_seconds_count (\S+)", told)
        assert counted is not None
        assert synced is not None
        assert (float(counted[1]), float(synced[1])) == (asked, 1)

        victim = workers.pop()
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(children(server.process.pid) - {victim}) == 2)
        until(lambda: ask("/ready").status_code == 200)
        left = children(server.process.pid)
    assert server.process.returncode == 0
    assert not any(map(lives, left))


def test_workers_are_one_owner_and_write_to_one_conversation(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, 1, events=0)
    message = {"role": "user", "content": [{"type": "text", "text": "hello"}]}
    asked = 24
    with served(tmp_path, "--workers", "2", "--no-auth") as server:

        def append(_number: int) -> int:
            return httpx.post(f"{server.url}/api/conversations/{make_id(1)}/events", json=message).status_code

        until(lambda: httpx.get(f"{server.url}/ready").status_code == 200)
        with ThreadPoolExecutor(8) as clients:
            assert set(clients.map(append, range(asked))) == {200}
        owners = list((tmp_path / ".convstore" / "owners").glob("*.lock"))
    assert len(owners) == 1
    assert [name[6:11] for name in names_in(path / "events") if name.startswith("event-")] == [
        f"{number:05d}" for number in range(asked)
    ]


def test_a_worker_that_is_done_leaves_the_lease_to_the_one_that_still_writes(tmp_path: Path) -> None:
    make_conversation(tmp_path, 1)
    message = {"role": "user", "content": [{"type": "text", "text": "hello"}]}

    def is_owned() -> bool:
        return lease.find_holder(tmp_path, make_id(1)) is not None

    with served(tmp_path, "--workers", "2", "--no-auth", CONVSTORE_IDLE_S="2") as server:
        until(lambda: httpx.get(f"{server.url}/api/conversations/count").json() == 1)
        one, other = children(server.process.pid)

        def append_without(worker: int) -> None:
            os.kill(worker, signal.SIGSTOP)
            try:
                answer = httpx.post(f"{server.url}/api/conversations/{make_id(1)}/events", json=message, timeout=20)
            finally:
                os.kill(worker, signal.SIGCONT)
            assert answer.status_code == 200, answer.text

        append_without(other)
        for _ in range(12):  # six seconds, in which the first one closes it
            append_without(one)
            time.sleep(0.5)
            assert is_owned()
        until(lambda: not is_owned())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_whose_store_goes_before_it_starts_says_so_and_fails(root: Path, workers: int) -> None:
    command = (sys.executable, "-c", GONE, "serve", str(root), "--port", "0", "--no-auth", "--workers", str(workers))
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert done.stderr.count(f"{root} is not a directory; give the directory that contains the conversations") >= 1
    assert done.stderr.endswith("convstore: the server could not start; see the log for the reason\n")
    assert "Traceback" not in done.stderr


def test_a_worker_killed_while_it_is_asked_whether_it_lives_is_replaced_at_once(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "2", "--no-auth") as server:
        until(lambda: httpx.get(f"{server.url}/ready").status_code == 200)
        workers = children(server.process.pid)
        victim = min(workers)
        os.kill(victim, signal.SIGSTOP)
        time.sleep(3)
        killed_at = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(children(server.process.pid) - {victim}) == 2)
        assert time.monotonic() - killed_at < 15


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "2", "--no-auth") as server:
        workers = children(server.process.pid)
        until(lambda: httpx.get(f"{server.url}/ready").status_code == 200)
        server.process.kill()
        until(lambda: not any(map(lives, workers)))


def test_an_open_event_stream_does_not_hold_a_server_up(tmp_path: Path) -> None:
    make_conversation(tmp_path, 1)
    with (
        served(tmp_path, "--no-auth", CONVSTORE_SHUTDOWN_TIMEOUT_S="60") as server,
        httpx.stream("GET", f"{server.url}/api/conversations/{make_id(1)}/events/stream", timeout=30) as answer,
    ):
        lines = answer.iter_lines()
        assert any("message 1" in line for line in lines)
        server.process.send_signal(signal.SIGTERM)
        assert not any("message" in line for line in lines)
        assert server.process.wait(60) == -signal.SIGTERM


def test_a_server_that_cannot_finish_ends_all_the_same(tmp_path: Path) -> None:
    make_conversation(tmp_path)
    bounds = {"CONVSTORE_SHUTDOWN_TIMEOUT_S": "0.5", "CONVSTORE_BUSY_TIMEOUT_S": "100"}
    with served(tmp_path, "--no-auth", **bounds) as server:
        until(lambda: httpx.get(f"{server.url}/api/conversations/count").json() == 1)
        with held_by_another_process(tmp_path / ".convstore" / "index.db.lock"):
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(60) == 1


def test_a_worker_gets_the_settings_of_its_parent(tmp_path: Path) -> None:
    given = {"store": tmp_path, "api_key": "a,b", "allowed_hosts": "x,y", "no_auth": True, "port": 1, "workers": 3}
    settings = Settings.model_validate(given)
    environment = settings.as_environment()
    assert environment["CONVSTORE_API_KEY"] == "a,b"
    os.environ |= environment
    try:
        assert Settings() == settings
    finally:
        for name in environment:
            del os.environ[name]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sighup_makes_every_process_read_the_keys_again(root: Path, tmp_path: Path, workers: str) -> None:
    file = tmp_path / "keys"
    keys = ["the-first-key-of-all", "the-second-key-of-all"]
    file.write_text(f"# since May\n{keys[0]}\n")
    with served(root, "--workers", workers, "--api-key-file", file) as server:

        def ask(key: str) -> int:
            return httpx.get(f"{server.url}/api/conversations/count", headers={KEY: key}).status_code

        until(lambda: sum("startup complete" in line for line in server.log) == int(workers) - 1)
        assert ask(keys[0]) == 200
        pids = children(server.process.pid) or {server.process.pid}
        assert len(pids) == int(workers)
        file.write_text(f"{keys[1]}\n")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: sum("read again" in line for line in server.log) >= int(workers))
        assert {ask(keys[1]) for _ in range(10)} == {200}
        assert {ask(keys[0]) for _ in range(10)} == {401}
        assert (children(server.process.pid) or {server.process.pid}) == pids


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sighup_makes_every_process_read_the_log_level_again(root: Path, tmp_path: Path, workers: str) -> None:
    file = tmp_path / "convstore.env"
    file.write_text("CONVSTORE_LOG_LEVEL=info\n")
    with served(root, "--workers", workers, "--no-auth", CONVSTORE_ENV_FILE=str(file)) as server:
        until(lambda: sum("startup complete" in line for line in server.log) == int(workers) - 1)
        until(lambda: httpx.get(f"{server.url}/alive").status_code == 200)  # a slow one is told
        until(lambda: httpx.get(f"{server.url}/ready").status_code == 200)
        assert not any("GET /ready 200" in line for line in server.log)
        file.write_text("CONVSTORE_LOG_LEVEL=debug\n")
        server.process.send_signal(signal.SIGHUP)
        told = int(workers) + (workers != "1")  # the parent of workers has a log, too
        until(lambda: sum("the log level is now debug" in line for line in server.log) == told)
        httpx.get(f"{server.url}/ready")
        until(lambda: any("GET /ready 200" in line for line in server.log))
        file.write_text("CONVSTORE_LOG_LEVEL=loud\n")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: sum("the log level stays" in line for line in server.log) == told)
    assert server.process.returncode in (0, -signal.SIGTERM)


def test_a_worker_in_place_of_a_dead_one_counts_as_a_restart(root: Path) -> None:
    with served(root, "--workers", "2", "--no-auth") as server:

        def read(name: str) -> float:
            found = re.search(rf"^{name} (\S+)$", httpx.get(f"{server.url}/metrics").text, re.MULTILINE)
            assert found is not None
            return float(found[1])

        until(lambda: httpx.get(f"{server.url}/ready").status_code == 200)
        assert read("convstore_worker_restarts_total") == 0
        assert read("process_resident_memory_bytes") > 100 << 20
        os.kill(children(server.process.pid).pop(), signal.SIGKILL)
        until(lambda: read("convstore_worker_restarts_total") == 1)
        assert read("convstore_requests_in_flight") == 1


def test_of_many_that_bring_a_login_code_to_four_workers_one_signs_in(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "4", CONVSTORE_API_KEY="the-key") as server:
        until(lambda: httpx.get(f"{server.url}/alive").status_code == 200)
        for _ in range(5):
            code = make_code(tmp_path / ".convstore")
            ready = threading.Barrier(12)

            def sign_in(_number: int, code: str = code, ready: threading.Barrier = ready) -> int:
                with httpx.Client(base_url=server.url, timeout=60) as client:  # its own connection: to any worker
                    client.get("/alive")
                    ready.wait()
                    return client.post("/api/session", json={"code": code}).status_code

            with ThreadPoolExecutor(12) as clients:
                assert sorted(clients.map(sign_in, range(12))) == [201] + 11 * [401]


def test_signing_out_ends_a_session_in_every_worker(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "2", CONVSTORE_API_KEY="the-key") as server:
        until(lambda: httpx.get(f"{server.url}/alive").status_code == 200)
        tokens = [httpx.post(f"{server.url}/api/session", json={"key": "the-key"}).json()["token"] for _ in range(2)]

        def ask(token: str) -> set[int]:
            """Return the statuses over many connections, so that each worker answers some."""
            return {
                httpx.get(f"{server.url}/api/conversations/count", headers={KEY: token}).status_code for _ in range(30)
            }

        assert [ask(token) for token in tokens] == [{200}, {200}]
        assert httpx.delete(f"{server.url}/api/session", headers={KEY: tokens[0]}).status_code == 204
        assert [ask(token) for token in tokens] == [{401}, {200}]
