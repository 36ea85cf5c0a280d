"""The bench of `convstore mcp` understands the command, and a start loads no more than it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.mcp import starting
from tests.bench.server import Store
from tests.builders import index_path, make_conversation, make_message_event
from tests.rules.test_structure import loaded

MODULES_MAX = 1050
"""Importing is most of a start. There are 950 modules: those of the store and the command, and those of the SDK."""


@pytest.mark.long
def test_what_the_bench_asks_is_answered(root: Path) -> None:
    make_conversation(root, 1, events=[make_message_event(0, "needle")])
    with starting(Store(root, index_path(root), 1)) as agent:
        agent.connect()
        assert agent.search("needle").partition(" ")[0] in ("1", "No")


@pytest.mark.long
def test_a_start_loads_no_more_than_the_store_and_the_sdk() -> None:
    code = "import app.cli.mcp, app.mcp.server, sys; assert len(sys.modules) < int(sys.argv[1]), len(sys.modules)"
    found = loaded(code, MODULES_MAX)
    assert {"alembic", "fastapi", "playwright"} & found == set()
