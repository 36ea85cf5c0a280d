"""`python -m tests.fuzz`: serve a copy of the sample, and let schemathesis ask it what it can think of."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families

from app.api.headers import API_KEY
from tests.builders import make_conversation
from tests.cli.test_serve import served, wait_until_in_step

KEY = "a-key"

_SAMPLE = Path(__file__).parents[1] / "data" / "conversations.tar.gz"
_LEFT_OUT: tuple[str, ...] = (
    "positive_data_acceptance",  # a page token is a string that nobody but the server can make up
    "negative_data_rejection",  # a time may be a number of seconds, as agent-server takes it
    "unsupported_method",  # a GET of /api/conversations/import asks for a conversation of that name
    "allow_header_conformance",  # of several routes for one path, Starlette names the methods of the first
)
_LEFT_OUT_WHERE_KEPT = "use_after_free"  # what was deleted is imported again
_ANSWERS_WITHOUT_AN_AGENT = """\
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 501]
"""
_KNOWN = {
    "conversation_id": "0ab974ef0acb4e2cab4e29943f204f3d",
    "event_id": "ef40956e-5a50-4bf6-ab3c-a7bb2043f8d5",
}
_LOOK_S = 0.1
_ENDLESS = "stream$"


class Fuzzed(NamedTuple):
    """How a run ended: whether every answer was as documented, how many requests there were, and what it printed.

    `answered` says how many requests of each method and route were done (2xx), or refused (any other).
    """

    passed: bool
    requests: int
    output: str
    answered: Counter[tuple[str, bool]]


def fuzz(directory: Path, examples: int, seed: int, *arguments: str) -> Fuzzed:
    """Make up about `examples` requests for each route and send them to a server of its own.

    With an odd seed they all ask for one conversation and event that there are.
    """
    store = directory / "conversations"
    with tarfile.open(_SAMPLE) as archive:
        archive.extractall(directory, filter="data")
    make_conversation(store, 1, state={"agent": None}, events=2)  # one that is listed as unreadable
    settings, left_out = _ANSWERS_WITHOUT_AN_AGENT, _LEFT_OUT
    if seed % 2:  # else hardly any request would find what it asks for
        left_out = (*_LEFT_OUT, _LEFT_OUT_WHERE_KEPT)
        settings += "[parameters]\n" + "".join(f'"path.{name}" = "{value}"\n' for name, value in _KNOWN.items())
    (directory / "schemathesis.toml").write_text(settings)
    with served(store, CONVSTORE_API_KEY=KEY) as server:
        wait_until_in_step(server.url, KEY)
        command = [str(Path(sys.executable).with_name("st")), "run", f"{server.url}/openapi.json"]
        command += ["--header", f"{API_KEY}: {KEY}", "--max-examples", str(examples), "--seed", str(seed)]
        command += ["--exclude-checks", ",".join(left_out), "--exclude-path-regex", _ENDLESS, "--no-color"]
        command += ["--suppress-health-check", "all", "--request-timeout", "30", *arguments]
        with httpx.Client(base_url=server.url, headers={API_KEY: KEY}, timeout=60) as client, _kept_there(client):
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, cwd=directory, env=os.environ | {"COLUMNS": "120"}
            )
            ready = client.get("/ready").status_code == 200
            answered = _count_answers(client.get("/metrics").text)
    requests = re.search(r"(\d+) generated", done.stdout)
    passed = done.returncode == 0 and ready
    return Fuzzed(passed, int(requests[1]) if requests else 0, done.stdout + done.stderr, answered)


@contextmanager
def _kept_there(client: httpx.Client) -> Iterator[None]:
    """Import the known conversation again whenever a request has deleted it, else no other would find it any more."""
    one = f"/api/conversations/{_KNOWN['conversation_id']}"
    archive = client.get(f"{one}/export").content
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(_LOOK_S):
            if client.get(f"{one}/events/count").status_code == 404:
                client.post("/api/conversations/import", content=archive)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        stop.set()
        looking.join()


def _count_answers(metrics: str) -> Counter[tuple[str, bool]]:
    """Return how many requests of each method and route were done, and how many refused."""
    answered: Counter[tuple[str, bool]] = Counter()
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name == "convstore_requests_total":
                labels = sample.labels
                answered[f"{labels['method']} {labels['route']}", labels["status"][0] == "2"] += int(sample.value)
    return answered


def main() -> None:
    """Run until about as many requests were sent as asked, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=5000, help="how many requests at least; default 5000")
    parser.add_argument("--seed", type=int, default=1, help="where to begin; default 1")
    asked = parser.parse_args()
    sent = 0
    answered: Counter[tuple[str, bool]] = Counter()
    seed = asked.seed
    examples = max(20, min(asked.requests // 40, 500))
    while sent < asked.requests:
        with tempfile.TemporaryDirectory(prefix="convstore-fuzz-") as name:
            found = fuzz(Path(name), examples, seed, "--continue-on-failure")
        sent += found.requests
        answered += found.answered
        if not found.passed or not found.requests:
            print(found.output)
            raise SystemExit(f"seed {seed}: something was found, see above")
        print(f"seed {seed}: {found.requests} requests, every answer as documented; {sent} in all", flush=True)
        seed += 1
    print("done and refused:")
    for route in sorted({route for route, _ in answered}):
        print(f"{answered[route, True]:8} {answered[route, False]:8}  {route}")


if __name__ == "__main__":
    main()
