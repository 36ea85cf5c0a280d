"""`convstore open`, beside a real server."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path

import httpx
import pytest

from tests.builders import make_conversation, make_id
from tests.cli.conftest import Command
from tests.cli.test_serve import served, wait_until_in_step


def test_without_a_server_it_says_how_to_start_one(root: Path, convstore: Command) -> None:
    ran = convstore("open", "--print", "--store", root)
    assert ran.code == 2
    assert f"no server of {root} answers; start one with `convstore serve {root}`" in " ".join(ran.err.split())


@pytest.mark.long
def test_the_address_of_a_running_server_signs_in_once(root: Path, convstore: Command) -> None:
    make_conversation(root)
    with served(root, CONVSTORE_API_KEY="the-key") as server:
        [kept] = (root / ".convstore" / "servers").iterdir()
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


@pytest.mark.long
def test_in_a_terminal_serve_prints_an_address_that_signs_in(root: Path) -> None:
    with served(root, CONVSTORE_LOG_FORMAT="plain", CONVSTORE_API_KEY="the-key") as server:
        [address] = [line.split()[-1] for line in server.greeting.splitlines() if line.strip().startswith("open")]
        code = address.partition("#login=")[2]
        assert httpx.post(f"{server.url}/api/session", json={"code": code}).status_code == 201


@pytest.mark.long
def test_a_server_without_a_key_needs_no_code(root: Path, convstore: Command) -> None:
    with served(root, "--no-auth") as server:
        assert convstore("open", "--print", "--store", root).out.strip() == f"{server.url}/"


@pytest.mark.long
def test_of_two_servers_the_one_that_still_runs_is_found(root: Path, convstore: Command) -> None:
    with served(root, "--no-auth") as first:
        with served(root, "--no-auth") as second:
            assert convstore("open", "--print", "--store", root).out.strip() == f"{second.url}/"
        assert convstore("open", "--print", "--store", root).out.strip() == f"{first.url}/"
    assert convstore("open", "--print", "--store", root).code == 2
    assert list((root / ".convstore" / "servers").iterdir()) == []


@pytest.mark.long
def test_the_file_of_a_killed_server_is_removed_even_where_its_port_answers(
    root: Path, tmp_path: Path, convstore: Command
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    servers = root / ".convstore" / "servers"
    with served(root, "--no-auth") as killed:
        killed.process.send_signal(signal.SIGKILL)
        killed.process.wait()
        [kept] = servers.iterdir()
        with served(other, "--no-auth") as of_other:
            kept.write_text(json.dumps({"url": of_other.url, "needs_key": True, "pid": os.getpid()}))
            assert convstore("open", "--print", "--store", root).code == 2
    assert list(servers.iterdir()) == []


def test_what_is_no_file_of_a_server_is_no_server(root: Path, convstore: Command) -> None:
    servers = root / ".convstore" / "servers"
    servers.mkdir(parents=True)
    for name, text in (("torn", "{"), ("list", "[]"), ("empty", "")):
        (servers / f"{name}.json").write_text(text)
    (servers / "directory.json").mkdir()
    assert convstore("open", "--print", "--store", root).code == 2


@pytest.mark.long
def test_an_unknown_id_and_a_prefix_of_several_are_refused(root: Path, convstore: Command) -> None:
    for number in (1, 2):
        make_conversation(root, number)
    with served(root, CONVSTORE_API_KEY="the-key") as server:
        wait_until_in_step(server.url, "the-key")
        unknown = convstore("open", "f" * 32, "--print", "--store", root)
        several = convstore("open", make_id(1)[:4], "--print", "--store", root)
        logins = root / ".convstore" / "logins"
        assert not logins.exists()  # no code is made that nobody gets
    assert (unknown.code, several.code) == (2, 2)
    assert "no conversation has the id" in unknown.err
    assert "several" in several.err or "2 conversations" in several.err


@pytest.mark.long
def test_an_address_has_the_prefix_of_the_server(root: Path, convstore: Command) -> None:
    make_conversation(root)
    with served(root, CONVSTORE_API_KEY="the-key", CONVSTORE_BASE_PATH="/agents") as server:
        wait_until_in_step(server.url, "the-key")
        address = convstore("open", make_id(1), "--print", "--store", root).out.strip()
        assert address.startswith(f"{server.url}/agents/c/{make_id(1)}#login=")
        page = httpx.get(address.partition("#")[0])
        assert page.status_code == 200
        assert 'data-base="/agents"' in page.text
