"""What has to be there before a store is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import ConversationStore, Settings
from app.errors import StoreUnavailable


@pytest.mark.parametrize("what", ["nothing", "a file"])
async def test_what_is_no_directory_is_not_opened_and_nothing_is_made(tmp_path: Path, what: str) -> None:
    path = tmp_path / "store"
    if what == "a file":
        path.touch()
    with pytest.raises(StoreUnavailable, match="is not a directory; give the directory that contains"):
        async with ConversationStore.open(Settings(store=path)):
            pass
    assert not path.is_dir()
