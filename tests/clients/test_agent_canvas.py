"""The real agent-canvas in a headless Chromium, on a served copy of the sample.

A step that fails leaves a screenshot in .clients/shots.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.test_serve import served, wait_until_in_step
from tests.documents import ROOT

pytestmark = pytest.mark.long

CLIENTS = ROOT / ".clients"
KEY = "a-key"
PAGES = ("skills", "plugins", "mcp", "settings/llm", "settings/agent", "settings/secrets")
NOT_OF_AGENT_SERVER = ("/api/automation/", "/api/llm/balance")
"""Requests that agent-server 1.58.2 answers with 404 too."""
HARMLESS = ("Loading", "updated successfully", "LLM isn't set up")


@pytest.fixture
def run(corpus: Path, tmp_path: Path) -> dict[str, Any]:
    """Use the page, and return what it asked for, what each step found, and the toasts."""
    script = CLIENTS / "canvas.mjs"  # beside node_modules
    shutil.copyfile(Path(__file__).with_name("canvas.mjs"), script)
    shots = CLIENTS / "shots"
    shots.mkdir(exist_ok=True)
    with served(corpus, CONVSTORE_API_KEY=KEY) as server:
        wait_until_in_step(server.url, KEY)
        with httpx.Client(base_url=server.url, headers={"X-Session-API-Key": KEY}) as client:
            items = client.get("/api/conversations/search?q=camelCase").json()["items"]
        asked = {
            "url": server.url,
            "key": KEY,
            "build": str(CLIENTS / "package" / "build"),
            "chromium": shutil.which("chromium"),
            "profile": str(tmp_path / "profile"),
            "shots": str(shots),
            "ids": [items[0]["id"], "f95edc73-b188-4197-be86-16629ccd3650"],
            "first": "make snake_case and",
            "last": "Done",
            "notice": "Nobody answers it here",
            "pages": [[page.replace("/", "-"), f"/{page}"] for page in PAGES],
        }
        done = subprocess.run(
            ["node", str(script)], input=json.dumps(asked), capture_output=True, text=True, timeout=170, check=True
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.timeout(180)
def test_the_page_works_for_all_that_needs_no_agent(run: dict[str, Any]) -> None:
    assert {name: got for name, got in run["steps"].items() if str(got).startswith("failed")} == {}
    assert run["steps"]["sends a message"] == 1
    assert (run["steps"]["renames"], run["steps"]["downloads"], run["steps"]["deletes"]) == (
        "renamed in the page",
        "PK",
        404,
    )
    assert [toast for toast in run["toasts"] if not any(text in toast for text in HARMLESS)] == []
    refused = {
        (one["method"], one["path"].partition("?")[0])
        for one in run["requests"]
        if one["method"] == "GET" and one["status"] != 200 and not one["path"].startswith(NOT_OF_AGENT_SERVER)
    }
    assert refused == set()
