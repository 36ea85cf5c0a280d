"""A store that is asked through the client of the SDK, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from unittest.mock import AsyncMock

import pytest
from mcp import Client
from mcp_types import CallToolResult, TextContent

from app.mcp.scope import Scope
from app.mcp.server import make_server
from tests.conftest import StoreOpener

BASE = "http://localhost:8000"


def text_of(result: CallToolResult) -> str:
    """Return the text of an answer, which is all that it has."""
    [content] = result.content
    assert isinstance(content, TextContent)
    return str(content.text)


class Asking:
    """Calls tools and reads resources of one server."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def __call__(self, tool: str, **arguments: object) -> str:
        """Return the text that a tool answers. An error is a test's failure."""
        text, failed = await self.call(tool, **arguments)
        assert not failed, text
        return text

    async def call(self, tool: str, **arguments: object) -> tuple[str, bool]:
        """Return (the text, whether it is an error)."""
        result = await self.client.call_tool(tool, arguments)
        return text_of(result), bool(result.is_error)


AskingOpener = Callable[..., AbstractAsyncContextManager[Asking]]


@pytest.fixture
def ask(open_store: StoreOpener) -> AskingOpener:
    """Serve a store: `async with ask(root) as asking`. `workspace` limits the server."""

    @asynccontextmanager
    async def opener(root: Path, *, workspace: str | None = None) -> AsyncIterator[Asking]:
        async with (
            open_store(root) as store,
            Client(make_server(AsyncMock(return_value=store), Scope(workspace), lambda _: BASE)) as client,
        ):
            yield Asking(client)

    return opener


def unquoted(answer: str) -> str:
    """Return the lines that are convstore's own words."""
    return "\n".join(line for line in answer.splitlines() if not line.startswith(">"))
