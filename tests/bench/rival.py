"""Beside agent-server 1.58 and agentsview 0.46, on the same directories, where the environment names them.

OPENHANDS_PYTHON is a Python that has agent-server, AGENTSVIEW is the program agentsview. `make rivals` installs both.
Each is measured in turn with convstore, and its figure stands as the floor of the row.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import repeat
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import httpx

from tests.bench.client import HOST, Client, requests_per_second
from tests.bench.measure import Sample, rate_in_turns, take_turns
from tests.bench.rows import COUNT_PATH, FIRST_PATH, LIST_PATH, Effort, Row, bounded
from tests.bench.server import Server, Store, serving, wait_for, wait_until_in_step
from tests.deploy.recipes import free_port

_OPENED = 20
_BOUND_FROM = 10_000
_RATE_REQUESTS = 400
_LIST, _FILTERED, _SEARCH = "list page of 20", "list page of 20 with a status", "search, 20 best"
_FILTERED_PATH = f"{LIST_PATH}&status=finished"
_SEARCH_PATH = "/api/messages/search?limit=20&q=exponentially"


class _Rival(NamedTuple):
    """Another server, and what is asked of convstore and of it."""

    name: str
    variable: str
    serve: Callable[[Store, Path], AbstractContextManager[Server]]
    """It keeps what it needs of its own in the directory, and has answered when the block begins."""
    asked: Mapping[str, tuple[str, str]]
    opens: tuple[str, str, str]
    """The path that lists what is opened, the member that has the list, and the path of one, but for its id."""
    has_index: bool


def missing_rivals() -> dict[str, str]:
    """Return the names of the servers that cannot be compared with, and the variables that would name them."""
    return {rival.name: rival.variable for rival in _RIVALS if not os.environ.get(rival.variable)}


def measure_beside(stores: Sequence[Store], effort: Effort) -> list[Row]:
    """Measure the servers on each store, in turn with convstore. agent-server may write to the stores."""
    chosen = [rival for rival in _RIVALS if rival.name not in missing_rivals()]
    return [row for rival in chosen for store in stores for row in _measure(rival, store, effort)]


def _measure(rival: _Rival, store: Store, effort: Effort) -> list[Row]:
    store.index.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store.index.parent) as name, ExitStack() as stack:
        directory = Path(name)
        rows: dict[str, tuple[str, Sample, Sample]] = {}
        if rival.has_index:
            own = Store(store.path, directory / "first" / "index.db", store.conversations, store.state_kb)
            own.index.parent.mkdir()
            rows["first sync, with the start"] = ("ms", _time(_in_step(own)), _time(rival.serve(store, directory)))
        first: tuple[Callable[[], AbstractContextManager[Server]], ...] = (
            partial(serving, store, FIRST_PATH),
            partial(rival.serve, store, directory),
        )
        starts = rate_in_turns({str(number): partial(_start, make) for number, make in enumerate(first)}, rounds=3)
        rows["start to first answer"] = "ms", starts["0"], starts["1"]
        began = datetime.now(UTC)
        servers = [stack.enter_context(make()) for make in first]
        wait_until_in_step(servers[0], began)
        clients = [stack.enter_context(Client(server.port)) for server in servers]
        for what, paths in rival.asked.items():
            calls = {str(number): partial(clients[number].get, path) for number, path in enumerate(paths)}
            times = take_turns(calls, blocks=effort.blocks, each=10)
            rows[what] = "ms", times["0"], times["1"]
        rates = {
            str(number): partial(
                requests_per_second,
                server.port,
                repeat(rival.asked[_LIST][number]),
                connections=8,
                requests=_RATE_REQUESTS,
            )
            for number, server in enumerate(servers)
        }
        found = rate_in_turns(rates, rounds=2)
        rows["lists, 8 clients at once"] = "1/s", found["0"], found["1"]
        rows["one by its id, for the first time"] = "ms", *_time_openings(rival, clients, servers[1].port)
        memory = [Sample.of([server.memory_mb()[0]]) for server in servers]
        rows["memory after that"] = "MB", memory[0], memory[1]
        if rival.has_index:
            sizes = [Sample.of([_megabytes(path)]) for path in (store.index.parent, directory / "data")]
            rows["index on disk"] = "MB", sizes[0], sizes[1]
    size = f"{store.conversations:,}" + (f", {store.state_kb} kB each" if store.state_kb else "")
    made = [
        Row(f"{what}, to {rival.name}, {size}", unit, None, ours, theirs) for what, (unit, ours, theirs) in rows.items()
    ]
    has_bound = store.conversations >= _BOUND_FROM and rival.name == "agent-server"
    return [bounded(row, over_floor=0.02) if has_bound and row.name.startswith(f"{_LIST},") else row for row in made]


@contextmanager
def _in_step(store: Store) -> Iterator[None]:
    """Serve a store that has no index until the index is whole."""
    began = datetime.now(UTC)
    with serving(store, FIRST_PATH) as server:
        wait_until_in_step(server, began)
        yield


def _start(make: Callable[[], AbstractContextManager[Server]]) -> float:
    return _time(make()).median


def _time(context: AbstractContextManager[object]) -> Sample:
    """Return the milliseconds until the block begins."""
    began = perf_counter()
    with context:
        return Sample.of([(perf_counter() - began) * 1000])


def _time_openings(rival: _Rival, clients: Sequence[Client], port: int) -> tuple[Sample, Sample]:
    listed, member, one = rival.opens
    theirs = [item["id"] for item in httpx.get(f"http://{HOST}:{port}{listed}").json()[member]]
    ours = [item.rpartition(":")[2] for item in theirs]
    return (
        Sample.of(_milliseconds(clients[0], f"/api/conversations/{each}") for each in ours),
        Sample.of(_milliseconds(clients[1], f"{one}{each}") for each in theirs),
    )


def _milliseconds(client: Client, path: str) -> float:
    began = perf_counter()
    client.get(path)
    return (perf_counter() - began) * 1000


def _megabytes(directory: Path) -> float:
    """Return the size of the databases in a directory."""
    return sum(file.stat().st_size for file in directory.iterdir() if ".db" in file.name) / 1e6


@contextmanager
def _agent_server(store: Store, directory: Path) -> Iterator[Server]:
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name != "SESSION_API_KEY"}
    command = [os.environ["OPENHANDS_PYTHON"], "-m", "openhands.agent_server", "--host", HOST, "--port", str(port)]
    own = {"OH_CONVERSATIONS_PATH": str(store.path), "OH_SECRET_KEY": "a-secret"}
    with _run(command, environment | own, port, store.path.parent, directory) as server:
        wait_for(server, FIRST_PATH)
        yield server


@contextmanager
def _agentsview(store: Store, directory: Path) -> Iterator[Server]:
    """Serve with a home of its own, so that it finds no other programs' sessions."""
    port = free_port()
    (directory / "home").mkdir(exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory / "home"),
        "AGENTSVIEW_DATA_DIR": str(directory / "data"),
        "OPENHANDS_CONVERSATIONS_DIR": str(store.path),
    }
    command = [os.environ["AGENTSVIEW"], "serve", "--port", str(port), "--no-browser", "--no-update-check"]
    with _run(command, environment, port, directory, directory) as server:
        wait_for(server, _SESSIONS)
        yield server


@contextmanager
def _run(
    command: Sequence[str], environment: Mapping[str, str], port: int, working: Path, directory: Path
) -> Iterator[Server]:
    log = directory / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=working, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield Server(process, port, log)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


_SESSIONS = "/api/v1/sessions?limit=20&include_one_shot=true"
_RIVALS = (
    _Rival(
        "agent-server",
        "OPENHANDS_PYTHON",
        _agent_server,
        {
            _LIST: (LIST_PATH, LIST_PATH),
            _FILTERED: (_FILTERED_PATH, _FILTERED_PATH),
            "count with a status": (COUNT_PATH, COUNT_PATH),
        },
        (f"/api/conversations/search?limit={_OPENED}", "items", "/api/conversations/"),
        has_index=False,
    ),
    _Rival(
        "agentsview",
        "AGENTSVIEW",
        _agentsview,
        {
            _LIST: (LIST_PATH, _SESSIONS),
            _SEARCH: (_SEARCH_PATH, "/api/v1/search?limit=20&q=exponentially"),
        },
        (_SESSIONS, "sessions", "/api/v1/sessions/"),
        has_index=True,
    ),
)
