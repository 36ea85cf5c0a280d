"""`python -m tests.fuzz`: serve a copy of the sample, and let schemathesis ask it what it can think of."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.builders import make_conversation
from tests.cli.test_serve import served, wait_until_in_step

KEY = "a-key"

_SAMPLE = Path(__file__).parents[1] / "data" / "conversations.tar.gz"
_LEFT_OUT = (
    "positive_data_acceptance",  # a page token is a string that nobody but the server can make up
    "negative_data_rejection",  # a time may be a number of seconds, as agent-server takes it
    "unsupported_method",  # a GET of /api/conversations/import asks for a conversation of that name
    "allow_header_conformance",  # of several routes for one path, Starlette names the methods of the first
)
_ANSWERS_WITHOUT_AN_AGENT = """\
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 501]
"""
_KNOWN = {"conversation_id": "0ab974ef0acb4e2cab4e29943f204f3d"}
_ENDLESS = "stream$"


class Fuzzed(NamedTuple):
    """How a run ended: whether every answer was as documented, how many requests there were, and what it printed."""

    passed: bool
    requests: int
    output: str


def fuzz(directory: Path, examples: int, seed: int, *arguments: str) -> Fuzzed:
    """Make up about `examples` requests for each route and send them to a server of its own.

    With an odd seed they all ask for one conversation that there is.
    """
    store = directory / "conversations"
    with tarfile.open(_SAMPLE) as archive:
        archive.extractall(directory, filter="data")
    make_conversation(store, 1, state={"agent": None}, events=2)  # one that is listed as unreadable
    settings = _ANSWERS_WITHOUT_AN_AGENT
    if seed % 2:  # else hardly any request would find what it asks for
        settings += "[parameters]\n" + "".join(f'"path.{name}" = "{value}"\n' for name, value in _KNOWN.items())
    (directory / "schemathesis.toml").write_text(settings)
    with served(store, CONVSTORE_API_KEY=KEY) as server:
        wait_until_in_step(server.url, KEY)
        command = [str(Path(sys.executable).with_name("st")), "run", f"{server.url}/openapi.json"]
        command += ["--header", f"X-Session-API-Key: {KEY}", "--max-examples", str(examples), "--seed", str(seed)]
        command += ["--exclude-checks", ",".join(_LEFT_OUT), "--exclude-path-regex", _ENDLESS, "--no-color"]
        command += ["--suppress-health-check", "all", "--request-timeout", "30", *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=directory, env=os.environ | {"COLUMNS": "120"}
        )
        ready = httpx.get(f"{server.url}/ready", timeout=60).status_code == 200
    requests = re.search(r"(\d+) generated", done.stdout)
    return Fuzzed(done.returncode == 0 and ready, int(requests[1]) if requests else 0, done.stdout + done.stderr)


def main() -> None:
    """Run until about as many requests were sent as asked, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=5000, help="how many requests at least; default 5000")
    parser.add_argument("--seed", type=int, default=1, help="where to begin; default 1")
    asked = parser.parse_args()
    sent = 0
    seed = asked.seed
    examples = max(20, min(asked.requests // 40, 500))
    while sent < asked.requests:
        with tempfile.TemporaryDirectory(prefix="convstore-fuzz-") as name:
            found = fuzz(Path(name), examples, seed, "--continue-on-failure")
        sent += found.requests
        if not found.passed or not found.requests:
            print(found.output)
            raise SystemExit(f"seed {seed}: something was found, see above")
        print(f"seed {seed}: {found.requests} requests, every answer as documented; {sent} in all", flush=True)
        seed += 1


if __name__ == "__main__":
    main()
