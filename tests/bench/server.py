"""Serving processes: started, waited for, measured and always ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import orjson

from tests.bench.client import HOST, Client, RequestError

SERVE = ("-m", "app", "serve", "{store}", "--port", "{port}", "--no-auth")
"""The arguments of Python that serve a store."""

FLOOR = ("-m", "tests.bench.floor", "{port}")
BARE_READS = ("-m", "tests.bench.bare_reads", "{port}")
BARE_ROUTE = ("-m", "tests.bench.bare_route", "{port}")

_START_S = 600.0
_SYNC_S = 600.0
_STOP_S = 20.0
_POLL_S = 0.002
CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Store:
    """A conversations directory and where its index is, which is never inside it.

    `server` and `schema` are those of an index in PostgreSQL; without them, it is the file `index`.
    """

    path: Path
    index: Path
    conversations: int
    state_kb: int = 0
    server: str = ""
    schema: str = ""

    def environment(self) -> dict[str, str]:
        """Return the environment of a process that works on this store, free of the caller's own settings."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CONVSTORE_")}
        return inherited | {
            "CONVSTORE_STORE": str(self.path),
            "CONVSTORE_INDEX_URL": self.server or f"sqlite:///{self.index}",
            "CONVSTORE_INDEX_SCHEMA": self.schema or "convstore",
            "CONVSTORE_LOG_LEVEL": "warning",
            "PYTHONUNBUFFERED": "1",
        }


class Server(NamedTuple):
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def memory_mb(self) -> tuple[float, float]:
        """Return its resident memory and the largest that was, in MB (10^6 bytes)."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        kib = {
            name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines) if "kB" in value
        }
        return kib["VmRSS"] * 1024 / 1e6, kib["VmHWM"] * 1024 / 1e6

    def cpu_s(self) -> float:
        """Return the seconds of one core that it has taken."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(store: Store, path: str) -> Iterator[Server]:
    """Serve a store; GET `path` has answered when the block begins."""
    values = {"store": str(store.path)}
    with _running(SERVE, values, (), store.environment(), store.index.with_name(f"server{store.schema}.log")) as server:
        wait_for(server, path)
        yield server


@contextmanager
def serving_floor(bodies: Mapping[str, bytes], directory: Path) -> Iterator[Server]:
    """Serve each of `bodies` under its name, from memory."""
    files = []
    for name, body in bodies.items():
        file = directory / f"{name}.json"
        file.write_bytes(body)
        files.append(f"{name}={file}")
    with _running(FLOOR, {}, tuple(files), dict(os.environ), directory / "floor.log") as server:
        wait_for(server, f"/{next(iter(bodies))}")
        yield server


@contextmanager
def serving_bare_reads(index: Path, files: Mapping[str, Sequence[Path]], directory: Path) -> Iterator[Server]:
    """Serve GET /sql, which runs a page's SQL, and for each name in `files` a GET that reads these files."""
    named = []
    for name, paths in files.items():
        listed = directory / f"{name}.txt"
        listed.write_text("\n".join(map(str, paths)))
        named.append(f"{name}={listed}")
    with _running(BARE_READS, {}, (str(index), *named), dict(os.environ), directory / "bare-reads.log") as server:
        wait_for(server, "/sql")
        yield server


@contextmanager
def serving_bare_route(directory: Path, number: int) -> Iterator[Server]:
    """Serve POST /0 and so on to `number` logs under `directory`, which do the calls of an append and one insert."""
    directory.mkdir()
    more = (str(directory), str(number))
    with _running(BARE_ROUTE, {}, more, dict(os.environ), directory / "bare.log") as server:
        wait_for(server, "/")
        yield server


def wait_for(server: Server, path: str) -> None:
    """Return once GET `path` has answered 200.

    Raises:
        RuntimeError: the server ended, or did not answer in time.
    """
    deadline = time.monotonic() + _START_S
    while True:
        try:
            with Client(server.port) as client:
                client.get(path)
                return
        except (OSError, RequestError) as error:
            if server.process.poll() is not None or time.monotonic() > deadline:
                tail = server.log.read_text(errors="replace")[-2000:]
                raise RuntimeError(
                    f"the server does not answer {path} ({error}); its log ends with:\n{tail}"
                ) from error
        time.sleep(_POLL_S)


def wait_until_in_step(server: Server, since: datetime) -> None:
    """Return once the server has compared its index with the whole store, after `since`.

    Raises:
        RuntimeError: that took too long.
    """
    deadline = time.monotonic() + _SYNC_S
    with Client(server.port) as client:
        while time.monotonic() < deadline:
            status = orjson.loads(client.get("/api/index/status"))
            last = status["last_sweep_at"]
            if last and datetime.fromisoformat(last).replace(tzinfo=UTC) >= since and status["phase"] == "idle":
                return
            time.sleep(0.05)
    raise RuntimeError("the server did not bring its index up to date in time")


def run_python(arguments: list[str], store: Store) -> bytes:
    """Run Python on a store and return what it printed.

    Raises:
        RuntimeError: it failed.
    """
    done = subprocess.run(
        [sys.executable, *arguments], cwd=CHECKOUT, env=store.environment(), capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout


@contextmanager
def _running(
    command: tuple[str, ...],
    values: Mapping[str, str],
    more: tuple[str, ...],
    environment: dict[str, str],
    log: Path,
) -> Iterator[Server]:
    port = _free_port()
    arguments = [part.format(port=port, **values) for part in command]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments, *more],
            cwd=CHECKOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Server(process, port, log)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
