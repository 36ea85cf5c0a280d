"""`convstore mcp`, as a process of its own, asked by the SDK's client."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client, MCPError, StdioServerParameters, stdio_client

from app import Settings
from app.cli.open import announced
from app.mcp import extra
from tests.builders import details_in, make_conversation, make_id, make_message_event, write_event
from tests.cli.conftest import COMMAND, Command
from tests.mcp.conftest import text_of


@asynccontextmanager
async def connected(*arguments: object, log: Path) -> AsyncIterator[Client]:
    """Connect the SDK's client to the command. `log` gets what it prints on standard error."""
    asked = StdioServerParameters(command=str(COMMAND), args=["mcp", *map(str, arguments)])
    with log.open("w") as written:
        async with Client(stdio_client(asked, errlog=written)) as client:
            yield client


async def search(client: Client, query: str, begin: str) -> str:
    """Search until the answer begins like this: the command reads the files while it answers."""
    async with asyncio.timeout(60):
        while True:
            text = text_of(await client.call_tool("search_messages", {"query": query}))
            if text.startswith(begin):
                return text
            await asyncio.sleep(0.05)


@pytest.mark.long
async def test_it_answers_while_it_reads_and_follows_the_files(root: Path, tmp_path: Path) -> None:
    path = make_conversation(root, 1, events=[make_message_event(0, "needle")])
    log = tmp_path / "log"
    async with connected(root, log=log) as client:
        assert f"\n/c/{make_id(1)}#e0\n" in await search(client, "needle", "1 hit")
        write_event(path, 1, make_message_event(1, "another thread"))
        await search(client, "another thread", "1 hit")
        with announced(Settings(store=root), "http://127.0.0.1:8123", needs_key=True):
            assert f"\nhttp://127.0.0.1:8123/c/{make_id(1)}#e0\n" in await search(client, "needle", "1 hit")
    assert "Traceback" not in log.read_text()


@pytest.mark.long
async def test_it_is_limited_to_a_directory_and_removes_nothing_from_the_trash(root: Path, tmp_path: Path) -> None:
    """The trash is emptied by `convstore serve` alone, although this process follows the files."""
    old = root / ".trash" / f"1000000000000-{make_id(5)}"
    make_conversation(old.parent, 5, directory=old.name)
    before = details_in(old)
    make_conversation(root, 1, events=[make_message_event(0, "needle")])
    other = {"kind": "LocalWorkspace", "working_dir": "/home/dev/other"}
    make_conversation(root, 2, events=[make_message_event(0, "needle")], state={"workspace": other})
    async with connected("--store", root, "--workspace", "/home/dev/other/", log=tmp_path / "log") as client:
        assert make_id(2) in await search(client, "needle", "1 hit")
    assert details_in(old) == before


@pytest.mark.long
async def test_a_store_that_cannot_be_opened_is_told_at_each_call_until_it_can(root: Path, tmp_path: Path) -> None:
    """The handshake and the list of tools do not wait for the store."""
    make_conversation(root, 1, events=[make_message_event(0, "needle")])
    index = tmp_path / "index.db"
    index.mkdir()
    async with connected(root, "--index", f"sqlite:///{index}", log=tmp_path / "log") as client:
        assert len((await client.list_tools()).tools) == 6
        result = await client.call_tool("search_messages", {"query": "needle"})
        assert (text_of(result).partition(":")[0], result.is_error) == ("search_messages", True)
        assert str(index) in text_of(result)
        with pytest.raises(MCPError, match="index"):
            await client.list_resources()
        index.rmdir()
        await search(client, "needle", "1 hit")
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.long
@pytest.mark.parametrize("how", ["end of input", "SIGTERM", "SIGINT"])
def test_it_ends_with_its_client(root: Path, how: str) -> None:
    make_conversation(root)
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a-test", "version": "1"}}
    asked = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}).encode() + b"\n"
    with subprocess.Popen(
        [COMMAND, "mcp", root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(asked)
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["result"]["serverInfo"]["name"] == "convstore"
            if how == "end of input":
                process.stdin.close()
            else:
                process.send_signal(signal.Signals[how])
            code = process.wait(60)
        finally:
            process.kill()
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert code == {"end of input": 0, "SIGTERM": -signal.SIGTERM, "SIGINT": -signal.SIGINT}[how]
    assert "Traceback" not in said


def test_without_the_sdk_it_says_what_to_install(
    root: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_conversation(root)
    monkeypatch.setattr(extra, "find_spec", lambda _: None)
    ran = convstore("mcp", root)
    told = "convstore: MCP needs the package mcp, which is not installed; run `pip install 'convstore[mcp]'`\n"
    assert (ran.code, ran.out, ran.err) == (2, "", told)
