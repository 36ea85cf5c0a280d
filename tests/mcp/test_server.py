"""The MCP server: its description, its size, and errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from mcp import MCPError

from app import __version__
from app.errors import IndexBusy
from app.mcp.server import INSTRUCTIONS
from app.mcp.tools import TOOLS
from app.store.read.reader import StoreReader
from tests.builders import details_in, make_conversation
from tests.mcp.conftest import AskingOpener
from tests.mcp.test_tools import CALLS, ONE, hostile_store

DESCRIBED_MAX_BYTES = 8000


async def test_the_tools_take_little_room_and_only_read(root: Path, ask: AskingOpener) -> None:
    async with ask(root) as asking:
        listed = await asking.client.list_tools()
        assert asking.client.instructions == INSTRUCTIONS
        assert asking.client.server_info is not None
        assert (asking.client.server_info.name, asking.client.server_info.version) == ("convstore", __version__)
    assert [tool.name for tool in listed.tools] == [*TOOLS]
    assert {tool.annotations.read_only_hint for tool in listed.tools if tool.annotations} == {True}
    assert len(listed.model_dump_json(by_alias=True, exclude_none=True).encode()) <= DESCRIBED_MAX_BYTES


async def test_asking_writes_nothing_into_a_conversation(root: Path, ask: AskingOpener) -> None:
    hostile_store(root)
    before = {path.name: details_in(path) for path in root.iterdir() if path.name != ".convstore"}
    async with ask(root) as asking:
        for tool, given in CALLS:
            await asking(tool, **given)
        await asking.client.read_resource(f"conversation://{ONE}")
    assert {path.name: details_in(path) for path in root.iterdir() if path.name != ".convstore"} == before


async def test_wrong_calls_are_told_to_the_model(root: Path, ask: AskingOpener) -> None:
    make_conversation(root)
    async with ask(root) as asking:
        told, failed = await asking.call("search_messages", words="x")
        assert (told, failed) == (
            "search_messages: query: Field required; words: Extra inputs are not permitted",
            True,
        )
        with pytest.raises(MCPError, match="no tool is called 'delete'; tools: search_messages, list_conv"):
            await asking.client.call_tool("delete", {})


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (IndexBusy("the index is busy"), "list_conversations: the index is busy"),
        (RuntimeError("secret detail"), "list_conversations: an unexpected error; see the log of the server"),
    ],
)
async def test_an_error_of_the_store_is_an_answer(
    error: Exception, told: str, root: Path, ask: AskingOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(StoreReader, "count_conversations", fail)
    async with ask(root) as asking:
        assert await asking.call("list_conversations") == (told, True)
