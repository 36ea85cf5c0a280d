"""What the bench asks a server is understood: a question that is refused would end a run of an hour."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import Settings
from tests.bench.rows import ALL_FACETS, COUNT_PATH, LIST_PATH, THREE_FILTERS, spelled
from tests.builders import make_conversation
from tests.conftest import serving


@pytest.mark.parametrize("path", [LIST_PATH, COUNT_PATH, ALL_FACETS, *THREE_FILTERS.values()])
async def test_what_the_bench_asks_is_answered(root: Path, path: str) -> None:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        for asked in (path, spelled(path, 1), spelled(path, 800)):
            assert (await client.get(asked)).status_code == 200, asked
