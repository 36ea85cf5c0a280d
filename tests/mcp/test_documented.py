"""docs/agents.md: each tool has an example, and the example is what the tool answers on the sample."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from pathlib import Path
from textwrap import dedent
from unittest.mock import AsyncMock

import pytest
from mcp import Client

from app import ConversationStore, Settings
from app.mcp.scope import Scope
from app.mcp.server import make_server
from app.mcp.tools import TOOLS
from tests.conftest import DATA
from tests.documents import PAGES
from tests.mcp.conftest import BASE, Asking

_EXAMPLE = re.compile(r"^    (\w+) (\{.*\})\n\n((?:(?:    .*)?\n)+?)(?=#)", re.MULTILINE)
EXAMPLES = {
    tool: (json.loads(given), dedent(answer).strip())
    for tool, given, answer in _EXAMPLE.findall(PAGES["docs/agents.md"])
}


def without_tokens(text: str) -> str:
    """Return an answer without its page tokens, which are different in each build of the index."""
    return re.sub(r'page_id "\S+"', 'page_id "..."', text)


def test_each_tool_has_an_example() -> None:
    assert [*EXAMPLES] == [*TOOLS]


@pytest.fixture
def sample(root: Path) -> Path:
    for name in ("conversations.tar.gz", "sample.tar.gz"):
        with tarfile.open(DATA / name) as archive:
            archive.extractall(root.parent / "unpacked", filter="data")
    shutil.copytree(root.parent / "unpacked" / "conversations", root, dirs_exist_ok=True)
    return root


async def test_the_tools_answer_what_the_page_shows(sample: Path) -> None:
    async with ConversationStore.open(Settings(store=sample, timezone="UTC")) as store:
        await store.sync()
        async with Client(make_server(AsyncMock(return_value=store), Scope(), lambda _: BASE)) as client:
            for tool, (given, answer) in EXAMPLES.items():
                assert without_tokens(await Asking(client)(tool, **given)) == without_tokens(answer)
