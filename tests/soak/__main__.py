"""`python -m tests.soak`: mixed load over HTTP, other programs that write, random kills; then what was promised.

In the first third the server is killed too; after that it lives to the end, so that its memory can be seen to be flat.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.builders import make_conversation, make_event, write_event
from tests.soak.load import LONG, Client

CLIENTS = 6
CONVERSATIONS = 300
LONG_EVENTS = 5_000
LARGE_BYTES = 5_000_000
KEY = "a-key"

_GROWTH_MB = 15.0
_WARMING = 600
"""The requests to a new server after which its memory is looked at.

Until then it grows by 25 MB: modules are imported, each of its 31 threads is started, and each connection to the index
fills its cache. After 600, another 3,400 requests added some 8 MB.
"""

_GROWTH_FILES = 10
_SETTLING_S = 60
_CHECKOUT = Path(__file__).parents[2]


class Soaked(NamedTuple):
    """How a run went."""

    counted: Counter[str]
    memory_mb: tuple[float, float] | None
    """Of the last server, at the beginning and at the end of the time in which it was warm; None: it never was."""
    files: tuple[int, int]
    """How many files the last server had open before its first client, and after the last one had left."""
    wrong: list[str]

    def __str__(self) -> str:
        memory, files = self.memory_mb, self.files
        grown = "not judged, since too little was asked" if memory is None else f"{memory[0]:.0f} to {memory[1]:.0f} MB"
        told = ", ".join(f"{number:,} {what}" for what, number in sorted(self.counted.items()))
        flat = f"memory {grown}, {files[0]} to {files[1]} open files"
        return f"{told}; {flat}; {len(self.wrong)} wrong"


class _Server:
    """A server that is killed and started again, on one port."""

    def __init__(self, root: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._root = root
        self.url = f"http://127.0.0.1:{self.port}"
        self.changes = 1
        """How often it went up or down: odd while a request may find it down."""
        self.files_at_start = 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "app.cli.main", "serve", str(self._root), "--port", str(self.port)]
        environment = os.environ | {"CONVSTORE_API_KEY": KEY, "CONVSTORE_LOG_LEVEL": "error"}
        self.process = subprocess.Popen(command, cwd=_CHECKOUT, env=environment)
        until = time.monotonic() + 60
        while not self._is_ready():
            assert time.monotonic() < until, "the server is not ready after 60 s"
            time.sleep(0.05)
        self.files_at_start = len(self.list_open())
        self.changes += 1

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ready").status_code == 200
        except httpx.TransportError:
            return False

    def kill_and_start(self) -> None:
        self.changes += 1
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.start()

    def measure_mb(self) -> float:
        """Return the size of its memory."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        memory_kib = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
        return memory_kib * 1024 / 1e6

    def list_open(self) -> list[str]:
        """Return what it has open: paths, and `socket:[number]` and the like."""
        found = []
        for descriptor in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found.append(str(descriptor.readlink()))
        return found

    def find_left_open(self) -> list[str]:
        """Return the files of conversations that stay open, and all that is open if this is more than at the start.

        Nobody must use the server now. While it is used, the number tells nothing: it goes up and down by 20.
        """
        until = time.monotonic() + _SETTLING_S
        while True:
            found = self.list_open()
            of_conversations = {one for one in found if one.startswith(f"{self._root}/") and "/.convstore/" not in one}
            left = sorted(of_conversations if len(found) <= self.files_at_start + _GROWTH_FILES else found)
            if not left or time.monotonic() > until:
                return left
            time.sleep(0.2)


class _Outside:
    """Another program that writes, killed and started again; what it was acknowledged is kept."""

    def __init__(self, kind: str, root: Path) -> None:
        self._kind = kind
        self._root = root
        self._seed = 0
        self.said: list[str] = []
        self.start()

    def start(self) -> None:
        self._seed += 1
        command = [sys.executable, "-m", "tests.soak.outside", self._kind, str(self._root), str(self._seed)]
        self._process = subprocess.Popen(command, cwd=_CHECKOUT, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, args=(self._process,))
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            self.said.extend(line for line in process.stdout if line.endswith("\n"))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def kill_and_start(self) -> None:
        self.kill()
        self.start()


