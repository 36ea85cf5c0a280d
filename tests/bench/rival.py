"""Beside the real agent-server 1.58, on the same directories, where OPENHANDS_PYTHON names a Python that has it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from time import perf_counter

import orjson

from tests.bench.client import HOST, Client
from tests.bench.measure import Sample, take_turns
from tests.bench.rows import COUNT_PATH, FIRST_PATH, LIST_PATH, Effort, Row, bounded
from tests.bench.server import Server, Store, serving, wait_for, wait_until_in_step
from tests.deploy.recipes import free_port

_OPENED = 20
_BOUND_FROM = 10_000


def may_compare() -> bool:
    """Whether there is an agent-server to compare with."""
    return "OPENHANDS_PYTHON" in os.environ


def measure_beside(stores: Sequence[Store], effort: Effort) -> list[Row]:
    """Measure both servers on each store, in turn; agent-server's figure stands as the floor. It may write there."""
    return [row for store in stores for row in _measure(store, effort)]


def _measure(store: Store, effort: Effort) -> list[Row]:
    began = datetime.now(UTC)
    with ExitStack() as stack:
        servers, clients, starts = [], [], []
        for make in (partial(serving, store, FIRST_PATH), partial(_agent_server, store)):
            asked = perf_counter()
            servers.append(stack.enter_context(make()))
            starts.append(Sample.of([(perf_counter() - asked) * 1000]))
            clients.append(stack.enter_context(Client(servers[-1].port)))
        wait_until_in_step(servers[0], began)
        found = orjson.loads(clients[1].get(f"/api/conversations/search?limit={_OPENED}"))["items"]
        calls: dict[str, Callable[[], object]] = {}
        for name, path in (("list page of 20", LIST_PATH), ("count with a status", COUNT_PATH)):
            calls |= {f"{name}{number}": partial(client.get, path) for number, client in enumerate(clients)}
        times = take_turns(calls, blocks=effort.blocks, each=10)
        opened = [[_milliseconds(client, info["id"]) for info in found] for client in clients]
        memory = [Sample.of([server.memory_mb()[0]]) for server in servers]
    size = f"{store.conversations:,}" + (f", {store.state_kb} kB each" if store.state_kb else "")
    pairs = [
        ("start to first answer", "ms", starts),
        ("list page of 20", "ms", [times["list page of 200"], times["list page of 201"]]),
        ("count with a status", "ms", [times["count with a status0"], times["count with a status1"]]),
        ("open one for the first time", "ms", [Sample.of(each) for each in opened]),
        ("memory after that", "MB", memory),
    ]
    rows = [Row(f"{name}, to agent-server, {size}", unit, None, ours, theirs) for name, unit, (ours, theirs) in pairs]
    large = store.conversations >= _BOUND_FROM
    return [bounded(row, over_floor=0.02) if large and row.name.startswith("list") else row for row in rows]


def _milliseconds(client: Client, conversation_id: str) -> float:
    began = perf_counter()
    client.get(f"/api/conversations/{conversation_id}")
    return (perf_counter() - began) * 1000


@contextmanager
def _agent_server(store: Store) -> Iterator[Server]:
    port, log = free_port(), store.index.with_name("agent-server.log")
    environment = {name: value for name, value in os.environ.items() if name != "SESSION_API_KEY"}
    command = [os.environ["OPENHANDS_PYTHON"], "-m", "openhands.agent_server", "--host", HOST, "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=store.path.parent,
            env=environment | {"OH_CONVERSATIONS_PATH": str(store.path), "OH_SECRET_KEY": "a-secret"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        server = Server(process, port, log)
        wait_for(server, FIRST_PATH)
        yield server
    finally:
        process.kill()
        process.wait()
