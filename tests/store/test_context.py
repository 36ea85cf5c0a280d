"""A conversations directory with its index: what has to be there before it is opened, and while it is open."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import ConversationStore, Settings
from app.errors import IndexUnusable, StoreUnavailable
from tests.builders import index_path, make_conversation
from tests.conftest import StoreOpener


@pytest.mark.parametrize("what", ["nothing", "a file"])
async def test_what_is_no_directory_is_not_opened_and_nothing_is_made(tmp_path: Path, what: str) -> None:
    path = tmp_path / "store"
    if what == "a file":
        path.touch()
    with pytest.raises(StoreUnavailable, match="is not a directory; give the directory that contains"):
        async with ConversationStore.open(Settings(store=path)):
            pass
    assert not path.is_dir()


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
