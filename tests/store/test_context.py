"""A conversations directory with its index: what has to be there while it is open."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import IndexUnusable, StoreUnavailable
from tests.builders import index_path, make_conversation
from tests.conftest import StoreOpener


async def test_a_store_is_ready_while_its_directory_and_its_index_are_there(
    root: Path, tmp_path: Path, open_store: StoreOpener
) -> None:
    make_conversation(root)
    async with open_store(root) as store:
        await store.require_ready()
        index_path(root).rename(tmp_path / "index.db")
        with pytest.raises(IndexUnusable, match="a server builds it again soon"):
            await store.require_ready()
        (tmp_path / "index.db").rename(index_path(root))
        root.rename(tmp_path / "away")
        with pytest.raises(StoreUnavailable, match="mount or restore it"):
            await store.require_ready()
        (tmp_path / "away").rename(root)
        await store.require_ready()
