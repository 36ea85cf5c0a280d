"""`convstore open`, beside a real server."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import httpx

from tests.builders import make_conversation, make_id
from tests.cli.conftest import Command
from tests.cli.test_serve import served, wait_until_in_step


def test_without_a_server_it_says_how_to_start_one(root: Path, convstore: Command) -> None:
    ran = convstore("open", "--print", "--store", root)
    assert ran.code == 2
    assert f"no server of {root} answers; start one with `convstore serve {root}`" in " ".join(ran.err.split())


def test_the_address_of_a_running_server_signs_in_once(root: Path, convstore: Command) -> None:
    make_conversation(root)
    with served(root, CONVSTORE_API_KEY="the-key") as server:
        kept = root / ".convstore" / "server.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert json.loads(kept.read_text())["url"] == server.url
        wait_until_in_step(server.url, "the-key")
        ran = convstore("open", make_id(1)[:8], "--print", "--store", root)
        assert ran.code == 0, ran.err
        address, _, code = ran.out.strip().partition("#login=")
        assert address == f"{server.url}/c/{make_id(1)}"
        answers = [httpx.post(f"{server.url}/api/session", json={"code": code}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 401]
        assert convstore("open", "--json", "--store", root).json["url"].startswith(f"{server.url}/#login=")
    assert convstore("open", "--print", "--store", root).code == 2
    assert "login" not in server.greeting


def test_in_a_terminal_serve_prints_an_address_that_signs_in(root: Path) -> None:
    with served(root, CONVSTORE_LOG_FORMAT="plain", CONVSTORE_API_KEY="the-key") as server:
        [address] = [line.split()[-1] for line in server.greeting.splitlines() if line.strip().startswith("open")]
        code = address.partition("#login=")[2]
        assert httpx.post(f"{server.url}/api/session", json={"code": code}).status_code == 201


def test_a_server_without_a_key_needs_no_code(root: Path, convstore: Command) -> None:
    with served(root, "--no-auth") as server:
        assert convstore("open", "--print", "--store", root).out.strip() == f"{server.url}/"