def soak(
    root: Path, seconds: float, kill_every_s: float, seed: int = 1, *, kills: int = 0, requests: int = 0
) -> Soaked:
    """Run so long, and until there were so many kills and requests, and return how it went."""
    dice = random.Random(seed)  # noqa: S311
    _fill(root)
    server = _Server(root)
    outside = [_Outside("library", root), _Outside("library", root), _Outside("files", root)]
    clients = [Client(server.url, KEY, seed + number) for number in range(CLIENTS)]
    counted: Counter[str] = Counter()
    samples: list[float] = []
    with _asking(server, clients):
        began = time.monotonic()
        next_kill = began + kill_every_s
        warm_at = _WARMING

        def count_asked() -> int:
            return sum(one.counted["requests"] for one in clients)

        def is_over(now: float) -> bool:
            return now > began + seconds and counted["kills"] >= kills and count_asked() >= requests

        while not is_over(now := time.monotonic()):
            if now > next_kill:
                next_kill = now + kill_every_s * dice.uniform(0.5, 1.5)
                victims: list[_Server | _Outside] = [*outside, server] if now < began + seconds / 3 else [*outside]
                victim = dice.choice(victims)
                victim.kill_and_start()
                counted["kills"] += 1
                if victim is server:
                    warm_at = count_asked() + _WARMING
            if now > began + seconds / 3 and count_asked() >= warm_at:
                samples.append(server.measure_mb())
            time.sleep(min(1.0, seconds / 60))
    for one in outside:
        one.kill()
    left_open = server.find_left_open()
    files = server.files_at_start, len(server.list_open())
    server.process.terminate()
    server.process.wait(60)
    for client in clients:
        counted += client.counted
    wrong = [one for client in clients for one in client.wrong] + _wrong_at_the_end(root, clients, outside)
    if left_open:
        wrong.append(f"open files: {files[0]} at the start, {files[1]} after the last client; {', '.join(left_open)}")
    return Soaked(counted, _judge_memory(samples, wrong), files, wrong)


@contextmanager
def _asking(server: _Server, clients: list[Client]) -> Iterator[None]:
    """Have the clients ask during the block, each in a thread."""
    stop = threading.Event()
    threads = [threading.Thread(target=one.run, args=(stop, lambda: server.changes)) for one in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _fill(root: Path) -> None:
    """Make small conversations, a long one, and one of large events."""
    for number in range(CONVERSATIONS):
        make_conversation(root, 70_000 + number, events=3)
    make_conversation(root, 69_000, events=LONG_EVENTS)
    large = make_conversation(root, 69_001, events=1)
    for number in range(1, 6):
        write_event(large, number, make_event(number) | {"extra": "x" * LARGE_BYTES})


def _judge_memory(samples: list[float], wrong: list[str]) -> tuple[float, float] | None:
    if not samples:
        return None
    part = max(1, len(samples) // 4)
    first, last = min(samples[:part]), min(samples[-part:])  # a large event in memory is no growth
    if last - first > _GROWTH_MB:
        wrong.append(f"memory grew from {first:.0f} to {last:.0f} MB")
    return first, last


def _wrong_at_the_end(root: Path, clients: list[Client], outside: list[_Outside]) -> list[str]:
    """Hold the directory and the index to what was acknowledged, once everything has ended."""
    wrong = []
    promised = {one.replace("-", ""): events for client in clients for one, events in client.acknowledged.items()}
    promised[LONG] = [event for client in clients for event in client.appended_to_long]
    for line in (line for program in outside for line in program.said):
        conversation_id, *rest = line.split(maxsplit=2)
        if conversation_id != "!":
            promised.setdefault(conversation_id, []).append(rest[0])
        elif rest[0] not in ("conversation_owned", "ownership_lost", "index_busy"):
            wrong.append(f"a writer got {line.strip()}")
    for one, events in promised.items():
        names = [path.name for path in (root / one / "events").glob("event-*.json")]
        there = Counter(name.removesuffix(".json").split("-", 2)[2] for name in names)
        lost = [event for event in events if there[event] != 1]
        if lost:
            wrong.append(f"{one}: {len(lost)} of {len(events)} acknowledged events are not there once")
    for command in (["index", "sync"], ["index", "verify"]):
        done = subprocess.run(
            [sys.executable, "-m", "app.cli.main", *command, "--store", str(root)],
            cwd=_CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            wrong.append(f"{' '.join(command)}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return wrong


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800, help="how long; default 1800")
    parser.add_argument("--kill-every", type=float, default=10, help="seconds between kills; default 10")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="convstore-soak-") as name:
        soaked = soak(Path(name), asked.seconds, asked.kill_every, asked.seed)
    print("\n".join(soaked.wrong[:50]))
    print(f"{asked.seconds:.0f} s: {soaked}")
    raise SystemExit(1 if soaked.wrong else 0)


if __name__ == "__main__":
    main()
