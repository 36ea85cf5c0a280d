"""`convstore mcp` on standard input and output: its start on an index in step, and its searches. Needs the SDK."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from itertools import count
from time import perf_counter
from typing import Any

from tests.bench.measure import Sample, rate_in_turns
from tests.bench.rows import Effort, Row, bounded
from tests.bench.server import CHECKOUT, Store

START_MAX_MS, SEARCH_MAX_MS = 1000, 100
_HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
_STOP_S = 20
_QUERIES = ("the", "ret", "retry backoff", '"the"', "a OR to")
"""A frequent word that may be incomplete, a frequent prefix, words of one subject, a phrase, and alternatives."""


class Agent:
    """The client's end of a running `convstore mcp`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._numbers = count(1)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a request, and return its result."""
        self._send({"id": next(self._numbers), "method": method, "params": params})
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        result: dict[str, Any] = answer["result"]
        return result

    def connect(self) -> None:
        """Do the handshake of the protocol."""
        self.ask("initialize", **_HELLO)
        self._send({"method": "notifications/initialized"})

    def search(self, query: str) -> str:
        """Search, and return the text of the answer."""
        result = self.ask("tools/call", name="search_messages", arguments={"query": query})
        return str(result["content"][0]["text"])

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0"} | message).encode() + b"\n")
        self._process.stdin.flush()


@contextmanager
def starting(store: Store) -> Iterator[Agent]:
    """Run `convstore mcp` on a store."""
    with subprocess.Popen(
        [sys.executable, "-m", "app", "mcp"],
        cwd=CHECKOUT,
        env=store.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield Agent(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(_STOP_S)
            finally:
                process.kill()


def measure_mcp(stores: Sequence[Store], effort: Effort) -> list[Row]:
    """Measure the time from starting the process to the end of the handshake, and searches; none without the SDK."""
    if find_spec("mcp") is None:
        return []
    small, large = stores
    times = rate_in_turns({"small": partial(_start, small), "large": partial(_start, large)}, rounds=effort.starts)
    row = Row("start of convstore mcp to the end of its handshake", "ms", times["small"], times["large"])
    searches = Row("search_messages over MCP", "ms", _search(small, effort), _search(large, effort))
    return [bounded(row, at_most=START_MAX_MS), bounded(searches, at_most=SEARCH_MAX_MS)]


def _start(store: Store) -> float:
    began = perf_counter()
    with starting(store) as agent:
        agent.connect()
        return (perf_counter() - began) * 1000


def _search(store: Store, effort: Effort) -> Sample:
    times = []
    with starting(store) as agent:
        agent.connect()
        for _ in range(effort.blocks):
            for query in _QUERIES:
                began = perf_counter()
                agent.search(query)
                times.append((perf_counter() - began) * 1000)
    return Sample.of(times)
