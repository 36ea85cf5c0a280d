"""docs/compatibility.md names every request of agent-server 1.58.2, and convstore answers each as the page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app import Settings
from tests.builders import make_conversation, make_event, make_id
from tests.conformance.agent_server import needs_agent_server
from tests.conftest import serving
from tests.documents import PAGES

ROWS = re.findall(r"^\| `([A-Z]+ /[^`]*)` \| (.+) \|$", PAGES["docs/compatibility.md"], re.MULTILINE)
REQUESTS = {request: says for request, says in ROWS if not request.startswith("WS ")}
SOCKETS = {request.split()[1] for request, _ in ROWS if request.startswith("WS ")}

_DOCUMENT = """
import json, sys
from openhands.agent_server.api import api
json.dump(api.openapi(), sys.stdout)
"""


@pytest.fixture
async def client(root: Path) -> AsyncIterator[httpx.AsyncClient]:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        yield client


def _fill(path: str) -> str:
    path = re.sub(r"\{(runtime_)?conversation_id\}", make_id(1), path).replace("{event_id}", make_event(0)["id"])
    return re.sub(r"\{[^}]*\}", "a", path)


def test_each_request_has_one_row() -> None:
    assert [request for request, times in Counter(request for request, _ in ROWS).items() if times > 1] == []
    assert len(REQUESTS) == 177


@needs_agent_server
def test_the_page_names_the_requests_of_the_real_agent_server() -> None:
    done = subprocess.run(
        [os.environ["OPENHANDS_PYTHON"], "-c", _DOCUMENT], capture_output=True, text=True, timeout=100, check=True
    )
    document = json.loads(done.stdout[done.stdout.index("{") :])
    real = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert (sorted(real - REQUESTS.keys()), sorted(REQUESTS.keys() - real)) == ([], [])


async def test_convstore_answers_each_request_as_its_row_says(client: httpx.AsyncClient) -> None:
    wrong = {}
    for request, says in REQUESTS.items():
        method, path = request.split()
        if request == "DELETE /api/conversations/{conversation_id}":
            continue  # the other rows need it
        answer = await client.request(method, _fill(path), json={} if method != "GET" else None)
        missing = answer.status_code == 405 or (answer.status_code == 404 and '"not_found"' in answer.text)
        expected = {"empty": 200, "501": 501, "404": 404, "204, without effect": 204}.get(says)
        if (missing and says != "404") if expected is None else answer.status_code != expected:
            wrong[request] = (says, answer.status_code)
    assert wrong == {}
    assert (await client.delete(f"/api/conversations/{make_id(1)}")).status_code == 200


async def test_convstore_has_the_sockets_of_the_page(root: Path) -> None:
    async with serving(Settings(store=root)) as client:
        routes = client._transport.app.routes  # type: ignore[attr-defined]
    sockets = {route.path for route in routes if type(route).__name__ == "APIWebSocketRoute"}
    assert sockets == SOCKETS
